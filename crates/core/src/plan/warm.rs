//! How a shared preamble is first written: by the first synchronous call, by a canary (one of the rows,
//! in a batch of its own), by a pre-warm (a synchronous call that asks for nothing), or by whichever
//! rows come first; and how probably it is then found.
//!
//! Started together, all rows that run before the first answer begins would write. Whether what one
//! lane wrote can be read on the other isn't documented, and measured to be mostly not so: a pre-warm
//! of a batch is shown and not taken. Leaves out what is believed of cold batches (`posterior`).
//! Savings are floating point, for comparison only.

use offpeak_wire::request::Ttl;
use serde::Serialize;

use crate::price::{Lane, Rates};
use crate::units::Span;

use super::clairvoyant::lifetime;
use super::cost::write_rate;

/// How entries are first written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warming {
    /// Not at all.
    #[serde(rename = "none")]
    Unmarked,
    /// The first synchronous call of a preamble goes ahead of the others.
    FirstCall,
    /// One row of each preamble goes ahead, in a batch.
    Canary,
    /// A synchronous call without an answer writes it ahead of the batch.
    PreWarm,
    /// All rows are marked and start together.
    Cold,
}

/// The chance that calls run while what was written ahead of them lives, in millionths. Synchronous
/// calls follow each other within seconds. A batch starts at any moment of its turnaround; once its
/// first row has read an entry, the others keep it alive.
pub(super) fn in_time(lane: Lane, ttl: Ttl, turnaround: Span) -> u32 {
    const ALL: i64 = 1_000_000;
    let share = match lane {
        Lane::Sync => ALL,
        Lane::Batch => {
            let lives = lifetime(ttl).as_micros();
            lives.saturating_mul(ALL) / turnaround.as_micros().max(1)
        }
    };
    u32::try_from(share.clamp(0, ALL)).expect("at most a million")
}

/// The rows of a group, priced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColdGroup {
    /// Tokens of the prefix.
    pub prefix: u64,
    /// Rows.
    pub rows: u64,
    /// Rows that start before the first answer begins, if nothing is sent ahead.
    pub concurrent: u64,
    /// The lifetime that is written.
    pub ttl: Ttl,
    /// How probably the bulk runs while the entry lives.
    pub in_time: f64,
}

impl ColdGroup {
    /// Writes that the group makes by itself.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.rows.min(self.concurrent.max(1))
    }

    /// What a canary saves, in US dollars: the writes of the others. It costs a turnaround.
    #[must_use]
    pub fn canary_saving(&self, batch: &Rates) -> f64 {
        let spared = self.in_time * self.writes() as f64 - 1.0;
        self.premium(batch) * spared
    }

    /// What a pre-warm saves, in US dollars; negative if it costs more than it spares.
    #[must_use]
    pub fn prewarm_saving(&self, sync: &Rates, batch: &Rates) -> f64 {
        let write = write_rate(sync, self.ttl) as f64 * self.prefix as f64 * 1e-12;
        self.premium(batch) * self.in_time * self.writes() as f64 - write
    }

    fn premium(&self, batch: &Rates) -> f64 {
        let rate = write_rate(batch, self.ttl).saturating_sub(batch.read);
        rate as f64 * self.prefix as f64 * 1e-12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Rates = Rates {
        input: 3_000_000,
        write_5m: 3_750_000,
        write_1h: 6_000_000,
        read: 300_000,
        output: 15_000_000,
    };
    const BATCH: Rates = Rates {
        input: 1_500_000,
        write_5m: 1_875_000,
        write_1h: 3_000_000,
        read: 150_000,
        output: 7_500_000,
    };

    fn group(rows: u64, in_time: f64) -> ColdGroup {
        ColdGroup {
            prefix: 4_500,
            rows,
            concurrent: 50,
            ttl: Ttl::OneHour,
            in_time,
        }
    }

    #[test]
    fn a_canary_never_loses_and_a_prewarm_needs_three_writes() {
        assert!(group(1, 1.0).canary_saving(&BATCH).abs() < 1e-12);
        let spared = 49.0 * 4_500.0 * 2_850_000.0 * 1e-12;
        assert!((group(5_000, 1.0).canary_saving(&BATCH) - spared).abs() < 1e-9);
        let prewarm = |rows, q| group(rows, q).prewarm_saving(&SYNC, &BATCH);
        assert!(prewarm(2, 1.0) < 0.0 && prewarm(3, 1.0) > 0.0);
        assert!(
            prewarm(50, 0.042) < 0.0 && prewarm(50, 0.043) > 0.0,
            "4.3 % of the time is enough"
        );
    }

    #[test]
    fn an_hour_outlasts_a_turnaround_and_five_minutes_seldom() {
        let hour = Span::from_secs(3_600);
        assert_eq!(in_time(Lane::Batch, Ttl::OneHour, hour), 1_000_000);
        assert_eq!(in_time(Lane::Batch, Ttl::FiveMinutes, hour), 83_333);
        assert_eq!(in_time(Lane::Sync, Ttl::FiveMinutes, hour), 1_000_000);
        assert_eq!(in_time(Lane::Batch, Ttl::OneHour, Span::ZERO), 1_000_000);
    }
}
