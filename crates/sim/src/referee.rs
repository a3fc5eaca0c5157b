//! Owns a narrow door to the simulator's cache, batch schedules and prices for prompts that are given
//! as block ids with their tokens, so that recorded traffic can be billed by an arithmetic that is not
//! the planner's. No requests and no faults but an outage: those are the `World`'s.
//!
//! Prices are those of one instant. A call's tokens are plain, written and read exactly as those of a
//! request with the same blocks; a row runs when a row of a batch of that size would.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use offpeak_wire::limits::{BATCH_EXPIRY_S, LOOKBACK_BLOCKS, MAX_ROWS_PER_BATCH};
use offpeak_wire::request::Ttl;

use crate::bill::{Lane, Tally};
use crate::book::Book;
use crate::cache::{Cache, CacheRules, Moment, Split, Spot};
use crate::dice::{self, Purpose};
use crate::foul::{Foul, check_marks};
use crate::line::{Line, Place, Schedule, assign_turns};
use crate::profile::{Curve, Profile};
use crate::rate::{Buckets, Limits, Pool, RateLeft};
use crate::stamp::SECOND;

/// How long a cancellation takes to settle.
const CANCEL_SETTLES: i64 = 25 * SECOND;
/// How long a refusal takes.
const REFUSAL: i64 = SECOND / 20;
/// Generated tokens a second on the synchronous lane.
const TOKENS_PER_SECOND: i64 = 80;

/// What the referee goes by.
#[derive(Clone, Debug)]
pub struct RefereeRules {
    /// The seed of schedules and of the choice between caches.
    pub seed: u64,
    /// How fast batches get done.
    pub profile: Profile,
    /// Rows of one batch that run at the same time.
    pub workers: u32,
    /// All batches in one line, whatever the profile says.
    pub line: Option<Line>,
    /// What the documentation leaves open about the prompt cache.
    pub cache: CacheRules,
    /// From a synchronous call to the first byte of its answer, µs.
    pub first_byte: i64,
    /// The shortest prefix that is cached, for every model, instead of the price book's.
    pub min_cacheable: Option<u64>,
    /// What synchronous calls may take in a minute.
    pub limits: Limits,
    /// A time in which every synchronous call is refused.
    pub outage: Option<Outage>,
    /// The instant whose prices hold, µs.
    pub prices_at: i64,
}

impl RefereeRules {
    /// From a call to the end of an answer of so many tokens, µs.
    #[must_use]
    pub fn answer_takes(&self, output: u32) -> i64 {
        self.first_byte + i64::from(output) * SECOND / TOKENS_PER_SECOND
    }

    /// The limits a minute of this model's requests, input and output tokens, where they are enforced.
    #[must_use]
    pub fn limits_of(&self, model: &str) -> Option<[u64; 3]> {
        let model = Book::embedded().find(model, self.prices_at)?;
        let pool = Pool::Models(Book::embedded().model(model).class);
        self.limits.enforced.then(|| self.limits.of_calls(pool))
    }
}

/// A time in which the API is overloaded (529).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Its begin, µs.
    pub from: i64,
    /// Its end, µs.
    pub to: i64,
}

/// One prompt, as it is sent.
#[derive(Clone, Debug)]
pub struct Play<'a> {
    /// The caller's number; decides which of several caches it meets.
    pub call: u64,
    /// Model id or alias.
    pub model: &'a str,
    /// Each block's content identity and tokens.
    pub blocks: &'a [(u64, u32)],
    /// Marked blocks by position, from the top.
    pub marks: &'a [(usize, Ttl)],
    /// Generated tokens.
    pub output: u32,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// The billed quantities.
    pub tally: Tally,
    /// Their price, picodollars.
    pub pico: i128,
    /// When the answer began, µs.
    pub begins: i64,
    /// When it was complete, µs.
    pub ends: i64,
    /// What its headers said of the limits: requests, input tokens, output tokens; where limits bite.
    pub left: Option<[RateLeft; 3]>,
}

/// A synchronous call that was not taken; nothing is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The API is overloaded (529); if not, a limit was reached (429).
    pub overloaded: bool,
    /// How long to wait, as the `retry-after` header says it, µs.
    pub retry_after: Option<i64>,
    /// When the refusal arrived, µs.
    pub at: i64,
}

/// What a synchronous call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// It was answered.
    Played(Played),
    /// It was not.
    Refused(Refused),
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEnd {
    /// Answered and billed.
    Succeeded {
        /// The billed quantities.
        tally: Tally,
        /// Their price, picodollars.
        pico: i128,
    },
    /// Given up before it was answered; not billed.
    Canceled,
    /// Not answered within a day; not billed.
    Expired,
}

/// A batch that has ended, with what became of its rows in the order they were submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number that [`Referee::submit`] returned.
    pub batch: u32,
    /// When it ended, µs.
    pub at: i64,
    /// Its rows.
    pub rows: Vec<RowEnd>,
}

/// The cache, the batches under way and the bill.
#[derive(Debug)]
pub struct Referee {
    rules: RefereeRules,
    cache: Cache,
    buckets: Buckets,
    models: HashMap<String, u16>,
    batches: Vec<Running>,
    submitted: u32,
    total: i128,
}

#[derive(Debug)]
struct Running {
    number: u32,
    created: i64,
    schedule: Schedule,
    /// Row by rank.
    order: Vec<u32>,
    rows: Vec<Row>,
    started: u32,
    canceled_at: Option<i64>,
}

#[derive(Debug)]
struct Row {
    model: u16,
    spots: Vec<Spot>,
    split: Split,
    output: u32,
}

impl Referee {
    /// An empty cache and an empty bill.
    #[must_use]
    pub fn new(rules: RefereeRules) -> Self {
        Self {
            cache: Cache::new(rules.cache),
            buckets: Buckets::new(rules.limits),
            rules,
            models: HashMap::new(),
            batches: Vec::new(),
            submitted: 0,
            total: 0,
        }
    }

    /// Everything billed so far, picodollars.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.total
    }

    /// What these quantities cost on a lane, picodollars; nothing is billed.
    ///
    /// # Errors
    ///
    /// When the model has no price.
    pub fn price(&mut self, model: &str, lane: Lane, tally: &Tally) -> Result<i128, Foul> {
        let model = self.model(model)?;
        Ok(Book::embedded().cost(self.rules.prices_at, lane, model, tally))
    }

    /// A synchronous call. Every batch must have been advanced to `now`.
    ///
    /// # Errors
    ///
    /// When the API would refuse it.
    pub fn call(&mut self, now: i64, play: &Play<'_>) -> Result<Called, Foul> {
        let row = self.read(play, Lane::Sync)?;
        let class = Book::embedded().model(row.model).class;
        let pool = Pool::Models(class);
        let at = now + REFUSAL;
        let outage = self.rules.outage;
        if outage.is_some_and(|outage| (outage.from..outage.to).contains(&now)) {
            return Ok(Called::Refused(Refused {
                overloaded: true,
                retry_after: None,
                at,
            }));
        }
        if let Some(wait) = self.buckets.wait(pool, now) {
            // The header counts whole seconds.
            let seconds = (wait.micros + SECOND - 1) / SECOND;
            return Ok(Called::Refused(Refused {
                overloaded: false,
                retry_after: Some(seconds * SECOND),
                at,
            }));
        }
        let begins = now + self.rules.first_byte;
        let moment = Moment {
            start: now,
            begins,
            batch: None,
        };
        let split = self.cache.pass(&row.spots, row.split.input, moment);
        let tally = tally(split, row.output);
        let pico = Book::embedded().cost(self.rules.prices_at, Lane::Sync, row.model, &tally);
        self.total += pico;
        self.buckets.take_request(pool, now);
        let uncached = tally.input + tally.write_5m + tally.write_1h;
        self.buckets
            .take_tokens(class, uncached.into(), row.output.into(), now);
        let left = self.rules.limits.enforced;
        let left = left.then(|| self.buckets.left(pool, now));
        Ok(Called::Played(Played {
            tally,
            pico,
            begins,
            ends: now + self.rules.answer_takes(row.output),
            left: left.and_then(|left| left.try_into().ok()),
        }))
    }

    /// A batch; returns its number.
    ///
    /// # Errors
    ///
    /// When the API would refuse it.
    pub fn submit(&mut self, now: i64, plays: &[Play<'_>]) -> Result<u32, Foul> {
        if plays.is_empty() || plays.len() > MAX_ROWS_PER_BATCH {
            return Err(Foul::BatchSize(plays.len()));
        }
        let rows = plays.iter().map(|play| {
            let row = self.read(play, Lane::Batch)?;
            if Book::embedded().model(row.model).batch {
                Ok(row)
            } else {
                Err(Foul::NotBatchable(play.model.to_owned()))
            }
        });
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        let number = self.submitted;
        self.submitted += 1;
        let count = u32::try_from(rows.len()).expect("at most 100,000 rows");
        let RefereeRules {
            seed,
            profile,
            workers,
            line,
            ..
        } = self.rules;
        let order = dice::roll(seed, Purpose::RunOrder, u64::from(number), 0);
        self.batches.push(Running {
            number,
            created: now,
            schedule: match line {
                Some(line) => Schedule::in_line(line),
                None => {
                    let curve = Curve::new(profile, count, workers, now, seed, u64::from(number));
                    Schedule::Alone(curve)
                }
            },
            order: dice::shuffled(count, order),
            rows,
            started: 0,
            canceled_at: None,
        });
        self.assign_turns(now);
        Ok(number)
    }

    /// Asks for the end of a batch; without effect on one that has ended.
    pub fn cancel(&mut self, now: i64, batch: u32) {
        let mut running = self.batches.iter_mut();
        if let Some(batch) = running.find(|running| running.number == batch) {
            batch.canceled_at.get_or_insert(now);
            self.assign_turns(now);
        }
    }

    /// Who of the line runs when, after somebody joined or left it.
    fn assign_turns(&mut self, now: i64) {
        let Some(line) = self.rules.line else {
            return;
        };
        let seed = self.rules.seed;
        let places = self.batches.iter_mut().map(|batch| {
            let number = u64::from(batch.number);
            let drawn = dice::roll(seed, Purpose::StartDelay, number, 0);
            Place {
                rows: u32::try_from(batch.order.len()).expect("at most 100,000 rows"),
                schedule: &mut batch.schedule,
                canceled_at: batch.canceled_at,
                lot: if line.shuffled { drawn } else { number },
            }
        });
        assign_turns(now, &mut places.collect::<Vec<_>>());
    }

    /// When the next batch ends, as things stand. Nobody upstream knows this.
    #[must_use]
    pub fn next_end(&self) -> Option<i64> {
        self.batches.iter().map(Running::end).min()
    }

    /// Runs everything up to `now`; returns the batches that ended, in the order of their ends.
    pub fn advance(&mut self, now: i64) -> Vec<Ended> {
        while let Some((at, index)) = self.next_start().filter(|&(at, _)| at <= now) {
            self.batches[index].start_next(at, &mut self.cache);
        }
        let mut ended: Vec<Ended> = Vec::new();
        let (done, running) = std::mem::take(&mut self.batches)
            .into_iter()
            .partition(|batch| batch.end() <= now);
        self.batches = running;
        for batch in done {
            ended.push(self.close(batch));
        }
        ended.sort_by_key(|batch| (batch.at, batch.batch));
        ended
    }

    fn next_start(&self) -> Option<(i64, usize)> {
        let starts = self.batches.iter().enumerate();
        let starts = starts.filter_map(|(index, batch)| Some((batch.next_start()?, index)));
        starts.min()
    }

    fn close(&mut self, batch: Running) -> Ended {
        let at = batch.end();
        let left = if batch.canceled_at.is_some() {
            RowEnd::Canceled
        } else {
            RowEnd::Expired
        };
        let mut rows = vec![left; batch.rows.len()];
        for rank in 0..batch.started {
            if batch.schedule.finish(rank).is_none_or(|end| end > at) {
                continue;
            }
            let index = batch.index(rank);
            let row = &batch.rows[index];
            let tally = tally(row.split, row.output);
            let pico = Book::embedded().cost(self.rules.prices_at, Lane::Batch, row.model, &tally);
            self.total += pico;
            rows[index] = RowEnd::Succeeded { tally, pico };
        }
        Ended {
            batch: batch.number,
            at,
            rows,
        }
    }

    fn model(&mut self, name: &str) -> Result<u16, Foul> {
        if let Some(&known) = self.models.get(name) {
            return Ok(known);
        }
        let found = Book::embedded().find(name, self.rules.prices_at);
        let found = found.ok_or_else(|| Foul::UnknownModel(name.to_owned()))?;
        self.models.insert(name.to_owned(), found);
        Ok(found)
    }

    /// Checks a prompt and finds the positions that its marks' look-backs reach.
    fn read(&mut self, play: &Play<'_>, lane: Lane) -> Result<Row, Foul> {
        check_marks(play)?;
        let model = self.model(play.model)?;
        let published = Book::embedded().model(model).min_cacheable;
        let minimum = self.rules.min_cacheable.unwrap_or(published);
        let lane = if self.rules.cache.lanes_share {
            Lane::Sync
        } else {
            lane
        };
        let domains = u64::from(self.rules.cache.domains.max(1));
        let roll = dice::roll(self.rules.seed, Purpose::Domain, play.call, 0);
        let mut key = hashed(&(lane as u8, model, dice::between(roll, 0, domains - 1)));
        let mut total = 0u32;
        let mut path = Vec::with_capacity(play.blocks.len());
        for (index, &(id, tokens)) in play.blocks.iter().enumerate() {
            key = hashed(&(key, id, tokens));
            total = total.saturating_add(tokens);
            let mark = play.marks.iter().find(|&&(at, _)| at == index);
            path.push(Spot {
                key,
                tokens: total,
                mark: mark
                    .map(|&(_, ttl)| ttl)
                    .filter(|_| u64::from(total) >= minimum),
            });
        }
        let marked: Vec<usize> = (0..path.len())
            .filter(|&i| path[i].mark.is_some())
            .collect();
        let in_reach = |index: usize| {
            let mut marks = marked.iter();
            marks.any(|&mark| index <= mark && mark - index < LOOKBACK_BLOCKS)
        };
        let spots = (0..path.len()).filter(|&index| in_reach(index));
        Ok(Row {
            model,
            spots: spots.map(|index| path[index]).collect(),
            split: Split {
                input: total,
                ..Split::default()
            },
            output: play.output,
        })
    }
}

impl Running {
    fn index(&self, rank: u32) -> usize {
        let place = usize::try_from(rank).expect("the simulator needs 32 bits");
        usize::try_from(self.order[place]).expect("the simulator needs 32 bits")
    }

    fn len(&self) -> u32 {
        u32::try_from(self.order.len()).expect("at most 100,000 rows")
    }

    fn expiry(&self) -> i64 {
        self.created + i64::try_from(BATCH_EXPIRY_S).expect("a day") * SECOND
    }

    fn next_start(&self) -> Option<i64> {
        if self.started == self.len() {
            return None;
        }
        let last = self.canceled_at.unwrap_or_else(|| self.expiry());
        self.schedule.start(self.started).filter(|&at| at <= last)
    }

    fn start_next(&mut self, at: i64, cache: &mut Cache) {
        let index = self.index(self.started);
        let moment = Moment {
            start: at,
            begins: self.schedule.first_byte(self.started, at),
            batch: Some(self.number),
        };
        self.started += 1;
        let row = &mut self.rows[index];
        let spots = std::mem::take(&mut row.spots);
        row.split = cache.pass(&spots, row.split.input, moment);
    }

    fn end(&self) -> i64 {
        let done = self.schedule.finish(self.len() - 1);
        let done = done.unwrap_or(i64::MAX).min(self.expiry());
        match self.canceled_at {
            Some(at) => (at + CANCEL_SETTLES).min(done),
            None => done,
        }
    }
}

fn tally(split: Split, output: u32) -> Tally {
    Tally {
        input: split.input,
        write_5m: split.write_5m,
        write_1h: split.write_1h,
        read: split.read,
        output,
        us: false,
        fast: false,
    }
}

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
