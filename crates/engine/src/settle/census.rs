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
    /// Whether the lines are those of another batch altogether.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign > 0 && self.foreign + self.malformed == self.lines
    }

    /// Whether every row has exactly one readable line and nothing else came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        (self.missing, self.malformed, self.duplicate, self.foreign) == (0, 0, 0, 0)
    }
}
