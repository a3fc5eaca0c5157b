//! What is decided for calls that go out at once, of one model: which blocks they mark and for how
//! long, which of them wait a moment for an entry that is being written, and which entries are kept
//! alive. The replay drives it with recorded traffic, the gateway with its clients'.
//!
//! A [`CacheGate`] keeps its own belief of the cache, from what it sent, and checks it against the usage
//! of every answer. As long as answers say that there is one cache, calls of a job are marked by the
//! exact choice over all of them, and the others by the parts of their prompts or by what came before;
//! a hit renews what it read for an hour at no cost. When answers say that calls are spread over
//! several caches (`spread`), marks go where the expected hits repay the expected writes (`worth`).
//!
//! # What it can lose
//!
//! Compared with sending everything unmarked, a block costs at most twice its plain price extra,
//! summed over all calls and pings (`stake`), so a trace costs at most 2P more than naive for each
//! distinct prefix of P tokens. The argument: tokens are billed as read, written or plain, each once
//! per call, so the difference to naive is a sum over blocks. For each block it is kept as the usage
//! of answers comes in, and while an answer is outstanding the worst that it can be billed counts as
//! lost. A mark or a ping that could lift the sum above the limit isn't set or sent. What hits bring
//! widens the room again.
//!
//! One thing is not counted at its worst: a read of an entry, with no other answer of its prefix
//! outstanding, after at least two answers in a row have read what they should. Otherwise no sparse
//! prefix could be kept alive, as the first ping alone puts 1.25 P at risk. A miss then is a surprise
//! that costs one write on top (at most P for a call, 2P for a ping), and ends the trust. So nothing
//! upstream does costs more than 4P, and with one cache, or with none that ever reads, it is 2P.
//!
//! The limit is also what limits learning. A write for five minutes risks a quarter of the price, so
//! up to eight misses are affordable before the first hit. With d caches the (m + 1)-th of them costs
//! a quarter less 0.9 m / (d − m) of hits that come meanwhile: 0.6 in all with sixteen caches, so
//! dense traffic warms them all. A write for an hour risks the whole price: two of them, and sparse
//! traffic over several caches mostly ends uncached, although with more to lose it would pay.
//!
//! # When the upstream says no
//!
//! A [`Door`] lets the calls of all clients out as fast as the upstream's limits allow, tries again what it
//! refused, and holds all of them back in an outage. A [`Purse`] sets the worst case of a call aside before
//! it goes, so that no answer can exceed the budget.
//!
//! Leaves out what can wait for a batch, and who carries the calls. Clock in, orders out.

mod cache_gate;
mod call;
mod door;
mod marking;
mod prefix;
mod purse;
mod spread;
mod stake;
mod worth;

#[cfg(test)]
mod laws;

pub use cache_gate::CacheGate;
pub use call::{Act, Block, Call, HELD, Marks, Role};
pub use door::{Door, Next, Refusal, Used};
pub use purse::Purse;
