//! Opening the file: pragmas, permissions, migrations.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use crate::error::StoreError;

/// The job store. All calls block; drivers use a blocking thread.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
}

fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(include_str!("schema_1.sql")),
        M::up(include_str!("schema_2.sql")),
        M::up(include_str!("schema_3.sql")),
        M::up(include_str!("schema_4.sql")),
    ])
}

/// Schema version that this program writes.
const KNOWN: u32 = 4;

impl Store {
    /// Opens or creates the store at `path`. Every commit is durable when it returns.
    ///
    /// # Errors
    /// If the file cannot be opened, is not ours, is damaged, or was written by a newer program.
    ///
    /// Pages are looked through if the last process did not close the file, or others have it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::opening(path, source);
        let unclean = has_log(path);
        private_file(path).map_err(|e| fail(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection
            .busy_timeout(std::time::Duration::from_secs(10))
            .map_err(fail)?;
        // FULL: an intent must be on the disk, not in a cache, before a byte of its request leaves.
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(fail)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(fail)?;
        connection
            .pragma_update(None, "foreign_keys", true)
            .map_err(fail)?;
        let found: u32 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(fail)?;
        if found > KNOWN {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: KNOWN,
            });
        }
        migrations()
            .to_latest(&mut connection)
            .map_err(|error| not_migrated(path, error))?;
        let store = Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
        };
        if unclean {
            store.check()?;
        }
        Ok(store)
    }

    /// Looks through every page of the file, and whether its indexes have their rows in order.
    ///
    /// # Errors
    /// If anything is damaged: the first thing that is.
    pub fn check(&self) -> Result<(), StoreError> {
        let found: Result<String, _> =
            self.connection()
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match found {
            Ok(found) if found == "ok" => Ok(()),
            Ok(found) => Err(StoreError::Corrupt {
                path: self.path.clone(),
                detail: found,
            }),
            Err(source) => Err(StoreError::opening(&self.path, source)),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A panic in a holder leaves no half transaction behind: SQLite rolls it back.
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there are changes that were not brought into the file: SQLite does that, and removes the log,
/// when the last process closes it.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0)
}

/// A disk that is full, or a file that is locked, says nothing about the schema.
fn not_migrated(path: &Path, error: rusqlite_migration::Error) -> StoreError {
    match error {
        rusqlite_migration::Error::RusqliteError { err: source, .. } => {
            StoreError::opening(path, source)
        }
        other => StoreError::Damaged {
            what: "schema",
            detail: other.to_string(),
        },
    }
}

/// Creates the file for its owner only, before SQLite would create it for everybody.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_are_valid_and_as_many_as_known() {
        migrations().validate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("jobs.db")).unwrap();
        let version: u32 = store
            .connection()
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, KNOWN);
    }

    /// Write-ahead log and FULL: each commit is on the disk when it returns (docs/durability.md).
    #[test]
    fn every_commit_is_on_the_disk_when_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        // A new store, and one that exists.
        for _ in 0..2 {
            let store = Store::open(&path).unwrap();
            let connection = store.connection();
            let mode: String = connection
                .query_row("PRAGMA journal_mode", [], |row| row.get(0))
                .unwrap();
            let synchronous: u32 = connection
                .query_row("PRAGMA synchronous", [], |row| row.get(0))
                .unwrap();
            assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        }
    }

    #[test]
    fn a_store_of_the_future_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        let store = Store::open(&path).unwrap();
        store
            .connection()
            .pragma_update(None, "user_version", KNOWN + 1)
            .unwrap();
        drop(store);
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Newer { found, .. }) if found == KNOWN + 1
        ));
    }

    #[test]
    fn a_full_disk_is_not_taken_for_a_damaged_schema() {
        use rusqlite::ffi;
        let full = rusqlite_migration::Error::RusqliteError {
            query: String::new(),
            err: rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None),
        };
        let error = not_migrated(Path::new("jobs.db"), full);
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
        assert!(error.hint().contains("space"), "{}", error.hint());
    }

    /// A store with some content whose pages from the second on are overwritten.
    fn damaged(dir: &Path) -> PathBuf {
        let path = dir.join("jobs.db");
        let store = Store::open(&path).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
            INSERT INTO job SELECT printf('%010d', i), 'n' || i, 1, 'finished', i, i, '', '', '{}' FROM n";
        store.connection().execute_batch(fill).unwrap();
        store.check().unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        for byte in &mut bytes[len / 2..len / 2 + 3_000] {
            *byte = 0xA5;
        }
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_damaged_page_is_found_when_the_store_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = damaged(dir.path());
        let store = Store::open(&path).expect("nobody reads that page");
        let error = store.check().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.hint().contains("offpeak doctor"), "{}", error.hint());
    }

    #[test]
    fn a_store_that_was_not_closed_is_checked_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = damaged(dir.path());
        // Another process that has it open leaves its log as one that died does.
        let other = Store::open(&path).unwrap();
        other
            .connection()
            .execute("UPDATE job SET name = 'x' WHERE id = '0000000001'", [])
            .unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_store_is_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        std::fs::write(&path, [7; 8_192]).unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        let _store = Store::open(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    /// What the first programs with a table of waste wrote is read, and written on.
    #[test]
    fn a_store_of_the_third_version_is_brought_up_to_date() {
        use offpeak_core::job::event::{OurBatch, Write};
        use offpeak_core::job::shard::{JobId, ShardNo};
        use offpeak_core::units::{Timestamp, Usd};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        let job = JobId::of_digest(&[3; 32]);
        let mut old = Connection::open(&path).unwrap();
        migrations().to_version(&mut old, 3).unwrap();
        old.execute_batch(&format!(
            "INSERT INTO job VALUES ('{job}', 'n', 1, 'open', 1, NULL, '', '', '{{}}');
             INSERT INTO waste (batch, job, shard, rows, at, pico) VALUES ('msgbatch_a', '{job}', 7, 5, 9, '11')"
        ))
        .unwrap();
        drop(old);
        let store = Store::open(&path).unwrap();
        let batch = OurBatch {
            shard: ShardNo(8),
            batch: offpeak_wire::batch::BatchId::new("msgbatch_b").unwrap(),
            rows: 6,
            created_at: Timestamp::EPOCH,
        };
        let cost = Usd::from_pico(12);
        let waste = Write::Waste { batch, cost };
        store.commit(&job, Timestamp::EPOCH, &[waste]).unwrap();
        let waste = store.waste(&job).unwrap();
        let sums: Vec<_> = waste
            .iter()
            .map(|batch| (batch.rows, batch.cost.pico()))
            .collect();
        assert_eq!(sums, [(5, 11), (6, 12)]);
    }
}
