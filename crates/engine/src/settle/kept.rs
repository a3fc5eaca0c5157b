//! An answer that stays where it was received: in the downloaded results of its batch, in the journal of
//! its shard, or in the copy that was taken of it from an earlier run. An outcome segment says where it is and what its line says besides, so that
//! an answer is on the disk once until the output is written.
//!
//! Leaves out the other records of a segment (`segment`) and the line itself (`line`).

use std::path::PathBuf;

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::shard::ShardNo;
use offpeak_core::price::Lane;
use offpeak_core::units::Usd;

use super::answer::{Place, Places};
use super::line::Route;
use crate::spool::{RowAt, SpoolDir};

/// The file that the answers of a segment are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeptIn {
    /// None of its rows has an answer.
    Nowhere,
    /// The results of a batch shard.
    Results(ShardNo),
    /// The journal of a sync shard.
    Journal(ShardNo),
    /// What was taken over from earlier runs.
    Earlier,
}

impl KeptIn {
    /// Where it is.
    pub(crate) fn path(self, spool: &SpoolDir) -> Option<PathBuf> {
        match self {
            Self::Nowhere => None,
            Self::Results(shard) => Some(spool.results(shard)),
            Self::Journal(shard) => Some(spool.journal(shard)),
            Self::Earlier => Some(spool.earlier_answers()),
        }
    }

    pub(super) fn encode(self) -> [u8; 8] {
        let (kind, shard) = match self {
            Self::Nowhere => (0u32, 0),
            Self::Results(shard) => (1, shard.0),
            Self::Journal(shard) => (2, shard.0),
            Self::Earlier => (3, 0),
        };
        (u64::from(shard) << 32 | u64::from(kind)).to_le_bytes()
    }

    pub(super) fn decode(bytes: [u8; 8]) -> Option<Self> {
        let [kind, shard] = halves(bytes);
        match kind {
            0 => Some(Self::Nowhere),
            1 => Some(Self::Results(ShardNo(shard))),
            2 => Some(Self::Journal(ShardNo(shard))),
            3 => Some(Self::Earlier),
            _ => None,
        }
    }
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) class: OutcomeClass,
    pub(crate) route: Route,
    pub(crate) attempts: u32,
    pub(crate) cost: Usd,
    /// Where its row is, which has the user's key.
    pub(crate) at: RowAt,
    /// Where the message begins in the file of answers.
    pub(crate) offset: u64,
    /// Bytes of the message.
    pub(crate) len: u32,
    pub(crate) places: Places,
}

/// Bytes of an answer in a segment.
pub(super) const KEPT_LEN: usize = 58;

const SYNC: u8 = 1;
const CACHE: u8 = 2;

impl Kept {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let lane = match self.route.lane {
            Lane::Sync => SYNC,
            Lane::Batch => 0,
        };
        let cache = if self.route.cache { CACHE } else { 0 };
        out.extend_from_slice(&[self.class as u8, lane | cache]);
        out.extend_from_slice(&self.cost.pico().to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        // No place is empty, so an empty one stands for none.
        const NONE: Place = Place { start: 0, len: 0 };
        let (usage, text) = match self.places {
            Places::Known { usage, text } => (usage, text.unwrap_or(NONE)),
            Places::Unknown => (NONE, NONE),
        };
        for number in [
            self.attempts,
            self.len,
            usage.start,
            usage.len,
            text.start,
            text.len,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8; KEPT_LEN]) -> Option<Self> {
        let mut rest = &bytes[..];
        let [class, route] = take(&mut rest)?;
        let cost = i128::from_le_bytes(take(&mut rest)?);
        let at = RowAt(u64::from_le_bytes(take(&mut rest)?));
        let offset = u64::from_le_bytes(take(&mut rest)?);
        let mut pair = || take(&mut rest).map(halves);
        let ([attempts, len], usage, text) = (pair()?, pair()?, pair()?);
        let place = |[start, len]: [u32; 2]| (len > 0).then_some(Place { start, len });
        Some(Self {
            class: *OutcomeClass::ALL.get(usize::from(class))?,
            route: Route {
                lane: if route & SYNC == 0 {
                    Lane::Batch
                } else {
                    Lane::Sync
                },
                cache: route & CACHE != 0,
            },
            attempts,
            cost: Usd::from_pico(cost),
            at,
            offset,
            len,
            places: match place(usage) {
                Some(usage) => Places::Known {
                    usage,
                    text: place(text),
                },
                None => Places::Unknown,
            },
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (now, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*now)
}

/// Two numbers, the lower one first.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the number"
)]
fn halves(bytes: [u8; 8]) -> [u32; 2] {
    let both = u64::from_le_bytes(bytes);
    [both as u32, (both >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Place> {
        (any::<u32>(), 1..=u32::MAX).prop_map(|(start, len)| Place { start, len })
    }

    proptest! {
        #[test]
        fn an_answer_survives(
            class in prop::sample::select(OutcomeClass::ALL.to_vec()),
            (sync, cache, cost) in any::<(bool, bool, i128)>(),
            (attempts, len, at, offset) in any::<(u32, u32, u64, u64)>(),
            places in prop::option::of((place(), prop::option::of(place()))),
        ) {
            let kept = Kept {
                class,
                route: Route { lane: if sync { Lane::Sync } else { Lane::Batch }, cache },
                attempts,
                cost: Usd::from_pico(cost),
                at: RowAt(at),
                offset,
                len,
                places: match places {
                    Some((usage, text)) => Places::Known { usage, text },
                    None => Places::Unknown,
                },
            };
            let mut bytes = Vec::new();
            kept.encode(&mut bytes);
            prop_assert_eq!(Kept::decode(bytes.as_slice().try_into().unwrap()), Some(kept));
        }

        #[test]
        fn the_file_of_answers_survives(shard in any::<u32>(), kind in 0usize..4) {
            let answers = [
                KeptIn::Nowhere,
                KeptIn::Results(ShardNo(shard)),
                KeptIn::Journal(ShardNo(shard)),
                KeptIn::Earlier,
            ][kind];
            prop_assert_eq!(KeptIn::decode(answers.encode()), Some(answers));
        }
    }
}
