//! Whether the downloaded lines of a batch are complete, readable and ours.
//!
//! Leaves out reading them (`results`).

/// What the downloaded lines of a batch are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Lines, blank ones not counted.
    pub lines: u64,
    /// Rows of the shard without a line that can be read.
    pub missing: u64,
    /// Lines that cannot be read.
    pub malformed: u64,
    /// Lines of a row that had one already.
    pub duplicate: u64,
    /// Lines that do not carry the mark of this shard's rows.
    pub foreign: u64,
}

impl Census {
    /// Whether the batch is not the one of this shard. Of a batch that was taken back `on_trust`, because
    /// it fits, one line of another row says so: it may have some of our rows and some of others, as a
    /// life with another budget cut them. In one that this shard certainly made such a line is a flaw
    /// like any other, unless there is nothing else.
    #[must_use]
    pub fn is_foreign(&self, on_trust: bool) -> bool {
        let nothing_else = self.foreign + self.malformed == self.lines;
        self.foreign > 0 && (on_trust || nothing_else)
    }

    /// Whether every row has exactly one readable line and nothing else came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        (self.missing, self.malformed, self.duplicate, self.foreign) == (0, 0, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_line_is_proof_only_against_a_batch_taken_on_trust() {
        let of = |lines, foreign, malformed| Census {
            lines,
            foreign,
            malformed,
            ..Census::default()
        };
        let (stray, all, none) = (of(5, 1, 1), of(5, 4, 1), of(5, 0, 5));
        assert_eq!([true, false].map(|t| stray.is_foreign(t)), [true, false]);
        assert_eq!([true, false].map(|t| all.is_foreign(t)), [true, true]);
        assert_eq!([true, false].map(|t| none.is_foreign(t)), [false, false]);
    }
}
