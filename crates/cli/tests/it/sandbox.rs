//! A directory of its own for each test, the real binary run in it, and what it said, with
//! everything redacted that differs from run to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct Sandbox(TempDir);

/// What a command said, and how it ended.
pub(crate) struct Said {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The binary, in this directory, without anything that the tester's environment says about it.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offpeak"));
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_ADMIN_KEY",
            "ANTHROPIC_BASE_URL",
            "OFFPEAK_PRICE_BOOK",
            "COLUMNS",
        ] {
            command.env_remove(name);
        }
        command
            .args(arguments.split_whitespace())
            .env("OFFPEAK_DATA_DIR", self.path("data"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn offpeak(&self, arguments: &str) -> Said {
        self.said(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn said(&self, output: &Output) -> Said {
        let text = |bytes: &[u8]| {
            let here = self.0.path().to_str().unwrap();
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(here, "[DIR]")
        };
        Said {
            exit: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let exit = self
            .exit
            .map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        writeln!(f, "exit: {exit}")?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "----- {name} -----\n{text}")?;
            }
        }
        Ok(())
    }
}

/// Compares with the snapshot of this name, without job ids, digests and progress.
pub(crate) fn assert_said(name: &str, said: &Said) {
    let filters = vec![
        // Told every few seconds of real time, so only by a machine that is busy.
        (r"(?m)^(reading the input: .*|\d+ of \d+ rows · .*)\n", ""),
        (r"\(job [a-z2-7]{10}\)", "(job [JOB])"),
        (r#""job": "[a-z2-7]{10}""#, r#""job": "[JOB]""#),
        (r"\b[0-9a-f]{64}\b", "[BLAKE3]"),
    ];
    insta::with_settings!({ filters => filters, omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, said);
    });
}

/// `rows` requests of the API's batch shape.
pub(crate) fn requests(rows: usize) -> String {
    (1..=rows)
        .map(|row| {
            request(
                &format!("r{row}"),
                &format!("\"max_tokens\":300,{}", message(row)),
            )
        })
        .collect()
}

/// One row: its key, and the members of its request besides the model.
pub(crate) fn request(key: &str, members: &str) -> String {
    format!("{{\"custom_id\":\"{key}\",\"params\":{{\"model\":\"claude-haiku-4-5\",{members}}}}}\n")
}

/// A message, different for each row.
pub(crate) fn message(row: usize) -> String {
    format!("\"messages\":[{{\"role\":\"user\",\"content\":\"Say {row}.\"}}]")
}

/// The workspace, for what it ships.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}
