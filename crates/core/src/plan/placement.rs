//! Where the marks of a forest of prefix groups go, and what its prompts cost with them.
//!
//! A row is marked at its group and at every marked one above it. What goes ahead of the others, one
//! row of each group that is marked and has no marked group below it, finds nothing and writes its
//! whole path; it covers every mark above. Synchronous calls come one after the other, so each marked
//! preamble is written once. Costs are in US dollars, floating point.
//!
//! Leaves out the exact choice among levels (`marks`) and which variant is taken (`decide`).

use std::collections::HashMap;

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::price::{Lane, Rates};
use crate::units::Span;

use super::cost::write_rate;
use super::group::Group;
use super::marks::{Crossing, Level, best_levels};
use super::variant::Marks;
use super::warm::{Warming, in_time};

const MILLION: u128 = 1_000_000;

/// The groups of a workload as a forest, parents before their children.
pub(super) struct Forest {
    /// The group above each, by its place.
    parent: Vec<Option<usize>>,
    /// Calls through each that we may mark: its own and those of the groups below.
    users: Vec<u64>,
    /// Whether a mark may stand there.
    open: Vec<bool>,
}

/// How the marks of a lane are written and read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) lane: Lane,
    /// The lifetimes that marks may have.
    pub(super) marks: Marks,
    pub(super) warming: Warming,
    /// A batch's turnaround.
    pub(super) turnaround: Span,
}

/// The mark of each group, and which groups send a row ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) marks: Vec<Option<Ttl>>,
    pub(super) leads: Vec<bool>,
}

impl Placement {
    pub(super) fn is_empty(&self) -> bool {
        self.marks.iter().all(Option::is_none)
    }

    /// Whether both lifetimes are used.
    pub(super) fn is_mixed(&self) -> bool {
        let has = |ttl| self.marks.contains(&Some(ttl));
        has(Ttl::FiveMinutes) && has(Ttl::OneHour)
    }
}

/// A call's way down to a group: what is covered by marks that take effect, and its price.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    /// Tokens up to the last mark.
    covered: f64,
    /// Expected price of them, in picodollars.
    read: f64,
    /// Their price if nothing is found.
    write: f64,
    /// The same at synchronous prices.
    write_sync: f64,
}

impl Forest {
    pub(super) fn of(groups: &[Group<'_>]) -> Self {
        let mut places = HashMap::with_capacity(groups.len());
        let mut parent = Vec::with_capacity(groups.len());
        for (place, group) in groups.iter().enumerate() {
            let above = group.profile.parent.and_then(|id| places.get(&id).copied());
            parent.push(above);
            places.insert(group.profile.id, place);
        }
        // Where the caller has marks below, one more above could be one too many.
        let mut open: Vec<bool> = groups.iter().map(|g| !g.profile.caller_marked).collect();
        let own = |group: &Group<'_>| match group.profile.caller_marked {
            true => 0,
            false => group.profile.sums.rows,
        };
        let mut users: Vec<u64> = groups.iter().map(own).collect();
        for place in (0..groups.len()).rev() {
            if let Some(above) = parent[place] {
                users[above] = users[above].saturating_add(users[place]);
                open[above] &= open[place];
            }
        }
        for (place, group) in groups.iter().enumerate() {
            open[place] &= group.is_long_enough() && users[place] > 1;
        }
        Self {
            parent,
            users,
            open,
        }
    }

    /// Calls through a group that we may mark.
    pub(super) fn users(&self, place: usize) -> u64 {
        self.users[place]
    }

    /// The group above another.
    pub(super) fn parent(&self, place: usize) -> Option<usize> {
        self.parent[place]
    }

    /// No mark anywhere.
    pub(super) fn unmarked(&self) -> Placement {
        self.led(vec![None; self.parent.len()])
    }

    /// The same places, all with one lifetime.
    pub(super) fn with_lifetime(&self, placement: &Placement, ttl: Ttl) -> Placement {
        let marks = placement.marks.iter().map(|mark| mark.and(Some(ttl)));
        self.led(marks.collect())
    }

    /// The cheapest marks of the lifetimes that the reading allows; none where none pays.
    pub(super) fn place(&self, groups: &[Group<'_>], reading: Reading) -> Placement {
        let none = self.unmarked();
        if reading.marks == Marks::None {
            return none;
        }
        let leads = matches!(reading.warming, Warming::Canary | Warming::PreWarm);
        let chosen = self.ask(groups, reading, leads);
        let placement = self.led(self.without_idle(groups, chosen, leads));
        // Groups of one model may stand on both sides of a price step, which levels cannot know.
        if self.total(groups, &placement, reading) < self.total(groups, &none, reading) {
            placement
        } else {
            none
        }
    }

    /// The groups that are long enough to be cached, with the nearest such one above.
    fn levels(&self, groups: &[Group<'_>]) -> Vec<(usize, Option<usize>)> {
        let mut level_of: Vec<Option<usize>> = vec![None; groups.len()];
        let mut levels = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let above = self.parent[place].and_then(|above| level_of[above]);
            if group.profile.caller_marked || !group.is_long_enough() {
                level_of[place] = above;
            } else {
                level_of[place] = Some(levels.len());
                levels.push((place, above));
            }
        }
        levels
    }

    /// The marks of the exact recursion over the levels.
    fn ask(&self, groups: &[Group<'_>], reading: Reading, leads: bool) -> Vec<Option<Ttl>> {
        let levels = self.levels(groups);
        let (mut tree, mut crossings): (Vec<Level>, Vec<Crossing>) = (Vec::new(), Vec::new());
        for &(place, parent) in &levels {
            let group = &groups[place];
            // Estimates of one group need not agree with those of another.
            let above = parent.map_or(0, |parent| tree[parent].depth);
            let mut level = Level {
                parent,
                depth: group.tokens.mid.max(above),
                fixed_5m: 0,
                fixed_1h: 0,
            };
            let mut crossing = Crossing {
                plain: 0,
                marked_5m: None,
                marked_1h: None,
            };
            // A lane without prices is never taken.
            if let Some(rates) = group.priced.rates(reading.lane) {
                let own = u128::from(group.profile.sums.rows);
                crossing.plain = own * u128::from(rates.input) * MILLION;
                let asked = |ttl| {
                    let learnt = group.is_learnt(reading.warming, rates, ttl);
                    (reading.marks.allow(ttl) && self.open[place] && learnt).then_some(ttl)
                };
                let price = |ttl| self.crossing(group, place, ttl, rates, reading);
                crossing.marked_5m = asked(Ttl::FiveMinutes).map(price);
                crossing.marked_1h = asked(Ttl::OneHour).map(price);
                if leads {
                    let ahead = |ttl| u128::from(level.depth) * ahead(group, ttl, rates, reading);
                    (level.fixed_5m, level.fixed_1h) =
                        (ahead(Ttl::FiveMinutes), ahead(Ttl::OneHour));
                }
            }
            tree.push(level);
            crossings.push(crossing);
        }
        let (chosen, _) = best_levels(&tree, &crossings, MAX_BREAKPOINTS);
        let mut marks = vec![None; groups.len()];
        for (&(place, _), mark) in levels.iter().zip(chosen) {
            marks[place] = mark;
        }
        marks
    }

    /// What a token costs over all calls through a group, in millionths of a picodollar.
    fn crossing(
        &self,
        group: &Group<'_>,
        place: usize,
        ttl: Ttl,
        rates: &Rates,
        reading: Reading,
    ) -> u128 {
        let users = u128::from(self.users[place]);
        let token = expected_rate(group, ttl, rates, reading);
        match reading.warming {
            Warming::FirstCall => {
                let write = u128::from(write_rate(rates, ttl)) * MILLION;
                write + users.saturating_sub(1) * token
            }
            _ => users * token,
        }
    }

    /// Without marks that no row reads last: where rows go ahead these are no help.
    fn without_idle(
        &self,
        groups: &[Group<'_>],
        mut marks: Vec<Option<Ttl>>,
        leads: bool,
    ) -> Vec<Option<Ttl>> {
        if !leads {
            return marks;
        }
        let mut reads = vec![0u64; groups.len()];
        for (place, group) in groups.iter().enumerate() {
            if group.profile.caller_marked {
                continue;
            }
            let mut at = Some(place);
            while let Some(here) = at {
                if marks[here].is_some() {
                    reads[here] += group.profile.sums.rows;
                    break;
                }
                at = self.parent[here];
            }
        }
        for (mark, reads) in marks.iter_mut().zip(reads) {
            *mark = mark.filter(|_| reads > 0);
        }
        marks
    }

    /// The groups that send a row ahead: marked, and nothing marked below.
    fn led(&self, marks: Vec<Option<Ttl>>) -> Placement {
        let mut covered = vec![false; marks.len()];
        let mut leads = vec![false; marks.len()];
        for place in (0..marks.len()).rev() {
            leads[place] = marks[place].is_some() && !covered[place];
            if let Some(above) = self.parent[place] {
                covered[above] |= covered[place] || marks[place].is_some();
            }
        }
        Placement { marks, leads }
    }

    fn total(&self, groups: &[Group<'_>], placement: &Placement, reading: Reading) -> f64 {
        self.prompts(groups, placement, reading, 1).iter().sum()
    }

    /// What the prompts of each group cost, those of callers' own marks left out; `k` says which
    /// end of the estimates: 0 low, 1 expected, 2 high. Where a group turns out to be shorter than
    /// the model caches, its mark has no effect.
    pub(super) fn prompts(
        &self,
        groups: &[Group<'_>],
        placement: &Placement,
        reading: Reading,
        k: usize,
    ) -> Vec<f64> {
        let mut paths: Vec<Path> = Vec::with_capacity(groups.len());
        let mut costs = Vec::with_capacity(groups.len());
        for (place, group) in groups.iter().enumerate() {
            let above = self.parent[place].map_or_else(Path::default, |above| paths[above]);
            let load = &group.priced.loads[k];
            let Some(rates) = group.priced.rates(reading.lane) else {
                paths.push(above);
                costs.push(0.0);
                continue;
            };
            let in_effect = load.prefix >= group.priced.minimum as f64;
            let mark = placement.marks[place].filter(|_| in_effect);
            let path = mark.map_or(above, |ttl| {
                let tokens = (load.prefix - above.covered).max(0.0);
                let price = |rate: f64| tokens * rate;
                Path {
                    covered: load.prefix.max(above.covered),
                    read: above.read
                        + price(expected_rate(group, ttl, rates, reading) as f64 / 1e6),
                    write: above.write + price(write_rate(rates, ttl) as f64),
                    write_sync: above.write_sync
                        + price(write_rate(&group.priced.sync, ttl) as f64),
                }
            });
            let plain = (load.prefix - path.covered).max(0.0) + load.suffix;
            let mut cost = load.calls as f64 * (path.read + plain * rates.input as f64);
            cost += match reading.warming {
                Warming::FirstCall if mark.is_some() => {
                    (path.write - above.write) - (path.read - above.read)
                }
                Warming::Canary if placement.leads[place] => path.write - path.read,
                Warming::PreWarm if placement.leads[place] => path.write_sync,
                _ => 0.0,
            };
            paths.push(path);
            costs.push(if group.profile.caller_marked {
                0.0
            } else {
                cost * 1e-12
            });
        }
        costs
    }
}

/// What a marked token costs a call that goes with the others, in millionths of a picodollar.
fn expected_rate(group: &Group<'_>, ttl: Ttl, rates: &Rates, reading: Reading) -> u128 {
    let learnt = match reading.warming {
        Warming::Cold => Some(group.expected_hits(ttl)),
        Warming::Canary => group.learnt_hits_behind_canary(ttl),
        _ => None,
    };
    let warm = match learnt {
        Some(learnt) => learnt,
        None => in_time(reading.lane, ttl, reading.turnaround),
    };
    let warm = u128::from(warm).min(MILLION);
    warm * u128::from(rates.read) + (MILLION - warm) * u128::from(write_rate(rates, ttl))
}

/// What a token costs more for the row that goes ahead, or the call ahead of all rows.
fn ahead(group: &Group<'_>, ttl: Ttl, rates: &Rates, reading: Reading) -> u128 {
    let write = |rates: &Rates| u128::from(write_rate(rates, ttl)) * MILLION;
    match reading.warming {
        Warming::PreWarm => write(&group.priced.sync),
        _ => write(rates).saturating_sub(expected_rate(group, ttl, rates, reading)),
    }
}
