//! Prefix groups: which rows begin alike and how far, and their sums.
//!
//! Groups stand on each other: all rows share the instructions, some of them a document as well. What
//! is shared is known only when all rows were seen. While they come, candidates are gathered in bounded
//! memory: a level that a second row has, or that ends tools or system prompt. Then the rows are counted
//! exactly, and levels that only repeat another are left out. Leaves out what a level is (`levels`) and
//! whether it is worth a mark (`offpeak_core::plan`).

use std::cmp::Reverse;
use std::collections::HashMap;

use offpeak_core::units::Usd;
use offpeak_wire::request::Shape;

use super::doorkeeper::Doorkeeper;
use super::levels::Level;
use super::ways::Way;
use crate::spool::NO_GROUP;

/// Candidates in memory; of more, those that save least are forgotten.
const CANDIDATES_MAX: usize = 1 << 17;

/// Fewer bytes than the fewest tokens that any model caches (Anthropic docs, prompt caching: 512) hold
/// fewer tokens than that, as a token is at least one byte. With tools there is a hidden prompt as well.
const BYTES_MIN: u64 = 512;

/// Groups that are reported.
const REPORTED_MAX: usize = 10_000;

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSums {
    /// Rows.
    pub rows: u64,
    /// Bytes of their requests, unmarked, without what cutting messages into blocks has added.
    pub request_bytes: u64,
    /// Their `max_tokens`.
    pub max_tokens: u64,
    /// Most they can cost on the sync lane, with an hour's cache write.
    pub worst: Usd,
}

impl RowSums {
    /// The sums of a single row; `worst` in picodollars.
    pub(super) fn of(request_len: u32, max_tokens: u32, worst: u64) -> Self {
        Self {
            rows: 1,
            request_bytes: request_len.into(),
            max_tokens: max_tokens.into(),
            worst: Usd::from_pico(worst.into()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.request_bytes += other.request_bytes;
        self.max_tokens += other.max_tokens;
        self.worst += other.worst;
    }
}

/// The rows of a job whose longest common beginning is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The number that its rows carry; groups are numbered depth first.
    pub id: u32,
    /// The group with the next shorter beginning, which has a smaller number.
    pub parent: Option<u32>,
    /// Its model, as an index into the job's models.
    pub model: u16,
    /// Bytes of the contents of the blocks that it shares.
    pub prefix_bytes: u64,
    /// Sums over its own rows, without those of longer beginnings.
    pub sums: RowSums,
    /// The caller placed cache marks of his own, which are kept.
    pub caller_marked: bool,
    /// Its requests give tools.
    pub has_tools: bool,
    /// The level of its rows that it ends with.
    pub level: GroupLevel,
}

/// Where the mark of a group stands in its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GroupLevel {
    /// The place among the levels of a row, counted from 0.
    pub place: u8,
    /// How the block is written that the mark goes to.
    pub shape: Shape,
}

/// What a row says about all levels that it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) model: u16,
    pub(super) has_tools: bool,
    pub(super) caller_marked: bool,
}

/// A level that rows may share.
#[derive(Debug, Clone)]
struct Candidate {
    digest: u64,
    level: GroupLevel,
    about: About,
    bytes: u64,
    preamble: bool,
    /// Rows that had it since it was admitted, and the one before.
    sightings: u64,
}

impl Candidate {
    fn saved_bytes(&self) -> u64 {
        saved_bytes(self.bytes, self.sightings)
    }
}

/// Bytes that need not be sent anew after the first row: what a cache can save.
fn saved_bytes(bytes: u64, rows: u64) -> u64 {
    bytes.saturating_mul(rows.saturating_sub(1))
}

/// The candidates of a job in the making.
#[derive(Debug)]
pub(super) struct Candidates {
    places: HashMap<u64, usize>,
    list: Vec<Candidate>,
    seen: Doorkeeper,
    most: usize,
}

impl Default for Candidates {
    fn default() -> Self {
        Self::up_to(CANDIDATES_MAX)
    }
}

impl Candidates {
    fn up_to(most: usize) -> Self {
        Self {
            places: HashMap::new(),
            list: Vec::new(),
            seen: Doorkeeper::default(),
            most,
        }
    }

    /// Notes the levels of a row.
    pub(super) fn note(&mut self, levels: &[Level], about: About) {
        for (place, level) in levels.iter().enumerate() {
            if level.bytes < BYTES_MIN && !level.preamble && !about.has_tools {
                continue;
            }
            if let Some(known) = self.places.get(&level.digest) {
                self.list[*known].sightings += 1;
                continue;
            }
            let again = self.seen.pass(level.digest);
            if !again && !level.preamble {
                continue;
            }
            if self.list.len() == self.most {
                self.forget();
            }
            let place = u8::try_from(place).expect("levels of a prompt are few");
            let shape = level.point.map_or(Shape::Object, |point| point.shape);
            self.places.insert(level.digest, self.list.len());
            self.list.push(Candidate {
                digest: level.digest,
                level: GroupLevel { place, shape },
                about,
                bytes: level.bytes,
                preamble: level.preamble,
                sightings: 1 + u64::from(again),
            });
        }
    }

    /// Forgets the half that saves least; a row that comes again brings its levels back.
    fn forget(&mut self) {
        let key = |one: &Candidate| (Reverse(one.saved_bytes()), one.digest);
        let half = self.most / 2;
        self.list.select_nth_unstable_by_key(half, key);
        self.list.truncate(half);
        let places = self.list.iter().enumerate();
        self.places = places.map(|(place, one)| (one.digest, place)).collect();
    }

    /// Those that are left, to be counted.
    pub(super) fn count(self) -> Census {
        let counted = |candidate: Candidate| Counted {
            candidate,
            above: None,
            own: RowSums::default(),
        };
        Census {
            places: self.places,
            list: self.list.into_iter().map(counted).collect(),
            ungrouped: RowSums::default(),
        }
    }
}

/// A candidate and the rows that end there.
#[derive(Debug)]
struct Counted {
    candidate: Candidate,
    /// The next shorter one.
    above: Option<usize>,
    /// Over the rows for which none is longer.
    own: RowSums,
}

/// The exact count of the rows of candidates.
#[derive(Debug)]
pub(super) struct Census {
    places: HashMap<u64, usize>,
    list: Vec<Counted>,
    ungrouped: RowSums,
}

impl Census {
    /// Counts a row.
    pub(super) fn add(&mut self, way: &Way) {
        let mut last = None;
        for digest in &way.digests {
            if let Some(place) = self.places.get(digest).copied() {
                self.list[place].above = last;
                last = Some(place);
            }
        }
        let sums = match last {
            Some(place) => &mut self.list[place].own,
            None => &mut self.ungrouped,
        };
        sums.add(&way.sums());
    }

    /// The groups, at most 10,000 of them, and the sums of the rows of none.
    pub(super) fn finish(self) -> Groups {
        self.finish_with(REPORTED_MAX)
    }

    fn finish_with(self, most: usize) -> Groups {
        let mut forest = Forest::of(self.list, self.ungrouped);
        forest.keep(|one, rows, _| rows > 1 || (rows > 0 && one.candidate.preamble));
        // A level that all rows of another go through, and none ends at, is only a part of that one.
        forest.keep(|one, _, below| one.own.rows > 0 || below != 1);
        forest.keep_best(most);
        forest.number(&self.places)
    }
}

/// Candidates as a forest that is being thinned out.
struct Forest {
    list: Vec<Counted>,
    kept: Vec<bool>,
    /// Longer ones before shorter ones.
    inwards: Vec<usize>,
    ungrouped: RowSums,
}

impl Forest {
    fn of(list: Vec<Counted>, ungrouped: RowSums) -> Self {
        let mut inwards: Vec<usize> = (0..list.len()).collect();
        // What is above another has fewer levels.
        inwards.sort_by_key(|place| Reverse(list[*place].candidate.level.place));
        Self {
            kept: vec![true; list.len()],
            list,
            inwards,
            ungrouped,
        }
    }

    /// The nearest one above that is kept.
    fn above(&self, place: usize) -> Option<usize> {
        let mut at = self.list[place].above;
        while let Some(here) = at
            && !self.kept[here]
        {
            at = self.list[here].above;
        }
        at
    }

    /// Rows that go through each, and how many are right below each.
    fn counts(&self) -> Vec<(u64, u64)> {
        let mut counts: Vec<(u64, u64)> = self.list.iter().map(|one| (one.own.rows, 0)).collect();
        for &place in &self.inwards {
            if !self.kept[place] {
                continue;
            }
            if let Some(above) = self.above(place) {
                counts[above].0 += counts[place].0;
                counts[above].1 += u64::from(counts[place].0 > 0);
            }
        }
        counts
    }

    /// Keeps those that are wanted, by their rows and how many are right below them; the rows of the
    /// others belong to what is above.
    fn keep(&mut self, wanted: impl Fn(&Counted, u64, u64) -> bool) {
        let counts = self.counts();
        for place in self.inwards.clone() {
            let (rows, below) = counts[place];
            if self.kept[place] && !wanted(&self.list[place], rows, below) {
                self.drop(place);
            }
        }
    }

    fn drop(&mut self, place: usize) {
        self.kept[place] = false;
        let own = std::mem::take(&mut self.list[place].own);
        match self.above(place) {
            Some(above) => self.list[above].own.add(&own),
            None => self.ungrouped.add(&own),
        }
    }

    /// Keeps so many: those that save most beside what is above them.
    fn keep_best(&mut self, most: usize) {
        let counts = self.counts();
        let mut kept: Vec<usize> = self.inwards.clone();
        kept.retain(|place| self.kept[*place]);
        if kept.len() <= most {
            return;
        }
        let saved = |place: &usize| {
            let above = self.above(*place);
            let above = above.map_or(0, |above| self.list[above].candidate.bytes);
            let bytes = self.list[*place].candidate.bytes.saturating_sub(above);
            let digest = self.list[*place].candidate.digest;
            (Reverse(saved_bytes(bytes, counts[*place].0)), digest)
        };
        kept.sort_by_cached_key(saved);
        let mut rest = kept.split_off(most);
        // Longer ones first: their rows may pass through several.
        rest.sort_by_key(|place| Reverse(self.list[*place].candidate.level.place));
        for place in rest {
            self.drop(place);
        }
    }

    /// Numbers the groups depth first, of neighbours the one that saves most first.
    fn number(self, places: &HashMap<u64, usize>) -> Groups {
        let counts = self.counts();
        let mut below: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for &place in &self.inwards {
            if self.kept[place] {
                below.entry(self.above(place)).or_default().push(place);
            }
        }
        for neighbours in below.values_mut() {
            neighbours.sort_by_key(|place| {
                let one = &self.list[*place].candidate;
                // The last one is taken first; of equals, the one that came first.
                (saved_bytes(one.bytes, counts[*place].0), Reverse(*place))
            });
        }
        let mut groups = Vec::new();
        let mut ids: Vec<u32> = vec![NO_GROUP; self.list.len()];
        let mut open = below.remove(&None).unwrap_or_default();
        while let Some(place) = open.pop() {
            let id = u32::try_from(groups.len()).expect("groups are few");
            ids[place] = id;
            open.extend(below.remove(&Some(place)).unwrap_or_default());
            let Counted { candidate, own, .. } = &self.list[place];
            let About {
                model,
                has_tools,
                caller_marked,
            } = candidate.about;
            groups.push(Group {
                id,
                parent: self.above(place).map(|above| ids[above]),
                model,
                prefix_bytes: candidate.bytes,
                sums: *own,
                caller_marked,
                has_tools,
                level: candidate.level,
            });
        }
        let id = |(digest, place): (&u64, &usize)| (*digest, ids[*place]);
        let ids = places.iter().map(id).filter(|(_, id)| *id != NO_GROUP);
        Groups {
            ids: ids.collect(),
            groups,
            ungrouped: self.ungrouped,
        }
    }
}

/// The groups of a job.
#[derive(Debug)]
pub(super) struct Groups {
    ids: HashMap<u64, u32>,
    /// By number.
    pub(super) groups: Vec<Group>,
    pub(super) ungrouped: RowSums,
}

impl Groups {
    /// The group of a row.
    pub(super) fn of(&self, way: &Way) -> u32 {
        let mut inwards = way.digests.iter().rev();
        let id = inwards.find_map(|digest| self.ids.get(digest));
        id.copied().unwrap_or(NO_GROUP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The levels of a row: names along its way down, each 1,000 bytes longer than the one before.
    fn levels(names: &[u8]) -> Vec<Level> {
        let digest = |place: usize| {
            let hash = blake3::hash(&names[..=place]);
            u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap())
        };
        let level = |place: usize| Level {
            digest: digest(place),
            bytes: 1000 * (place as u64 + 1),
            point: None,
            preamble: place == 0,
        };
        (0..names.len()).map(level).collect()
    }

    const ABOUT: About = About {
        model: 0,
        has_tools: false,
        caller_marked: false,
    };

    fn way(row: u64, levels: &[Level]) -> Way {
        Way {
            row,
            worst: row + 1,
            request_len: 12,
            framing: 2,
            max_tokens: 5,
            digests: levels.iter().map(|level| level.digest).collect(),
            ..Way::default()
        }
    }

    fn grouped(rows: &[Vec<u8>], most: usize) -> (Groups, Vec<u32>) {
        let mut candidates = Candidates::default();
        let paths: Vec<_> = rows.iter().map(|names| levels(names)).collect();
        for path in &paths {
            candidates.note(path, ABOUT);
        }
        let mut census = candidates.count();
        let ways: Vec<_> = (0..)
            .zip(&paths)
            .map(|(row, path)| way(row, path))
            .collect();
        for way in &ways {
            census.add(way);
        }
        let groups = census.finish_with(most);
        let of = ways.iter().map(|way| groups.of(way)).collect();
        (groups, of)
    }

    proptest! {
        /// Against the definition: what two rows share is a group if rows end or part there.
        #[test]
        fn groups_are_the_forks_of_the_rows(
            rows in prop::collection::vec(prop::collection::vec(0u8..3, 1..5), 1..40),
        ) {
            let (groups, of) = grouped(&rows, REPORTED_MAX);
            let through = |begin: &[u8]| rows.iter().filter(|row| row.starts_with(begin)).count();
            let mut expected: Vec<&[u8]> = rows
                .iter()
                .flat_map(|row| (1..=row.len()).map(|len| &row[..len]))
                .filter(|begin| through(begin) > 1 || begin.len() == 1)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let known = expected.clone();
            let longest = |row: &[u8]| known.iter().rev().copied().find(|b| row.starts_with(b));
            expected.retain(|begin| {
                let own = rows.iter().any(|row| longest(row) == Some(begin));
                let below = known.iter().filter(|b| b.len() == begin.len() + 1 && b.starts_with(begin));
                own || below.count() != 1
            });
            prop_assert_eq!(groups.groups.len(), expected.len());
            for (row, id) in rows.iter().zip(&of) {
                let group = &groups.groups[*id as usize];
                let begin = expected.iter().rev().find(|begin| row.starts_with(begin)).unwrap();
                prop_assert_eq!(group.prefix_bytes, 1000 * begin.len() as u64);
                prop_assert_eq!(usize::from(group.level.place) + 1, begin.len());
                let above = expected.iter().rev().find(|b| b.len() < begin.len() && begin.starts_with(b));
                let parent = group.parent.map(|parent| &groups.groups[parent as usize]);
                prop_assert_eq!(
                    parent.map(|parent| parent.prefix_bytes),
                    above.map(|above| 1000 * above.len() as u64)
                );
                prop_assert!(group.parent.is_none_or(|parent| parent < group.id));
            }
        }

        #[test]
        fn however_few_are_kept_every_row_is_counted_once(
            rows in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..60),
            most in 0usize..6,
        ) {
            let (groups, of) = grouped(&rows, most);
            prop_assert!(groups.groups.len() <= most);
            for group in &groups.groups {
                let own = of.iter().filter(|id| **id == group.id).count();
                prop_assert_eq!(group.sums.rows, own as u64);
                prop_assert_eq!(group.sums.request_bytes, 10 * own as u64);
            }
            let none = of.iter().filter(|id| **id == NO_GROUP).count();
            prop_assert_eq!(groups.ungrouped.rows, none as u64);
            let worst: Usd = groups.groups.iter().map(|group| group.sums.worst).sum();
            let all = (rows.len() * (rows.len() + 1) / 2) as u64;
            prop_assert_eq!(worst + groups.ungrouped.worst, Usd::from_pico(all.into()));
        }
    }

    #[test]
    fn what_many_rows_share_outlives_any_number_of_pairs() {
        let mut candidates = Candidates::up_to(64);
        let shared = levels(&[0, 0]);
        for pair in 1..2_000u32 {
            let [_, a, b, c] = pair.to_be_bytes();
            let pair = levels(&[1, a, b, c]);
            candidates.note(&pair, ABOUT);
            candidates.note(&pair, ABOUT);
            candidates.note(&shared, ABOUT);
        }
        assert!(candidates.list.len() <= 64);
        let mut census = candidates.count();
        for row in 0..2_000 {
            census.add(&way(row, &shared));
        }
        let groups = census.finish();
        let largest = groups.groups.iter().max_by_key(|group| group.sums.rows);
        assert_eq!(largest.map(|group| group.sums.rows), Some(2_000));
        assert_eq!(largest.map(|group| group.prefix_bytes), Some(2_000));
    }
}
