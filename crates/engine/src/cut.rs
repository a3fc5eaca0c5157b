//! Cutting a job into shards: which rows travel together, and the exact size of their body.
//!
//! One pass over the index, two with canaries; a shard is a range of references, no request is
//! copied. Groups that stand on each other have numbers near each other, so those whose canaries share
//! a batch share the shards behind it. Leaves out which lane, marks and limits to use
//! (`offpeak_core::plan`) and everything that happens to a shard afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use offpeak_core::job::mark::Mark;
use offpeak_core::job::shard::{JobId, RowRange, Shard, ShardNo, ShardRole, ShardState};
use offpeak_core::price::Lane;
use offpeak_core::units::Usd;
use offpeak_wire::batch::{ENVELOPE_HEAD, ENVELOPE_TAIL, ROW_SEPARATOR, ROW_TAIL, row_head};
use offpeak_wire::request::Ttl;
use offpeak_wire::splice::MarkPoint;

use crate::ingest::GroupLevel;
use crate::spool::{IndexEntry, IndexReader, RefsWriter, RowMark, RowMarks, RowRef, SpoolDir};

/// Rows of one canary shard: enough to save batches, few enough to end soon.
const CANARY_ROWS_MAX: u32 = 50;

/// Consecutive shards differ in their number of rows by up to this, so that the counts of a
/// listing tell them apart.
const STAGGER: u32 = 64;

/// What the plan wants of the rows of one prefix group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupCut {
    /// Their cache marks, from the beginning of the prompt: those of the groups that theirs stands on,
    /// then its own; at most [`RowMarks::MAX`].
    pub marks: Vec<GroupMark>,
    /// The group whose first row goes ahead of them; it is the last marked one of that row. Means
    /// nothing on the sync lane.
    pub behind: Option<u32>,
}

/// The mark of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMark {
    /// The group.
    pub group: u32,
    /// Where it ends in its rows.
    pub level: GroupLevel,
    /// How long what it writes lives.
    pub ttl: Ttl,
}

/// The same, ready to be written for each row.
#[derive(Debug, Clone, Copy)]
struct Marking {
    marks: RowMarks,
    /// Bytes that they add to a request.
    added: u64,
    behind: Option<u32>,
}

impl Marking {
    const NONE: Self = Self {
        marks: RowMarks::NONE,
        added: 0,
        behind: None,
    };

    fn of(cut: &GroupCut) -> Self {
        let added = |mark: &GroupMark| {
            let point = MarkPoint {
                start: 0,
                end: 2,
                shape: mark.level.shape,
            };
            point.added_len(mark.ttl) as u64
        };
        let mark = |mark: &GroupMark| RowMark {
            group: mark.group,
            level: mark.level.place,
            ttl: mark.ttl,
        };
        let marks: Vec<RowMark> = cut.marks.iter().map(mark).collect();
        Self {
            marks: RowMarks::new(&marks),
            added: cut.marks.iter().map(added).sum(),
            behind: cut.behind,
        }
    }
}

/// How a job is to be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutPlan {
    /// The lane of all shards.
    pub lane: Lane,
    /// What the plan wants of the groups; others are neither marked nor led by a canary.
    pub groups: BTreeMap<u32, GroupCut>,
    /// Most rows of a shard; at least 1.
    pub rows_max: u32,
    /// Most bytes of a body, on the batch lane.
    pub bytes_max: u64,
    /// Most that a shard may cost on its lane.
    pub worst_max: Option<Usd>,
}

/// Cuts a job into shards: canaries first, then the others in the order of their first rows. Within
/// a shard rows are in input order. A limit is exceeded only by a shard of one row that exceeds it
/// alone.
///
/// # Errors
///
/// When the spool cannot be read or written.
pub fn cut(spool: &SpoolDir, job: &JobId, plan: &CutPlan) -> io::Result<Vec<Shard>> {
    let groups = plan.groups.iter();
    let mut cutter = Cutter {
        spool,
        job,
        plan,
        markings: groups.map(|(id, cut)| (*id, Marking::of(cut))).collect(),
        kinds: BTreeMap::new(),
        shards: Vec::new(),
    };
    let canaries = cutter.canaries()?;
    for entry in IndexReader::open(spool)? {
        let entry = entry?;
        let marking = cutter.marking(&entry);
        let canary = marking.behind.and_then(|leader| canaries.get(&leader));
        if canary.is_some_and(|canary| canary.row == entry.row) {
            continue;
        }
        let kind = Kind {
            role: Role::Bulk,
            mark: marking.marks.longest(),
            after: canary.map(|canary| canary.shard),
        };
        cutter.put(kind, &entry, marking)?;
    }
    cutter.finish()
}

/// Where a group's canary went.
struct Canary {
    row: u64,
    shard: ShardNo,
}

/// Rows of one kind share shards. They also share a file of references, which has the number of
/// the first of these shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    role: Role,
    mark: Option<Ttl>,
    after: Option<ShardNo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Canary,
    Bulk,
}

/// The references of one kind, and the shard that is still taking rows.
struct Open {
    refs: RefsWriter,
    shard: ShardNo,
    from: u32,
    bytes: u64,
    /// On the sync lane.
    worst: Usd,
    /// Bytes of the envelope of a row in this shard, the digits of the row's number left out.
    row_envelope: u64,
}

struct Cutter<'a> {
    spool: &'a SpoolDir,
    job: &'a JobId,
    plan: &'a CutPlan,
    markings: HashMap<u32, Marking>,
    kinds: BTreeMap<Kind, Open>,
    shards: Vec<Shard>,
}

impl Cutter<'_> {
    fn marking(&self, entry: &IndexEntry) -> Marking {
        let marking = self.markings.get(&entry.group);
        marking.copied().unwrap_or(Marking::NONE)
    }

    /// Cuts the shards of the first rows of the groups that want one sent ahead, by the number of the
    /// group.
    fn canaries(&mut self) -> io::Result<BTreeMap<u32, Canary>> {
        let leaders = self.markings.values().filter_map(|marking| marking.behind);
        let wanted: BTreeSet<u32> = leaders.collect();
        if wanted.is_empty() || self.plan.lane == Lane::Sync {
            return Ok(BTreeMap::new());
        }
        let mut first: BTreeMap<u32, IndexEntry> = BTreeMap::new();
        // Of a group whose own rows are all in the probe, the first that would have been behind it.
        let mut instead: BTreeMap<u32, IndexEntry> = BTreeMap::new();
        for entry in IndexReader::open(self.spool)? {
            let entry = entry?;
            let Marking { marks, behind, .. } = self.marking(&entry);
            if let Some(last) = marks.last_group().filter(|last| wanted.contains(last)) {
                first.entry(last).or_insert(entry);
                if first.len() == wanted.len() {
                    break;
                }
            } else if let Some(leader) = behind {
                instead.entry(leader).or_insert(entry);
            }
        }
        for (leader, entry) in instead {
            first.entry(leader).or_insert(entry);
        }
        let mut canaries = BTreeMap::new();
        let leaders: Vec<u32> = first.keys().copied().collect();
        for leaders in leaders.chunks(CANARY_ROWS_MAX as usize) {
            // Rows of a shard are in input order.
            let mut rows: Vec<(u32, IndexEntry)> = leaders
                .iter()
                .map(|leader| (*leader, first[leader]))
                .collect();
            rows.sort_unstable_by_key(|(_, entry)| entry.row);
            for (leader, entry) in rows {
                let marking = self.marking(&entry);
                let kind = Kind {
                    role: Role::Canary,
                    mark: marking.marks.longest(),
                    after: None,
                };
                let shard = self.put(kind, &entry, marking)?;
                let row = entry.row;
                canaries.insert(leader, Canary { row, shard });
            }
            self.close_all()?;
        }
        Ok(canaries)
    }

    /// Adds a row to the open shard of its kind, or to a new one.
    fn put(&mut self, kind: Kind, entry: &IndexEntry, marking: Marking) -> io::Result<ShardNo> {
        let mut full = None;
        if let Some(open) = self.kinds.get(&kind)
            && !self.takes(kind, open, entry, marking)
        {
            full = self.kinds.remove(&kind);
        }
        if !self.kinds.contains_key(&kind) {
            let shard = self.next_shard(kind)?;
            let refs = match full {
                Some(open) => {
                    self.close(&open);
                    open.refs
                }
                None => RefsWriter::create(self.spool, shard.0)?,
            };
            let open = Open {
                shard,
                from: refs.len(),
                refs,
                bytes: match self.plan.lane {
                    Lane::Batch => (ENVELOPE_HEAD.len() + ENVELOPE_TAIL.len()) as u64,
                    Lane::Sync => 0,
                },
                worst: Usd::ZERO,
                row_envelope: self.row_envelope(shard),
            };
            self.kinds.insert(kind, open);
        }
        let plan = self.plan;
        let open = self
            .kinds
            .get_mut(&kind)
            .expect("it was there or was just put there");
        open.bytes += bytes_more(plan.lane, open, entry, marking);
        open.worst += Usd::from_pico(entry.worst.into());
        open.refs.push(&RowRef {
            row: entry.row,
            at: entry.at,
            worst: entry.worst,
            attempts: 0,
            round: 0,
            request_len: entry.request_len,
            marks: marking.marks,
        })?;
        Ok(open.shard)
    }

    /// Whether one more row keeps the open shard within its limits.
    fn takes(&self, kind: Kind, open: &Open, entry: &IndexEntry, marking: Marking) -> bool {
        let rows_max = match kind.role {
            Role::Canary => CANARY_ROWS_MAX.min(self.plan.rows_max),
            Role::Bulk => staggered(self.plan.rows_max, open.shard),
        };
        let bytes = open.bytes + bytes_more(self.plan.lane, open, entry, marking);
        let worst = open.worst + Usd::from_pico(entry.worst.into());
        let worst = on_lane(self.plan.lane, worst);
        open.refs.len() - open.from < rows_max
            && (self.plan.lane == Lane::Sync || bytes <= self.plan.bytes_max)
            && self.plan.worst_max.is_none_or(|max| worst <= max)
    }

    fn next_shard(&mut self, kind: Kind) -> io::Result<ShardNo> {
        let number = u32::try_from(self.shards.len());
        let no = number
            .map(ShardNo)
            .map_err(|_| io::Error::other("too many shards"))?;
        self.shards.push(Shard {
            no,
            lane: self.plan.lane,
            role: match kind.role {
                Role::Canary => ShardRole::Canary,
                Role::Bulk => ShardRole::Bulk,
            },
            // These three are known when the shard is closed.
            rows: RowRange {
                file: 0,
                from: 0,
                to: 0,
            },
            bytes: 0,
            worst: Usd::ZERO,
            mark: kind.mark,
            unmarked: None,
            found: false,
            account: None,
            origin: None,
            after: kind.after,
            reserved: Usd::ZERO,
            state: ShardState::Planned,
        });
        Ok(no)
    }

    fn row_envelope(&self, shard: ShardNo) -> u64 {
        let mark = Mark {
            job: self.job.clone(),
            shard,
            row: 0,
        };
        let mut head = Vec::new();
        row_head(&mark.custom_id(), &mut head);
        // The one digit of row 0 does not count.
        (head.len() - 1 + ROW_TAIL.len()) as u64
    }

    fn close(&mut self, open: &Open) {
        let shard = &mut self.shards[open.shard.0 as usize];
        shard.rows = RowRange {
            file: open.refs.file(),
            from: open.from,
            to: open.refs.len(),
        };
        shard.bytes = open.bytes;
        shard.worst = on_lane(self.plan.lane, open.worst);
    }

    fn close_all(&mut self) -> io::Result<()> {
        for open in std::mem::take(&mut self.kinds).into_values() {
            self.close(&open);
            open.refs.finish()?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<Shard>> {
        self.close_all()?;
        Ok(self.shards)
    }
}

/// Bytes by which a row makes the open shard longer.
fn bytes_more(lane: Lane, open: &Open, entry: &IndexEntry, marking: Marking) -> u64 {
    let request = u64::from(entry.request_len) + marking.added;
    match lane {
        Lane::Sync => request,
        Lane::Batch => {
            let first = open.refs.len() == open.from;
            let separator = if first { 0 } else { ROW_SEPARATOR.len() as u64 };
            let digits = u64::from(entry.row.checked_ilog10().unwrap_or(0)) + 1;
            separator + open.row_envelope + digits + request
        }
    }
}

/// A batch costs half (Anthropic docs, pricing); rounded up, because this is a worst case.
pub(crate) fn on_lane(lane: Lane, sync: Usd) -> Usd {
    match lane {
        Lane::Sync => sync,
        Lane::Batch => Usd::from_pico(sync.pico() / 2 + sync.pico() % 2),
    }
}

fn staggered(rows_max: u32, shard: ShardNo) -> u32 {
    // Small limits are not taken apart: a stagger of most of the shard would double the batches.
    let less = shard.0 % STAGGER.min(rows_max / 2 + 1);
    (rows_max - less.min(rows_max)).max(1)
}

#[cfg(test)]
mod tests;
