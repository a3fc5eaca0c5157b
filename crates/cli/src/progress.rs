//! What a run shows while it works: a bar on a terminal; in a log, a line every few seconds. Facts
//! come from the engine, words are made here.
//!
//! Leaves out what a run came to (`offpeak-report`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offpeak_client::clock::Clock;
use offpeak_core::job::queue::NoRoom;
use offpeak_core::job::shard::ShardNo;
use offpeak_core::price::Lane;
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_engine::progress::{Progress, Report};

use crate::printer::Printer;

/// Lines of a log are at least so far apart.
const LINE_EVERY: Span = Span::from_secs(5);

/// Shows progress until it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Display(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    printer: Printer,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Real time of the newest line.
    told: Timestamp,
    view: View,
}

/// What is known.
#[derive(Debug, Default)]
struct View {
    reading: Option<(u64, Option<u64>)>,
    /// Rows whose tokens were counted, of so many.
    counting: Option<(u64, u64)>,
    shards: BTreeMap<ShardNo, (Lane, &'static str)>,
    done: u64,
    rows: u64,
    cost: Usd,
    wait: Option<Span>,
    /// Why a shard waits for room in the upstream's queue.
    no_room: Option<NoRoom>,
    /// Why the upstream cannot be used just now.
    trouble: Option<String>,
}

impl Display {
    /// For a job of so many rows, 0 while they are being read.
    pub(crate) fn new(printer: Printer, rows: u64) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = (!printer.is_quiet() && !bar.is_hidden()).then_some(bar);
        Self(Arc::new(Mutex::new(State {
            printer,
            bar,
            told: real_time(),
            view: View {
                rows,
                ..View::default()
            },
        })))
    }

    /// Where the engine reports to.
    pub(crate) fn report(&self) -> Report {
        let display = self.clone();
        Arc::new(move |progress| display.state().take(progress))
    }

    /// Takes the bar away, so that other text can be written.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.state().bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that a reader of the log lives in, also while the run's own time is virtual: a new
/// clock starts from the system's.
fn real_time() -> Timestamp {
    Timestamp::from_micros(Clock::system().now())
}

impl State {
    fn take(&mut self, progress: Progress) {
        self.view.take(progress);
        match &self.bar {
            Some(bar) => self.view.draw(bar),
            None => {
                let now = real_time();
                if now - self.told >= LINE_EVERY {
                    self.told = now;
                    self.printer.note(&self.view.line());
                }
            }
        }
    }
}

impl View {
    fn take(&mut self, progress: Progress) {
        self.wait = None;
        if matches!(progress, Progress::Rows { .. } | Progress::Shard { .. }) {
            self.trouble = None;
        }
        match progress {
            Progress::Reading { bytes, of } => self.reading = Some((bytes, of)),
            Progress::Counting { done, of } => {
                self.reading = None;
                self.counting = Some((done, of));
            }
            Progress::Shard {
                no, lane, state, ..
            } => {
                (self.reading, self.counting) = (None, None);
                self.shards.insert(no, (lane, state));
            }
            Progress::Rows { done, of, tally } => {
                (self.reading, self.counting) = (None, None);
                (self.done, self.rows, self.cost) = (done, of, tally.cost);
            }
            Progress::Waiting { now, until } => self.wait = Some(until - now),
            Progress::Queue { no_room } => self.no_room = no_room,
            Progress::Trouble { message } => self.trouble = Some(message),
        }
    }

    fn draw(&self, bar: &ProgressBar) {
        let template = match self.reading {
            Some((bytes, of)) => {
                bar.set_length(of.unwrap_or(bytes));
                bar.set_position(bytes);
                "reading {wide_bar} {bytes}/{total_bytes}"
            }
            None if self.counting.is_some() => {
                let (done, of) = self.counting.unwrap_or_default();
                bar.set_length(of);
                bar.set_position(done);
                "counting {wide_bar} {human_pos}/{human_len} rows"
            }
            None => {
                bar.set_length(self.rows);
                bar.set_position(self.done);
                bar.set_message(self.rest());
                "{wide_bar} {human_pos}/{human_len} rows {msg}"
            }
        };
        let style = ProgressStyle::with_template(template).expect("the templates are valid");
        bar.set_style(style);
    }

    fn line(&self) -> String {
        match self.reading {
            Some((bytes, Some(of))) if of > 0 => {
                format!("reading the input: {} %", bytes.min(of) * 100 / of)
            }
            Some((bytes, _)) => format!("reading the input: {} MB", bytes / 1_000_000),
            None => match self.counting {
                Some((done, of)) => format!("counting tokens: {done} of {of} rows"),
                None => format!("{} of {} rows {}", self.done, self.rows, self.rest()),
            },
        }
    }

    /// Cost so far, and what the job is waiting for.
    fn rest(&self) -> String {
        let mut text = format!("· {} so far", self.cost);
        for (words, shards) in self.under_way() {
            text.push_str(&format!(" · {shards} {words}"));
        }
        if let Some(no_room) = &self.no_room {
            text.push_str(" · ");
            text.push_str(&waiting_for_room(no_room));
        }
        if let Some(trouble) = &self.trouble {
            text.push_str(&format!(
                " · trouble upstream ({trouble}), it is tried again"
            ));
        }
        if let Some(wait) = self.wait.filter(|wait| *wait > Span::ZERO) {
            text.push_str(&format!(" · next look in {wait}"));
        }
        text
    }

    /// Shards by what they do now, in the order of a shard's life.
    fn under_way(&self) -> impl Iterator<Item = (&'static str, usize)> {
        const WORDS: [(&str, &str); 8] = [
            ("planned", "waiting to be sent"),
            ("submitting", "being sent"),
            ("unknown", "being looked for upstream"),
            ("in_progress", "at work upstream"),
            ("canceling", "being cancelled"),
            ("ended", "being fetched"),
            ("collected", "being counted"),
            ("running", "being called"),
        ];
        WORDS.into_iter().filter_map(|(tag, words)| {
            let shards = self
                .shards
                .values()
                .filter(|(_, state)| *state == tag)
                .count();
            (shards > 0).then_some((words, shards))
        })
    }
}

fn waiting_for_room(no_room: &NoRoom) -> String {
    let ahead = match no_room.ahead {
        0 => String::new(),
        1 => ", and 1 job goes first".to_owned(),
        jobs => format!(", and {jobs} jobs go first"),
    };
    match no_room.fill {
        Some(fill) => format!(
            "{} rows wait for room: the API's queue has {} of {}{ahead}",
            no_room.rows, fill.rows, fill.limit
        ),
        None => format!(
            "{} rows wait for their turn in the API's queue{ahead}",
            no_room.rows
        ),
    }
}

#[cfg(test)]
mod tests {
    use offpeak_core::job::outcome::Tally;
    use offpeak_core::job::queue::Fill;
    use offpeak_core::job::shard::ShardRole;

    use super::*;

    fn shard(no: u32, state: &'static str) -> Progress {
        let (lane, role) = (Lane::Batch, ShardRole::Bulk);
        Progress::Shard {
            no: ShardNo(no),
            lane,
            role,
            rows: 10,
            state,
            batch: None,
        }
    }

    #[test]
    fn a_line_says_what_is_done_and_what_is_awaited() {
        let mut view = View::default();
        view.take(Progress::Reading {
            bytes: 500,
            of: Some(1000),
        });
        assert_eq!(view.line(), "reading the input: 50 %");
        view.take(shard(0, "in_progress"));
        view.take(shard(1, "in_progress"));
        view.take(shard(2, "planned"));
        let cost = "0.25".parse().unwrap();
        let tally = Box::new(Tally {
            cost,
            ..Tally::default()
        });
        view.take(Progress::Rows {
            done: 20,
            of: 50,
            tally,
        });
        let now = Timestamp::EPOCH;
        view.take(Progress::Waiting {
            now,
            until: now + Span::from_secs(60),
        });
        assert_eq!(
            view.line(),
            "20 of 50 rows · $0.25 so far · 1 waiting to be sent · 2 at work upstream · next look in 1m 00s"
        );
        let fill = Some(Fill {
            rows: 190_000,
            limit: 200_000,
        });
        let no_room = Some(NoRoom {
            rows: 50_000,
            fill,
            ahead: 1,
        });
        view.take(Progress::Queue { no_room });
        let waits =
            "50000 rows wait for room: the API's queue has 190000 of 200000, and 1 job goes first";
        assert!(view.line().contains(waits), "{}", view.line());
        view.take(Progress::Queue { no_room: None });
        view.take(shard(0, "settled"));
        assert!(
            view.line().ends_with("1 at work upstream"),
            "{}",
            view.line()
        );
    }
}
