//! Whether something is sent ahead so that a group of batch rows finds its prefix written: a canary
//! (one of the rows, in a batch of its own) or a pre-warm (a synchronous call that asks for nothing).
//!
//! Started together, all rows that run before the first answer begins would write. Whether what one
//! lane wrote can be read on the other isn't documented, and measured to be mostly not so: a pre-warm
//! is off unless the caller knows better. Floating point, for comparison only.

use offpeak_wire::request::Ttl;

use crate::price::Rates;

use super::cost::write_rate;
use super::posterior::HitPosterior;

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

/// How the prefix of a group is first written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warming {
    /// One row goes ahead.
    Canary,
    /// All rows are marked and start together.
    Cold,
    /// No row is marked.
    Unmarked,
}

/// The rule: a canary wherever there is time for it and two rows share the prefix; otherwise marks
/// only where the share of hits, as learnt, is surely high enough.
#[must_use]
pub fn warming(
    group: &ColdGroup,
    batch: &Rates,
    time_for_canary: bool,
    learnt: &HitPosterior,
) -> Warming {
    let premium = write_rate(batch, group.ttl).saturating_sub(batch.input);
    let saved = batch.input.saturating_sub(batch.read);
    let others = group.rows.saturating_sub(1);
    let repaid = u128::from(others) * u128::from(saved) > u128::from(premium);
    if time_for_canary && repaid {
        Warming::Canary
    } else if learnt.pays(batch, group.ttl) {
        Warming::Cold
    } else {
        Warming::Unmarked
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
    fn the_rule_of_a_group() {
        let unknown = HitPosterior::cold();
        let rule = |rows, time| warming(&group(rows, 1.0), &BATCH, time, &unknown);
        assert_eq!(rule(5_000, true), Warming::Canary);
        assert_eq!(
            rule(2, true),
            Warming::Unmarked,
            "an hour's write takes two reads"
        );
        assert_eq!(rule(3, true), Warming::Canary);
        assert_eq!(
            rule(5_000, false),
            Warming::Unmarked,
            "a cold batch reads nothing"
        );
        let learnt = HitPosterior::cold().after(900, 100);
        assert_eq!(
            warming(&group(5_000, 1.0), &BATCH, false, &learnt),
            Warming::Cold
        );
    }
}
