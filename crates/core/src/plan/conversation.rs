//! Where a growing conversation's marks go. Its calls are paths of a trie with as many ends as turns,
//! so marks move along: behind what never changes, where the call before left its last mark, and at
//! the end of this one. The middle one is free, as it was read, and finds the entry again when a turn
//! adds more blocks than the look-back of the last mark reaches.
//!
//! Leaves out the lifetimes (`ttl`) and whether a prompt is a conversation at all.

use offpeak_wire::limits::LOOKBACK_BLOCKS;

/// The blocks of one call of a conversation, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The last block that no turn changes: of tools, system prompt or documents.
    pub fixed: Option<usize>,
    /// Where the call before left its last mark.
    pub before: Option<usize>,
    /// The last block.
    pub end: usize,
    /// No call is expected after this one: what it wrote would not be read.
    pub last: bool,
}

/// The blocks to mark, from the top; at most three.
#[must_use]
pub fn conversation_marks(turn: &Turn) -> Vec<usize> {
    let end = (!turn.last).then_some(turn.end);
    let mut marks: Vec<usize> = [turn.fixed, turn.before, end]
        .into_iter()
        .flatten()
        .filter(|&block| block <= turn.end)
        .collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// Whether the mark at a call's end finds the entry of the call before by itself.
#[must_use]
pub fn within_look_back(before: usize, end: usize) -> bool {
    end.saturating_sub(before) < LOOKBACK_BLOCKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_marks_that_move_along() {
        let turn = Turn {
            fixed: Some(0),
            before: Some(3),
            end: 5,
            last: false,
        };
        assert_eq!(conversation_marks(&turn), [0, 3, 5]);
        let first = Turn {
            before: None,
            ..turn
        };
        assert_eq!(conversation_marks(&first), [0, 5]);
        let same = Turn {
            before: Some(0),
            ..turn
        };
        assert_eq!(conversation_marks(&same), [0, 5]);
        let last = Turn { last: true, ..turn };
        assert_eq!(
            conversation_marks(&last),
            [0, 3],
            "nothing is written that nobody reads"
        );
    }

    #[test]
    fn a_long_turn_needs_the_mark_of_the_call_before() {
        assert!(within_look_back(3, 22));
        assert!(!within_look_back(3, 23));
    }
}
