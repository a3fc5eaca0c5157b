//! Where the money above the bound went: the same bill, billed again with one thing after the other
//! made right, always in the same order. Each figure is the difference of two such bills, so they add
//! up to what was paid above the bound, to the picodollar.
//!
//! In order: calls that came back from a batch at the batch's price (`hedged`); calls that could have
//! travelled in one, likewise (`route`); pings for nothing (`pings`); tokens written a second time on
//! their lane, read instead (`cold_writes`); tokens written once and never used again, plain instead
//! (`unread_writes`). What then still lies above the least that any times could cost are tokens that
//! nothing read because nothing marked them (`missing_marks`). The bound itself pays for the times as
//! they are: `unavoidable`, taken off. Blocks above the shortest prefix that is cached count with the
//! first one that reaches it, as nothing shorter can be read.

use std::collections::{HashMap, HashSet};

use offpeak_core::plan::{Bound, NodeId, PromptBlock, Trie};
use offpeak_core::units::Usd;
use offpeak_sim::{Foul, Lane, Referee, Tally};
use serde::Serialize;

use crate::game::{Billed, PING_TOKENS, Record};
use crate::moves::Item;
use crate::policy::Facts;
use crate::trace::Trace;

/// Amounts above the bound by cause; they add up to realised less bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Regret {
    /// Calls that a batch did not bring in time.
    pub hedged: Usd,
    /// Calls sent at once that could have travelled in a batch.
    pub route: Usd,
    /// Calls that only kept an entry alive.
    pub pings: Usd,
    /// Beginnings written again: expired, or written by several at once.
    pub cold_writes: Usd,
    /// Beginnings written and never read.
    pub unread_writes: Usd,
    /// Beginnings that could have been read.
    pub missing_marks: Usd,
    /// What the bound pays for the times of the calls; zero or less.
    pub unavoidable: Usd,
}

impl Regret {
    /// The sum: what was paid above the bound.
    #[must_use]
    pub fn total(&self) -> Usd {
        [
            self.hedged,
            self.route,
            self.pings,
            self.cold_writes,
            self.unread_writes,
            self.missing_marks,
            self.unavoidable,
        ]
        .iter()
        .sum()
    }
}

/// Splits what a replay paid above the bound.
pub(crate) fn split(
    trace: &Trace,
    record: &Record,
    bound: &Bound,
    facts: &Facts,
    referee: &mut Referee,
) -> Result<Regret, Foul> {
    let mut again = Again::new(trace, &record.bill, facts);
    let paid = Usd::from_pico(record.total);
    again.unhedge();
    let unhedged = again.total(referee)?;
    again.reroute();
    let rerouted = again.total(referee)?;
    again.forgive_pings();
    let unpinged = again.total(referee)?;
    again.read_what_was_written();
    let warm = again.total(referee)?;
    again.leave_unread_plain();
    let read = again.total(referee)?;
    Ok(Regret {
        hedged: paid - unhedged,
        route: unhedged - rerouted,
        pings: rerouted - unpinged,
        cold_writes: unpinged - warm,
        unread_writes: warm - read,
        missing_marks: read - bound.timeless,
        unavoidable: bound.timeless - bound.timed,
    })
}

/// One line of the bill as it is billed again.
struct Line {
    lane: Lane,
    hedged: bool,
    ping: bool,
    deferrable: bool,
    model: usize,
    /// Each block's node, or the first one below it that can be read, and its tokens.
    path: Vec<(NodeId, u32)>,
    tally: Tally,
    forgiven: bool,
}

/// The bill, billed again.
struct Again<'t> {
    models: Vec<&'t str>,
    lines: Vec<Line>,
}

impl<'t> Again<'t> {
    fn new(trace: &'t Trace, bill: &[Billed], facts: &Facts) -> Self {
        let mut models: Vec<&str> = Vec::new();
        let mut tries: Vec<Trie> = Vec::new();
        let mut lines = Vec::with_capacity(bill.len());
        for billed in bill {
            let (number, blocks) = match billed.item {
                Item::Call(call) => (call, trace.calls[call].blocks.len()),
                Item::Ping { like, blocks, .. } => (like, blocks),
            };
            let call = &trace.calls[number];
            let known = models.iter().position(|model| *model == call.model);
            let model = known.unwrap_or(models.len());
            if known.is_none() {
                models.push(&call.model);
                tries.push(Trie::new());
            }
            let mut at = Trie::ROOT;
            let path = call.blocks[..blocks].iter().map(|block| {
                at = tries[model].extend(at, [block.prompt()]);
                (at, block.tokens)
            });
            let mut path: Vec<(NodeId, u32)> = path.collect();
            let ping = matches!(billed.item, Item::Ping { .. });
            if ping {
                let placeholder = PromptBlock {
                    id: u64::MAX,
                    tokens: PING_TOKENS,
                };
                path.push((tries[model].extend(at, [placeholder]), PING_TOKENS));
            }
            let minimum = facts.model(&call.model).minimum;
            let deep = |(node, _): &&(NodeId, u32)| tries[model].node(*node).depth >= minimum;
            if let Some(&(first, _)) = path.iter().find(deep) {
                let short = path.iter_mut().take_while(|(node, _)| *node != first);
                short.for_each(|(node, _)| *node = first);
            }
            lines.push(Line {
                lane: billed.lane,
                hedged: billed.hedged,
                ping,
                deferrable: call.deferrable,
                model,
                path,
                tally: billed.tally,
                forgiven: false,
            });
        }
        Self { models, lines }
    }

    fn total(&self, referee: &mut Referee) -> Result<Usd, Foul> {
        let open = self.lines.iter().filter(|line| !line.forgiven);
        open.map(|line| {
            let pico = referee.price(self.models[line.model], line.lane, &line.tally)?;
            Ok(Usd::from_pico(pico))
        })
        .sum()
    }

    fn unhedge(&mut self) {
        for line in self.lines.iter_mut().filter(|line| line.hedged) {
            line.lane = Lane::Batch;
        }
    }

    fn reroute(&mut self) {
        for line in self.lines.iter_mut().filter(|line| line.deferrable) {
            line.lane = Lane::Batch;
        }
    }

    fn forgive_pings(&mut self) {
        for line in self.lines.iter_mut().filter(|line| line.ping) {
            line.forgiven = true;
        }
    }

    /// Tokens written although they had been written or read before are read.
    fn read_what_was_written(&mut self) {
        let mut known: HashSet<(usize, Lane, NodeId)> = HashSet::new();
        for line in &mut self.lines {
            let place = |piece: &Piece| (line.model, line.lane, piece.node);
            let pieces = pieces(line);
            let again: Vec<bool> = pieces.iter().map(|p| known.contains(&place(p))).collect();
            let cached = pieces.iter().filter(|piece| piece.class != Class::Plain);
            known.extend(cached.map(place));
            for (piece, _) in pieces.iter().zip(again).filter(|(_, again)| *again) {
                move_tokens(&mut line.tally, piece.class, Class::Read, piece.tokens);
            }
        }
    }

    /// Tokens written that no later call of their lane has, are plain.
    fn leave_unread_plain(&mut self) {
        let mut uses: HashMap<(usize, Lane, NodeId), u32> = HashMap::new();
        for line in self.lines.iter().filter(|line| !line.forgiven) {
            let cached = pieces(line).into_iter().filter(|p| p.class != Class::Plain);
            let nodes: HashSet<NodeId> = cached.map(|piece| piece.node).collect();
            for node in nodes {
                *uses.entry((line.model, line.lane, node)).or_default() += 1;
            }
        }
        for line in &mut self.lines {
            for piece in pieces(line) {
                let once = uses.get(&(line.model, line.lane, piece.node)) == Some(&1);
                if once && !matches!(piece.class, Class::Plain | Class::Read) {
                    move_tokens(&mut line.tally, piece.class, Class::Plain, piece.tokens);
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Read,
    Hour,
    Five,
    Plain,
}

struct Piece {
    node: NodeId,
    tokens: u32,
    class: Class,
}

/// A line's blocks by how they were billed as it stands: read, then written for an hour, then for five
/// minutes, then plain, in prompt order. Moves keep that order only within a block's own class, so
/// pieces are taken before any is moved.
fn pieces(line: &Line) -> Vec<Piece> {
    let mut left = [
        (Class::Read, line.tally.read),
        (Class::Hour, line.tally.write_1h),
        (Class::Five, line.tally.write_5m),
        (Class::Plain, u32::MAX),
    ]
    .into_iter()
    .peekable();
    let mut all = Vec::with_capacity(line.path.len());
    for &(node, tokens) in &line.path {
        while left.peek().is_some_and(|(_, tokens)| *tokens == 0) {
            left.next();
        }
        let Some((class, rest)) = left.peek_mut() else {
            break;
        };
        *rest = rest.saturating_sub(tokens);
        all.push(Piece {
            node,
            tokens,
            class: *class,
        });
    }
    all
}

fn move_tokens(tally: &mut Tally, from: Class, to: Class, tokens: u32) {
    if from == to || from == Class::Plain {
        return;
    }
    let mut field = |class: Class, by: i64| {
        let count = match class {
            Class::Read => &mut tally.read,
            Class::Hour => &mut tally.write_1h,
            Class::Five => &mut tally.write_5m,
            Class::Plain => &mut tally.input,
        };
        let moved = i64::from(*count) + by;
        *count = u32::try_from(moved).expect("tokens are only moved from where they are");
    };
    field(from, -i64::from(tokens));
    field(to, i64::from(tokens));
}
