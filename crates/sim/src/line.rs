//! Owns the schedule of a batch as the referee runs it: by itself, along its profile's curve, or in
//! one line with all other batches, row after row. The line is for measuring what waiting for a
//! deadline is worth: it makes progress at a known pace, of which nothing shows until a batch has ended.

use crate::profile::Curve;
use crate::stamp::SECOND;

/// All batches are served one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How long each row takes, µs.
    pub row: i64,
    /// Whether the next batch is drawn by lot, instead of the one that has waited longest.
    pub shuffled: bool,
}

/// Later than anything that is played.
const NEVER: i64 = i64::MAX / 4;

/// When the rows of a batch run, by rank.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    Alone(Curve),
    InLine { begin: i64, row: i64 },
}

impl Schedule {
    /// In the line, its turn not known yet.
    pub(crate) fn in_line(line: Line) -> Self {
        Self::InLine {
            begin: NEVER,
            row: line.row,
        }
    }

    pub(crate) fn start(&self, rank: u32) -> Option<i64> {
        match self {
            Self::Alone(curve) => curve.start(rank),
            Self::InLine { begin, row } => Some(begin + row * i64::from(rank)),
        }
    }

    pub(crate) fn finish(&self, rank: u32) -> Option<i64> {
        match self {
            Self::Alone(curve) => curve.finish(rank),
            Self::InLine { begin, row } => Some(begin + row * (i64::from(rank) + 1)),
        }
    }

    pub(crate) fn first_byte(&self, rank: u32, start: i64) -> i64 {
        match self {
            Self::Alone(curve) => curve.first_byte(rank, start),
            Self::InLine { row, .. } => start + (4 * SECOND / 5).min(row / 2),
        }
    }

    /// When a batch in the line has its turn.
    fn turn(&mut self) -> Option<&mut i64> {
        match self {
            Self::Alone(_) => None,
            Self::InLine { begin, .. } => Some(begin),
        }
    }
}

/// A batch in the line.
pub(crate) struct Place<'a> {
    pub(crate) schedule: &'a mut Schedule,
    pub(crate) rows: u32,
    pub(crate) canceled_at: Option<i64>,
    /// Its place among those that wait.
    pub(crate) lot: u64,
}

/// Gives everybody a turn who hasn't begun: behind the batch that is served, in the order of their lots.
/// Whoever was given up while waiting has none.
pub(crate) fn assign_turns(now: i64, places: &mut [Place<'_>]) {
    places.sort_by_key(|place| place.lot);
    let mut free = now;
    for place in places.iter_mut() {
        let done = place.schedule.finish(place.rows - 1).unwrap_or(NEVER);
        let begun = place.schedule.turn().is_some_and(|begin| *begin < now);
        if begun {
            let row = place.schedule.finish(0).unwrap_or(0) - place.schedule.start(0).unwrap_or(0);
            let left = place.canceled_at.map_or(done, |at| done.min(at + row));
            free = free.max(left);
        }
    }
    for place in places.iter_mut() {
        let length = place.schedule.finish(place.rows - 1).unwrap_or(NEVER)
            - place.schedule.start(0).unwrap_or(NEVER);
        let canceled = place.canceled_at.is_some();
        if let Some(begin) = place.schedule.turn().filter(|begin| **begin >= now) {
            *begin = if canceled { NEVER } else { free };
            free += if canceled { 0 } else { length };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheRules;
    use crate::profile::Profile;
    use crate::rate::Limits;
    use crate::referee::{Play, Referee, RefereeRules};
    use crate::stamp;

    fn in_line(line: Line) -> Referee {
        Referee::new(RefereeRules {
            seed: 1,
            profile: Profile::Dead,
            workers: 50,
            line: Some(line),
            cache: CacheRules::default(),
            first_byte: 800_000,
            min_cacheable: None,
            limits: Limits::default(),
            outage: None,
            prices_at: stamp::midnight("2026-11-22").unwrap(),
        })
    }

    fn play(call: u64, blocks: &[(u64, u32)]) -> Play<'_> {
        Play {
            call,
            model: "claude-sonnet-4-5",
            blocks,
            marks: &[],
            output: 80,
        }
    }

    #[test]
    fn a_line_serves_batch_after_batch() {
        for (shuffled, canceled) in [(false, false), (true, false), (false, true)] {
            let line = Line {
                row: 8 * SECOND,
                shuffled,
            };
            let mut referee = in_line(line);
            let blocks = [(1, 500)];
            let plays: Vec<Play<'_>> = (0..10).map(|call| play(call, &blocks)).collect();
            for _ in 0..3 {
                referee.submit(0, &plays).unwrap();
            }
            if canceled {
                referee.advance(20 * SECOND);
                referee.cancel(20 * SECOND, 1);
            }
            let mut ends = Vec::new();
            while let Some(at) = referee.next_end() {
                ends.extend(
                    referee
                        .advance(at)
                        .iter()
                        .map(|end| (end.at / SECOND, end.batch)),
                );
            }
            let numbers: Vec<u32> = ends.iter().map(|end| end.1).collect();
            let times: Vec<i64> = ends.iter().map(|end| end.0).collect();
            if canceled {
                // 25 seconds after it was given up; the third batch moves up.
                assert_eq!(ends, [(45, 1), (80, 0), (160, 2)]);
            } else {
                assert_eq!(times, [80, 160, 240]);
                assert_eq!(numbers == [0, 1, 2], !shuffled, "{numbers:?}");
            }
        }
    }
}
