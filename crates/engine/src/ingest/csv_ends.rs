//! Where CSV records end: a line break outside quotes, by the same rules as the reader that parses
//! them later.
//!
//! A quote opens a field only as its first byte, so counting quotes would go wrong at the first
//! `5" pipe`. Leaves out the fields themselves.

/// Finds the ends of records, over any split of the input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RecordEnds {
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the first byte of a field.
    #[default]
    Start,
    /// In a field that began without a quote, or after the end of a quoted part.
    Plain,
    Quoted,
    /// After a quote within a quoted field: its end, or half of a doubled one.
    Quote,
}

impl RecordEnds {
    /// Whether the last byte seen was within a quoted field.
    pub(super) fn in_quotes(self) -> bool {
        self.state == State::Quoted
    }

    /// One past the last record end in the bytes that come next.
    pub(super) fn last(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut last = None;
        self.scan(bytes, |at| {
            last = Some(at);
            false
        });
        last
    }

    /// One past the first record end; what follows it counts as not seen.
    pub(super) fn first(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut first = None;
        self.scan(bytes, |at| {
            first = Some(at);
            true
        });
        first
    }

    /// Where the quote is that opens the field which is still open at the end.
    pub(super) fn open_quote(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut opened = None;
        for (at, byte) in bytes.iter().enumerate() {
            let before = self.state;
            self.scan(std::slice::from_ref(byte), |_| false);
            if before == State::Start && self.state == State::Quoted {
                opened = Some(at);
            }
        }
        opened.filter(|_| self.in_quotes())
    }

    /// Calls `end` behind every record; stops when it says so.
    fn scan(&mut self, bytes: &[u8], mut end: impl FnMut(usize) -> bool) {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Start | State::Quote if bytes[at] == b'"' => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::Start | State::Quote | State::Plain => {
                    let rest = &bytes[at..];
                    // Carriage returns end records too, but cutting at line feeds is enough; a field
                    // begins behind each.
                    let Some(found) = memchr::memchr3(b',', b'\n', b'\r', rest) else {
                        self.state = State::Plain;
                        return;
                    };
                    self.state = State::Start;
                    at += found + 1;
                    if rest[found] == b'\n' && end(at) {
                        return;
                    }
                }
                State::Quoted => match memchr::memchr(b'"', &bytes[at..]) {
                    None => return,
                    Some(found) => {
                        self.state = State::Quote;
                        at += found + 1;
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_quote_at_the_beginning_of_a_field_opens_one() {
        let ends = |text: &str| {
            let mut found = Vec::new();
            RecordEnds::default().scan(text.as_bytes(), |at| {
                found.push(at);
                false
            });
            found
        };
        assert_eq!(ends("a,b\n1,2\n"), [4, 8]);
        assert_eq!(ends("\"a\nb\",c\nd\n"), [8, 10]);
        assert_eq!(ends("5\" pipe,x\ny\n"), [10, 12]);
        assert_eq!(ends("\"say \"\"\n\"\"\"\r\nz\n"), [13, 15]);
        assert_eq!(ends("\"a\"b\"\nc\n"), [6, 8]);
    }

    proptest! {
        /// The parser that reads the records afterwards has to agree.
        #[test]
        fn cutting_at_the_ends_leaves_the_records_as_they_are(
            text in "[ab,\"\n\r]{0,40}", split in 0usize..40,
        ) {
            let records = |bytes: &[u8]| -> Vec<csv::ByteRecord> {
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.has_headers(false).flexible(true).from_reader(bytes);
                reader.into_byte_records().map(|record| {
                    let mut record = record.unwrap();
                    record.set_position(None);
                    record
                }).collect()
            };
            let bytes = text.as_bytes();
            let mut ends = RecordEnds::default();
            let split = split.min(bytes.len());
            let first = ends.last(&bytes[..split]);
            let end = ends.last(&bytes[split..]).map(|at| split + at).or(first);
            if let Some(end) = end {
                let mut parts = records(&bytes[..end]);
                parts.extend(records(&bytes[end..]));
                prop_assert_eq!(parts, records(bytes));
            }
        }
    }
}
