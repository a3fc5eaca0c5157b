//! Owns the prompt cache: what is remembered, for how long, and how a request's prompt splits
//! into read, written and plain tokens (Anthropic docs, prompt caching). Which blocks a request
//! has, and their cumulative keys and tokens, come from `prompt`.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::stamp::SECOND;

/// Assumptions about the cache that the documentation leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRules {
    /// Whether batch rows and synchronous calls see each other's entries. Measurements say they
    /// (mostly) do not, which is the default.
    pub lanes_share: bool,
    /// Whether a row can read what another row of the same batch wrote, once that row's answer
    /// has begun. Live measurements have shown both; `false` makes every cold batch miss.
    pub within_batch: bool,
    /// Number of caches a lane's requests are spread over by chance; entries are not shared.
    pub domains: u32,
    /// Whether a hit refreshes every live entry on its path, not only the deepest.
    pub refresh_path: bool,
    /// Whether a mark inside the part that was read creates or upgrades its entry for free.
    pub free_marks: bool,
    /// Whether a hit restarts the hour of an entry that was written for one, as it does the five
    /// minutes.
    pub hour_restarts: bool,
}

impl Default for CacheRules {
    fn default() -> Self {
        Self {
            lanes_share: false,
            within_batch: true,
            domains: 1,
            refresh_path: true,
            free_marks: true,
            hour_restarts: true,
        }
    }
}

/// A position of a prompt that the look-back of one of its marks can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spot {
    /// Cumulative key of everything up to and including this block.
    pub(crate) key: u64,
    /// Tokens up to and including this block.
    pub(crate) tokens: u32,
    #[serde(with = "crate::save::mark")]
    pub(crate) mark: Option<Ttl>,
}

/// How one request's prompt was billed: plain, written, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split {
    pub(crate) input: u32,
    pub(crate) write_5m: u32,
    pub(crate) write_1h: u32,
    pub(crate) read: u32,
}

/// When a request starts, when its answer begins, and the batch it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) start: i64,
    pub(crate) begins: i64,
    pub(crate) batch: Option<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Readable from here on: when the writer's answer began.
    ready: i64,
    /// Dead from here on.
    expires: i64,
    #[serde(with = "crate::save::ttl")]
    ttl: Ttl,
    /// The batch whose row wrote it first.
    writer: Option<u32>,
}

/// Every live entry, of all workspaces and models: the keys tell them apart.
#[derive(Debug)]
pub(crate) struct Cache {
    rules: CacheRules,
    entries: HashMap<u64, Entry, BuildHasherDefault<DefaultHasher>>,
    /// Sweep for dead entries when there are this many.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 4_096;

fn lifetime(ttl: Ttl) -> i64 {
    i64::try_from(ttl.seconds()).expect("at most an hour") * SECOND
}

impl Cache {
    pub(crate) fn new(rules: CacheRules) -> Self {
        Self {
            rules,
            entries: HashMap::default(),
            sweep_at: FIRST_SWEEP,
        }
    }

    /// Every entry by key, and when to sweep next: what a saved state keeps.
    pub(crate) fn kept(&self) -> (Vec<(u64, Entry)>, usize) {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(&key, &entry)| (key, entry))
            .collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        (entries, self.sweep_at)
    }

    pub(crate) fn restored(
        rules: CacheRules,
        (entries, sweep_at): (Vec<(u64, Entry)>, usize),
    ) -> Self {
        Self {
            rules,
            entries: entries.into_iter().collect(),
            sweep_at,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Runs one request through the cache. `spots` are in prompt order and hold only marks that
    /// reach the model's minimum; `total` is the whole prompt. With A the deepest hit, B the last
    /// 1h mark beyond it and C the last mark, A is read, B − A written for an hour, C − B for five
    /// minutes, and the rest is plain input.
    pub(crate) fn pass(&mut self, spots: &[Spot], total: u32, moment: Moment) -> Split {
        let hit = spots
            .iter()
            .rposition(|spot| self.readable(spot.key, moment));
        let marked = |wanted: Option<Ttl>| {
            let mut marks = spots.iter().rev();
            let last = marks.find(|s| s.mark.is_some_and(|ttl| wanted.is_none_or(|w| w == ttl)));
            last.map_or(0, |spot| spot.tokens)
        };
        let a = hit.map_or(0, |index| spots[index].tokens);
        let b = marked(Some(Ttl::OneHour)).max(a);
        let c = marked(None).max(b);
        for (index, spot) in spots.iter().enumerate() {
            let inside = hit.is_some_and(|hit| index <= hit);
            if inside && (self.rules.refresh_path || Some(index) == hit) {
                self.refresh(spot.key, moment.start);
            }
            if let Some(ttl) = spot.mark.filter(|_| !inside || self.rules.free_marks) {
                self.write(spot.key, ttl, moment);
            }
        }
        self.sweep(moment.start);
        Split {
            input: total - c,
            write_5m: c - b,
            write_1h: b - a,
            read: a,
        }
    }

    fn readable(&self, key: u64, moment: Moment) -> bool {
        self.entries.get(&key).is_some_and(|entry| {
            let own = moment.batch.is_some() && entry.writer == moment.batch;
            entry.ready <= moment.start
                && moment.start < entry.expires
                && (self.rules.within_batch || !own)
        })
    }

    /// A hit restarts the lifetime, at no cost.
    fn refresh(&mut self, key: u64, start: i64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && start < entry.expires
            && (self.rules.hour_restarts || entry.ttl != Ttl::OneHour)
        {
            entry.expires = entry.expires.max(start + lifetime(entry.ttl));
        }
    }

    fn write(&mut self, key: u64, ttl: Ttl, moment: Moment) {
        let fresh = Entry {
            ready: moment.begins,
            expires: moment.start + lifetime(ttl),
            ttl,
            writer: moment.batch,
        };
        let entry = self.entries.entry(key).or_insert(fresh);
        if entry.expires <= moment.start {
            *entry = fresh;
            return;
        }
        entry.ready = entry.ready.min(fresh.ready);
        entry.expires = entry.expires.max(fresh.expires);
        if lifetime(ttl) > lifetime(entry.ttl) {
            entry.ttl = ttl;
        }
    }

    /// Forgets the dead, whenever the number of entries has doubled.
    fn sweep(&mut self, now: i64) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| now < entry.expires);
            self.sweep_at = FIRST_SWEEP.max(self.entries.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ttl::{FiveMinutes, OneHour};

    const FIVE: i64 = 300 * SECOND;
    const HOUR: i64 = 3_600 * SECOND;

    fn cache() -> Cache {
        Cache::new(CacheRules::default())
    }

    fn spot(key: u64, tokens: u32, mark: impl Into<Option<Ttl>>) -> Spot {
        let mark = mark.into();
        Spot { key, tokens, mark }
    }

    fn at(start: i64) -> Moment {
        Moment {
            start,
            begins: start + SECOND,
            batch: None,
        }
    }

    fn split(read: u32, write_1h: u32, write_5m: u32, input: u32) -> Split {
        Split {
            input,
            write_5m,
            write_1h,
            read,
        }
    }

    #[test]
    fn first_written_then_read_and_the_rest_is_plain() {
        let mut cache = cache();
        let prefix = [spot(1, 4_500, FiveMinutes)];
        assert_eq!(cache.pass(&prefix, 6_000, at(0)), split(0, 0, 4_500, 1_500));
        assert_eq!(
            cache.pass(&prefix, 6_000, at(SECOND - 1)),
            split(0, 0, 4_500, 1_500)
        );
        assert_eq!(
            cache.pass(&prefix, 6_000, at(SECOND)),
            split(4_500, 0, 0, 1_500)
        );
    }

    #[test]
    fn mixed_lifetimes_split_at_a_b_c() {
        let mut cache = cache();
        let spots = [
            spot(1, 1_000, OneHour),
            spot(2, 3_000, OneHour),
            spot(3, 7_000, FiveMinutes),
        ];
        assert_eq!(
            cache.pass(&spots, 7_500, at(0)),
            split(0, 3_000, 4_000, 500)
        );
        // The 5m entry is dead after five minutes, the hour's marks are not.
        assert_eq!(
            cache.pass(&spots, 7_500, at(FIVE)),
            split(3_000, 0, 4_000, 500)
        );
        // A hit at the first mark only: B − A is the way from there to the last 1h mark.
        let other = [
            spot(1, 1_000, OneHour),
            spot(8, 2_000, OneHour),
            spot(9, 5_000, FiveMinutes),
        ];
        assert_eq!(
            cache.pass(&other, 5_000, at(2 * FIVE)),
            split(1_000, 1_000, 3_000, 0)
        );
    }

    #[test]
    fn lives_are_counted_from_the_request_and_renewed_by_hits() {
        let mut cache = cache();
        let prefix = [spot(1, 2_000, OneHour)];
        cache.pass(&prefix, 2_000, at(0));
        assert_eq!(cache.pass(&prefix, 2_000, at(HOUR - 1)).read, 2_000);
        assert_eq!(cache.pass(&prefix, 2_000, at(2 * HOUR - 2)).read, 2_000);
        assert_eq!(
            cache.pass(&prefix, 2_000, at(3 * HOUR - 2)).read,
            0,
            "dead at exactly its age"
        );
    }

    #[test]
    fn a_deeper_hour_mark_keeps_the_shallow_tokens_for_an_hour() {
        // The corrected lower bound's example: E = 20,000, D = 100 at 0, 60 and 2,460 s.
        let mut cache = cache();
        cache.pass(&[spot(1, 20_000, FiveMinutes)], 20_000, at(0));
        let deeper = [spot(1, 20_000, None), spot(2, 20_100, OneHour)];
        assert_eq!(
            cache.pass(&deeper, 20_100, at(60 * SECOND)),
            split(20_000, 100, 0, 0)
        );
        assert_eq!(cache.pass(&deeper, 20_100, at(2_460 * SECOND)).read, 20_100);
    }

    #[test]
    fn free_marks_and_path_refresh_are_switches() {
        for free_marks in [true, false] {
            let rules = CacheRules {
                free_marks,
                ..CacheRules::default()
            };
            let mut cache = Cache::new(rules);
            cache.pass(&[spot(1, 2_000, FiveMinutes)], 2_000, at(0));
            assert_eq!(
                cache
                    .pass(&[spot(1, 2_000, OneHour)], 2_000, at(60 * SECOND))
                    .read,
                2_000
            );
            let later = cache.pass(&[spot(1, 2_000, OneHour)], 2_000, at(2 * FIVE));
            assert_eq!(later.read == 2_000, free_marks);
        }
        for refresh_path in [true, false] {
            let rules = CacheRules {
                refresh_path,
                ..CacheRules::default()
            };
            let mut cache = Cache::new(rules);
            let path = [spot(1, 1_000, FiveMinutes), spot(2, 2_000, FiveMinutes)];
            cache.pass(&path, 2_000, at(0));
            let deep = [spot(1, 1_000, None), spot(2, 2_000, FiveMinutes)];
            assert_eq!(cache.pass(&deep, 2_000, at(FIVE - 1)).read, 2_000);
            let shallow = cache.pass(&[spot(1, 1_000, FiveMinutes)], 1_000, at(FIVE));
            assert_eq!(shallow.read == 1_000, refresh_path);
        }
    }

    #[test]
    fn an_hour_may_run_out_in_spite_of_hits() {
        for hour_restarts in [true, false] {
            let mut cache = Cache::new(CacheRules {
                hour_restarts,
                ..CacheRules::default()
            });
            let unmarked = [spot(1, 2_000, OneHour), spot(2, 2_100, FiveMinutes)];
            cache.pass(&unmarked, 2_200, at(0));
            let reader = [spot(1, 2_000, None), spot(3, 2_050, FiveMinutes)];
            assert_eq!(cache.pass(&reader, 2_100, at(HOUR / 2)).read, 2_000);
            let later = [spot(1, 2_000, None), spot(4, 2_050, FiveMinutes)];
            let read = cache.pass(&later, 2_100, at(HOUR)).read;
            assert_eq!(read == 2_000, hour_restarts);
        }
    }

    #[test]
    fn a_batch_may_be_blind_to_itself() {
        let rules = CacheRules {
            within_batch: false,
            ..CacheRules::default()
        };
        let mut cache = Cache::new(rules);
        let row = |start, batch| Moment {
            start,
            begins: start + 1,
            batch: Some(batch),
        };
        let prefix = [spot(1, 2_000, OneHour)];
        cache.pass(&prefix, 2_000, row(0, 7));
        assert_eq!(cache.pass(&prefix, 2_000, row(10, 7)).read, 0);
        assert_eq!(cache.pass(&prefix, 2_000, row(20, 8)).read, 2_000);
    }

    #[test]
    fn dead_entries_are_forgotten() {
        let mut cache = cache();
        for key in 0..20_000u64 {
            let start = i64::try_from(key).unwrap() * SECOND;
            cache.pass(&[spot(key, 2_000, FiveMinutes)], 2_000, at(start));
        }
        assert!(cache.entries.len() <= FIRST_SWEEP);
    }
}
