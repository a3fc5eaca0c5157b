//! What a seed draws: jobs, the upstream, and what happens to the process. Nothing here runs anything.

use std::fmt::Write as _;
use std::time::Duration;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::units::{Span, Usd};
use offpeak_engine::spec::Need;
use offpeak_sim::{
    AnswerMode, Answers, CacheRules, Config, Endpoint, EndpointFaults, Faults, Latency, Limits,
    Profile, ResultFaults, RowFaults,
};

use crate::dice::Dice;

impl Dice {
    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// One job.
#[derive(Debug, Clone)]
pub(crate) struct JobCase {
    pub(crate) name: String,
    /// The text of each row's last message, which the upstream gives back.
    pub(crate) texts: Vec<String>,
    /// Its input.
    pub(crate) input: String,
    pub(crate) need: Need,
    /// Rows that go before the others are planned.
    pub(crate) probe: Option<u32>,
    pub(crate) past_guard: bool,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) priority: i64,
    /// Some rows make the request of an earlier one, and share its answer.
    pub(crate) identical: bool,
    /// It is the next run of this job, which has ended: what that has answered is taken over.
    pub(crate) follows: Option<usize>,
    /// From this life on it is given up.
    pub(crate) cancel: Option<(usize, Cancel)>,
    /// The budget of the first life; each stop doubles it.
    pub(crate) budget: Option<Usd>,
    /// The same of its soft line.
    pub(crate) soft_budget: Option<Usd>,
}

/// What ends a life of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crash {
    /// After so much time.
    At(Duration),
    /// Right after the n-th commit that moves a shard, before anything it allows was done.
    AfterCommit(u64),
    /// When the n-th connection was made, before a byte went over it.
    AtConnection(u64),
    /// When the disk is asked for the n-th time to keep something, before it does.
    AtSync(u64),
}

/// What happens between two lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    /// The disk is new.
    NewDisk,
    /// A backup of the data directory is put back: as it was before this life.
    Restored,
    /// The machine's clock was set to another time.
    ClockSet(i64),
    /// The power went out: what the disk was not asked to keep is gone.
    PowerCut,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) config: Config,
    pub(crate) jobs: Vec<JobCase>,
    pub(crate) lives: Vec<(Crash, Between)>,
    /// Bytes that a connection takes before the upstream reads them.
    pub(crate) room: usize,
    /// Longest delay of a connection, milliseconds.
    pub(crate) delay: u64,
    /// The creating and listing of batches works.
    pub(crate) create_works: bool,
    /// Batches are deleted upstream once their answers are here.
    pub(crate) delete_upstream: bool,
    /// There is an admin key, so that the limit of the upstream's queue is known.
    pub(crate) sees_the_limit: bool,
    /// Many answers to calls are lost on the way.
    pub(crate) loses_answers: bool,
}

const MODEL: &str = "claude-haiku-5-5";

impl Case {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut case = Self::draw_plain(seed);
        case.sees_the_limit = short_queue(seed, &mut case.config, &mut case.jobs);
        identical_rows(seed, &mut case.jobs);
        case.loses_answers = lost_answers(seed, &mut case.config);
        next_runs(seed, &mut case.jobs);
        soft_lines(seed, &mut case.jobs);
        case
    }

    /// Without what the campaign did not draw at first: seeds that found something then still show it.
    pub(crate) fn draw_plain(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0xd57);
        let create_works = dice.once_in(3);
        let mut config = config(seed, create_works, &mut dice);
        let with_budget = dice.once_in(6);
        let count = if with_budget { 1 } else { 1 + dice.below(3) };
        let jobs = (0..count).map(|number| job(number, with_budget, &mut dice));
        let mut jobs: Vec<JobCase> = jobs.collect();
        let mut lives: Vec<_> = (0..dice.below(6)).map(|_| life(&mut dice)).collect();
        if with_budget {
            // A shard is cut to what is left of the budget, so on a new disk it may be cut otherwise than
            // before: then the job stops and says so.
            for (_, between) in &mut lives {
                *between = match *between {
                    Between::NewDisk => Between::Nothing,
                    other => other,
                };
            }
        }
        if lives
            .iter()
            .any(|(_, between)| *between == Between::NewDisk)
        {
            drop_probes_with_a_deadline(&mut jobs);
            // On a new disk one listing says what an earlier life has made. A batch that was made seconds
            // before the disk was lost and is not listed yet is beyond it: nobody wants every first run
            // of a job to wait five minutes for a second one.
            config.faults.hidden_at_first = 0.0;
        }
        // What was deleted cannot be found on a new disk, and nobody is told otherwise.
        let keeps_the_disk = lives
            .iter()
            .all(|(_, between)| *between != Between::NewDisk);
        power_cuts(seed, &mut lives);
        if !with_budget {
            backups(seed, &mut lives);
        }
        let is_restored = lives
            .iter()
            .any(|(_, between)| *between == Between::Restored);
        if is_restored {
            drop_probes_with_a_deadline(&mut jobs);
        }
        Self {
            sees_the_limit: false,
            loses_answers: false,
            delete_upstream: keeps_the_disk && !is_restored && seed % 3 == 1,
            seed,
            config,
            jobs,
            lives,
            room: [512, 1 << 12, 1 << 16][usize::try_from(dice.below(3)).unwrap()],
            delay: [0, 5, 300][usize::try_from(dice.below(3)).unwrap()],
            create_works,
        }
    }

    /// What was drawn, for whoever looks into a seed.
    pub(crate) fn tell(&self) -> String {
        let Self {
            config,
            jobs,
            lives,
            ..
        } = self;
        let jobs = jobs.iter().map(|job| {
            let (rows, budget) = (job.texts.len(), job.budget);
            format!(
                "{rows} rows {:?} probe {:?} past guard {} budget {budget:?} soft {:?} follows {:?}",
                job.need, job.probe, job.past_guard, job.soft_budget, job.follows
            )
        });
        format!(
            "{:?}, create works: {}, loses answers: {}, faults {:?} {:?}\n{}\n{lives:?}",
            config.profile,
            self.create_works,
            self.loses_answers,
            config.faults.rows,
            config.faults.results,
            jobs.collect::<Vec<_>>().join("\n"),
        )
    }

    /// Whether the disk is lost at some time.
    pub(crate) fn loses_the_disk(&self) -> bool {
        self.lives
            .iter()
            .any(|(_, between)| *between == Between::NewDisk)
    }

    /// Whether a backup is put back at some time: what was sent after it is unknown to it.
    pub(crate) fn is_restored(&self) -> bool {
        let restored = |between: &Between| *between == Between::Restored;
        self.lives.iter().any(|(_, between)| restored(between))
    }

    /// Whether the machine's clock is set to another time.
    pub(crate) fn clock_is_set(&self) -> bool {
        let set = |between: &Between| matches!(between, Between::ClockSet(_));
        self.lives.iter().any(|(_, between)| set(between))
    }
}

/// What follows a probe is planned by the time that is left. Where that is done a second time, because the first
/// was forgotten, it may be cut otherwise, as with a budget; then the job stops and says so.
fn drop_probes_with_a_deadline(jobs: &mut [JobCase]) {
    for job in jobs {
        if matches!(job.need, Need::Within(_)) {
            job.probe = None;
        }
    }
}

/// Lets the power go out in some cases. Drawn apart, so that the others are what they would be without.
fn power_cuts(seed: u64, lives: &mut Vec<(Crash, Between)>) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x90e4);
    let new_disk = |(_, between): &(Crash, Between)| *between == Between::NewDisk;
    if lives.iter().any(new_disk) || !dice.once_in(3) {
        return;
    }
    if lives.is_empty() {
        lives.push((Crash::AtSync(0), Between::Nothing));
    }
    for (crash, between) in lives {
        if dice.once_in(2) {
            *crash = Crash::AtSync(dice.below(60));
        }
        if *between == Between::Nothing {
            *between = Between::PowerCut;
        }
    }
}

/// In some seeds, about a third of the rows make the request of an earlier row.
fn identical_rows(seed: u64, jobs: &mut [JobCase]) {
    let mut dice = Dice(seed.wrapping_mul(0xe703_7ed1_a0b4_28db) ^ 0x1d31);
    if !dice.once_in(5) {
        return;
    }
    for job in jobs {
        let mut lines: Vec<String> = job.input.lines().map(str::to_owned).collect();
        for row in 1..lines.len() {
            if !dice.once_in(3) {
                continue;
            }
            let first = usize::try_from(dice.below(row as u64)).unwrap();
            let id = |row| format!("{{\"custom_id\":\"row {row}\",");
            let same = lines[first].replacen(&id(first), &id(row), 1);
            (lines[row], job.texts[row]) = (same, job.texts[first].clone());
        }
        (job.input, job.identical) = (lines.join("\n") + "\n", true);
    }
}

/// Of some seeds, a good part of the calls is billed and never answered.
fn lost_answers(seed: u64, config: &mut Config) -> bool {
    let mut dice = Dice(seed.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7) ^ 0x1057);
    if !dice.once_in(10) {
        return false;
    }
    let lost = [0.3, 0.6, 0.95][usize::try_from(dice.below(3)).unwrap()];
    let rates = EndpointFaults {
        reset_after: lost,
        ..EndpointFaults::default()
    };
    let faults = std::mem::replace(&mut config.faults, Faults::none());
    config.faults = faults.on(Endpoint::Messages, rates);
    true
}

/// Of some seeds, jobs run again when they have ended: with other requests for the first row and for some of
/// the others.
fn next_runs(seed: u64, jobs: &mut Vec<JobCase>) {
    let mut dice = Dice(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x4e87);
    if !dice.once_in(4) || jobs.iter().any(|job| job.budget.is_some()) {
        return;
    }
    for number in 0..jobs.len() {
        if jobs[number].cancel.is_some() {
            continue;
        }
        let mut next = jobs[number].clone();
        let mut lines: Vec<String> = next.input.lines().map(str::to_owned).collect();
        for (row, text) in next.texts.iter_mut().enumerate() {
            if row == 0 || dice.once_in(3) {
                let content = |text: &str| format!("\"content\":\"{text}\"");
                let other = format!("{text}and again");
                lines[row] = lines[row].replacen(&content(text), &content(&other), 1);
                *text = other;
            }
        }
        next.input = lines.join("\n") + "\n";
        next.follows = Some(number);
        next.probe = None;
        // A deadline counts from the run's own begin, which nobody knows beforehand.
        next.need = [Need::Whenever, Need::Seconds][usize::from(dice.once_in(4))];
        jobs.push(next);
    }
}

/// Of some seeds, jobs have a soft line: from a little more than a row's worst case on.
fn soft_lines(seed: u64, jobs: &mut [JobCase]) {
    let mut dice = Dice(seed.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ 0x50f7);
    if !dice.once_in(6) {
        return;
    }
    for job in jobs {
        let micros = 1_500 + dice.below(20 * (1 + job.texts.len() as u64));
        job.soft_budget = Some(Usd::from_pico(i128::from(micros) * 1_000_000));
    }
}

/// Of some seeds, the upstream's queue has room for a few rows only; whether its limit can be asked for.
fn short_queue(seed: u64, config: &mut Config, jobs: &mut [JobCase]) -> bool {
    let mut dice = Dice(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ 0x9e0e);
    if !dice.once_in(4) {
        return false;
    }
    let sees_the_limit = dice.once_in(2);
    config.limits = Limits {
        enforced: true,
        // A shard that is larger than the queue is never sent; no real queue is so small.
        queued_rows: 50 + u32::try_from(dice.below(60)).unwrap(),
        spend_cap_usd: None,
        ..Limits::default()
    };
    for job in jobs {
        job.priority = i64::try_from(dice.below(3)).unwrap() - 1;
    }
    sees_the_limit
}

/// Of some seeds, a life after the first one ends with a backup put back, if its disk is otherwise as it was.
fn backups(seed: u64, lives: &mut [(Crash, Between)]) {
    let mut dice = Dice(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0xbac6);
    let whole = |(_, between): &(Crash, Between)| {
        matches!(between, Between::Nothing | Between::ClockSet(_))
    };
    if lives.len() < 2 || !lives.iter().all(whole) || !dice.once_in(2) {
        return;
    }
    let at = 1 + usize::try_from(dice.below(lives.len() as u64 - 1)).unwrap();
    lives[at].1 = Between::Restored;
}

fn config(seed: u64, create_works: bool, dice: &mut Dice) -> Config {
    let profile = match dice.below(16) {
        0 => Profile::Dead,
        1 => Profile::Stuck,
        2..5 => Profile::SlowTail,
        5..8 => Profile::Normal,
        _ => Profile::Fast,
    };
    let mut faults = match dice.below(4) {
        0 => Faults::none(),
        1 => Faults {
            results: ResultFaults {
                truncated: 0.3,
                duplicate_line: 0.1,
                malformed_line: 0.05,
            },
            rows: RowFaults {
                api_error: 0.1,
                overloaded: 0.05,
                expired: 0.1,
            },
            hidden_at_first: 0.5,
            ..Faults::rough(seed)
        },
        _ => Faults::rough(seed),
    };
    faults.seed = seed;
    if create_works {
        faults = faults
            .on(Endpoint::Create, EndpointFaults::default())
            .on(Endpoint::List, EndpointFaults::default());
    }
    Config {
        seed,
        profile,
        workers: 1 + u32::try_from(dice.below(60)).unwrap(),
        cache: CacheRules {
            domains: 1 + u32::try_from(dice.below(3)).unwrap(),
            within_batch: dice.once_in(2),
            ..CacheRules::default()
        },
        answers: Answers {
            mode: AnswerMode::Echo,
            ..Answers::default()
        },
        refusals: if dice.once_in(5) { 0.1 } else { 0.0 },
        latency: Latency {
            first_byte_ms: 100 + u32::try_from(dice.below(2_000)).unwrap(),
            ..Latency::default()
        },
        faults,
        live_counts: dice.once_in(2),
        ..Config::default()
    }
}

fn job(number: u64, with_budget: bool, dice: &mut Dice) -> JobCase {
    let name = format!("job {number}");
    let count = match dice.below(4) {
        0 => 1 + dice.below(3),
        1 => 1 + dice.below(50),
        _ => 1 + dice.below(16),
    };
    let groups = 1 + dice.below(3);
    let preamble = |group: u64| format!("Label a sentence for desk {number}.{group}. ").repeat(50);
    let preambles: Vec<String> = (0..groups).map(preamble).collect();
    let mut texts = Vec::new();
    let mut input = String::new();
    for row in 0..count {
        let text = format!(
            "{name}, row {row}: {}",
            "peace and commerce ".repeat(1 + usize::try_from(row % 7).unwrap())
        );
        let system = match dice.below(4) {
            0 => String::new(),
            _ => {
                let group = usize::try_from(dice.below(groups)).unwrap();
                format!("\"system\":\"{}\",", preambles[group])
            }
        };
        let _ = writeln!(
            input,
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"{MODEL}\",\
             \"max_tokens\":{},{system}\"messages\":[{{\"role\":\"user\",\
             \"content\":\"{text}\"}}]}}}}",
            200 + dice.below(100),
        );
        texts.push(text);
    }
    let hours = |hours: i64| Need::Within(Span::from_secs(hours * 3_600));
    let need = match dice.below(8) {
        0 => Need::Seconds,
        1 => hours(3),
        2 => hours(8),
        3 => hours(30),
        _ => Need::Whenever,
    };
    // From a little more than a row's worst case on, in millionths of a dollar.
    let micros = 1_500 + dice.below(100 * (1 + count));
    JobCase {
        name,
        texts,
        input,
        need,
        cancel: (number == 2).then(|| {
            let life = 2 + usize::try_from(count % 3).unwrap();
            let how = [Cancel::Everything, Cancel::Unsent][usize::try_from(groups % 2).unwrap()];
            (life, how)
        }),
        probe: dice
            .once_in(8)
            .then(|| 1 + u32::try_from(dice.below(5)).unwrap()),
        past_guard: !dice.once_in(4),
        priority: 0,
        identical: false,
        follows: None,
        on_unknown: if number % 2 == 1 {
            OnUnknown::Deadline
        } else {
            OnUnknown::Wait
        },
        soft_budget: None,
        budget: with_budget.then(|| Usd::from_pico(i128::from(micros) * 1_000_000)),
    }
}

fn life(dice: &mut Dice) -> (Crash, Between) {
    let crash = match dice.below(5) {
        0 => Crash::AfterCommit(dice.below(30)),
        1 => Crash::AtConnection(dice.below(40)),
        2 => Crash::At(Duration::from_millis(dice.below(3_000))),
        3 => Crash::At(Duration::from_millis(dice.below(120_000))),
        _ => Crash::At(Duration::from_millis(dice.below(3 * 3_600_000))),
    };
    let between = match dice.below(20) {
        0 => Between::NewDisk,
        1 | 2 => {
            let minutes = i64::try_from(dice.below(240)).unwrap() - 60;
            Between::ClockSet(minutes * 60_000_000)
        }
        _ => Between::Nothing,
    };
    (crash, between)
}
