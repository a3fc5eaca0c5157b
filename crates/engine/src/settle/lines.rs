//! The lines of a downloaded file, read once and in place by a few threads, each in a stretch of the
//! file. How many there are shows in nothing but the time.
//!
//! Leaves out what lines say.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::thread;

use super::{SettleError, threads};

/// Read buffer, in bytes; it grows for a line that is longer.
const READ_BUFFER: usize = if cfg!(test) { 64 } else { 256 * 1024 };

/// A shorter stretch of a file, in bytes, is not worth a thread.
const STRETCH_MIN: u64 = if cfg!(test) { 100 } else { 4 * 1024 * 1024 };

/// Folds the lines that are not blank, per stretch and in the order of the file: `each` gets a
/// stretch's state, a line's offset, and the line without white space at its end.
pub(super) fn fold<S: Send>(
    path: &Path,
    new: impl Fn() -> S,
    each: impl Fn(&mut S, u64, &[u8]) + Sync,
) -> Result<Vec<S>, SettleError> {
    let len = std::fs::metadata(path)
        .map_err(SettleError::io(path))?
        .len();
    let stretch = len.div_ceil(threads() as u64).max(STRETCH_MIN);
    let starts: Vec<u64> = (0..len.div_ceil(stretch)).map(|n| n * stretch).collect();
    let each = &each;
    thread::scope(|scope| {
        let parts: Vec<_> = starts
            .into_iter()
            .map(|start| {
                let mut state = new();
                scope.spawn(move || {
                    let each = |offset, line: &[u8]| each(&mut state, offset, line);
                    read_stretch(path, start..start + stretch, each).map(|()| state)
                })
            })
            .collect();
        let joined = parts
            .into_iter()
            .map(|part| part.join().expect("reading lines does not panic"));
        joined
            .map(|part| part.map_err(SettleError::io(path)))
            .collect()
    })
}

/// Reads the lines that begin within a stretch.
fn read_stretch(
    path: &Path,
    stretch: Range<u64>,
    mut each: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let mut file = File::open(path)?;
    // A line begins after a line break; the one before the stretch may be that.
    let mut offset = stretch.start.saturating_sub(1);
    let mut begun_before = stretch.start > 0;
    file.seek(SeekFrom::Start(offset))?;
    let mut buffer = vec![0; READ_BUFFER];
    let mut filled = 0;
    loop {
        let read = match file.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let searched = filled;
        filled += read;
        let mut start = 0;
        let breaks = memchr::memchr_iter(b'\n', &buffer[searched..filled]);
        // What the file ends with is a line even without a line break.
        let end = (read == 0 && filled > 0).then_some(filled);
        for end in breaks.map(|at| searched + at).chain(end) {
            let line = buffer[start..end].trim_ascii_end();
            let line_offset = offset + start as u64;
            if !std::mem::take(&mut begun_before) {
                if line_offset >= stretch.end {
                    return Ok(());
                }
                if !line.is_empty() {
                    each(line_offset, line);
                }
            }
            start = (end + 1).min(filled);
        }
        if read == 0 {
            return Ok(());
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        offset += start as u64;
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_line_is_read_once_and_in_order(
            lines in prop::collection::vec("[a-z ]{0,150}\r?", 0..30), last_break: bool,
        ) {
            let mut text = lines.join("\n");
            if last_break {
                text.push('\n');
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let found = fold(file.path(), Vec::new, |found: &mut Vec<_>, offset, line| {
                found.push((usize::try_from(offset).unwrap(), line.to_vec()));
            });
            let found = found.unwrap().concat();
            let mut expected = Vec::new();
            let mut offset = 0;
            for line in text.split_inclusive('\n') {
                let content = line.trim_ascii_end();
                if !content.is_empty() {
                    expected.push((offset, content.as_bytes().to_vec()));
                }
                offset += line.len();
            }
            prop_assert_eq!(found, expected);
        }
    }
}
