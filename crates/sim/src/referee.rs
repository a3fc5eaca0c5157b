//! Owns a narrow door to the simulator's cache, batch schedules and prices for prompts that are given
//! as block ids with their tokens, so that recorded traffic can be billed by an arithmetic that is not
//! the planner's. No requests, no faults, no rate limits: those are the `World`'s.
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
use crate::stamp::SECOND;

/// How long a cancellation takes to settle.
const CANCEL_SETTLES: i64 = 25 * SECOND;
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
    /// The instant whose prices hold, µs.
    pub prices_at: i64,
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

/// What a synchronous call came to.
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
    pub fn call(&mut self, now: i64, play: &Play<'_>) -> Result<Played, Foul> {
        let row = self.read(play, Lane::Sync)?;
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
        Ok(Played {
            tally,
            pico,
            begins,
            ends: begins + i64::from(row.output) * SECOND / TOKENS_PER_SECOND,
        })
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
mod tests {
    use super::*;
    use crate::stamp::{self, HOUR};

    const MODEL: &str = "claude-sonnet-4-5";

    fn referee(profile: Profile) -> Referee {
        Referee::new(RefereeRules {
            seed: 1,
            profile,
            line: None,
            workers: 50,
            cache: CacheRules::default(),
            first_byte: 800_000,
            min_cacheable: None,
            prices_at: stamp::midnight("2026-11-22").unwrap(),
        })
    }

    fn play<'a>(call: u64, blocks: &'a [(u64, u32)], marks: &'a [(usize, Ttl)]) -> Play<'a> {
        Play {
            call,
            model: MODEL,
            blocks,
            marks,
            output: 80,
        }
    }

    #[test]
    fn a_call_is_written_then_read_once_its_answer_has_begun() {
        let mut referee = referee(Profile::Fast);
        let (blocks, marks) = ([(1, 4_000), (2, 100)], [(0, Ttl::FiveMinutes)]);
        let read = |referee: &mut Referee, at| {
            let played = referee.call(at, &play(0, &blocks, &marks)).unwrap();
            (played.tally.read, played.tally.write_5m, played.tally.input)
        };
        assert_eq!(read(&mut referee, 0), (0, 4_000, 100));
        assert_eq!(read(&mut referee, 799_999), (0, 4_000, 100));
        assert_eq!(read(&mut referee, 800_000), (4_000, 0, 100));
        assert_eq!(read(&mut referee, 300 * SECOND + 800_000), (0, 4_000, 100));
        let played = referee.call(0, &play(0, &[(7, 10)], &[])).unwrap();
        assert_eq!(played.pico, 10 * 3_000_000 + 80 * 15_000_000);
        assert_eq!(played.ends, 800_000 + SECOND);
    }

    #[test]
    fn below_the_minimum_and_beyond_the_look_back_nothing_is_read() {
        let mut referee = referee(Profile::Fast);
        let short = [(1, 1_000)];
        for at in [0, 10 * SECOND] {
            let played = referee.call(at, &play(0, &short, &[(0, Ttl::OneHour)]));
            assert_eq!(played.unwrap().tally.input, 1_000);
        }
        let long: Vec<(u64, u32)> = (0..22).map(|n| (n, 1_024)).collect();
        let mark = |at: usize| [(at, Ttl::OneHour)];
        referee.call(0, &play(0, &long[..1], &mark(0))).unwrap();
        let at = |referee: &mut Referee, last: usize| {
            let blocks = &long[..=last];
            let played = referee.call(SECOND, &play(0, blocks, &mark(last)));
            played.unwrap().tally.read
        };
        assert_eq!(at(&mut referee, 20), 0, "21 positions away");
        assert_eq!(at(&mut referee, 19), 1_024);
    }

    #[test]
    fn rows_are_billed_at_half_when_their_batch_has_ended() {
        let mut referee = referee(Profile::Fast);
        let (blocks, marks) = ([(1, 4_000)], [(0, Ttl::OneHour)]);
        let plays: Vec<Play<'_>> = (0..70).map(|n| play(n, &blocks, &marks)).collect();
        let number = referee.submit(0, &plays).unwrap();
        let end = referee.next_end().unwrap();
        assert!(referee.advance(end - 1).is_empty());
        let ended = referee.advance(end);
        assert_eq!((ended.len(), ended[0].batch), (1, number));
        let written = ended[0]
            .rows
            .iter()
            .filter(|row| matches!(row, RowEnd::Succeeded { tally, .. } if tally.write_1h > 0));
        assert_eq!(written.count(), 50, "all that start together write");
        let pico = 50 * 4_000 * 3_000_000 + 20 * 4_000 * 150_000 + 70 * 80 * 7_500_000;
        assert_eq!(referee.total(), pico);
    }

    #[test]
    fn what_is_given_up_costs_nothing() {
        let mut referee = referee(Profile::Dead);
        let blocks = [(1, 100)];
        referee.submit(0, &[play(0, &blocks, &[])]).unwrap();
        let canceled = referee.submit(0, &[play(1, &blocks, &[])]).unwrap();
        referee.cancel(HOUR, canceled);
        let ended = referee.advance(HOUR + CANCEL_SETTLES);
        assert_eq!(ended[0].rows, [RowEnd::Canceled]);
        assert_eq!(referee.advance(24 * HOUR)[0].rows, [RowEnd::Expired]);
        assert_eq!(referee.total(), 0);
    }

    #[test]
    fn illegal_prompts_are_fouls() {
        let mut referee = referee(Profile::Fast);
        let blocks = [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10)];
        let five = Ttl::FiveMinutes;
        let foul = |referee: &mut Referee, marks: &[(usize, Ttl)]| {
            referee.call(0, &play(0, &blocks, marks)).unwrap_err()
        };
        let all: Vec<(usize, Ttl)> = (0..5).map(|at| (at, five)).collect();
        assert_eq!(foul(&mut referee, &all), Foul::TooManyMarks(5));
        assert_eq!(foul(&mut referee, &[(5, five)]), Foul::MisplacedMark(5));
        assert_eq!(
            foul(&mut referee, &[(1, five), (1, five)]),
            Foul::MisplacedMark(1)
        );
        let mixed = [(1, five), (2, Ttl::OneHour)];
        assert_eq!(foul(&mut referee, &mixed), Foul::HourBelowFive(2));
        let unknown = Play {
            model: "claude-sonnet-9",
            ..play(0, &blocks, &[])
        };
        assert!(matches!(
            referee.call(0, &unknown),
            Err(Foul::UnknownModel(_))
        ));
        assert_eq!(referee.submit(0, &[]), Err(Foul::BatchSize(0)));
    }
}
