//! What it comes to that an answer serves more than one row, and how that is told: where it is done, and
//! where it could be.
//!
//! Leaves out which rows these are (ingest, in `offpeak-engine`).

use serde::Serialize;

use crate::units::{Estimate, Usd};

use super::route::Plan;

/// Rows that need no call of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spared {
    /// They are not sent; else that is an offer.
    pub on: bool,
    /// How many.
    pub rows: u64,
    /// What it saves not to send them, in US dollars.
    #[serde(rename = "saves_usd_estimate")]
    pub saves: f64,
}

/// The rows of a job that need no call of their own, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ReuseEffect {
    /// Rows of the input.
    #[serde(skip)]
    pub of: u64,
    /// Those whose request an earlier row makes.
    pub identical: Spared,
    /// Those that an earlier run has answered.
    pub earlier_runs: Spared,
    /// Those that the newest run has had and that are sent all the same, if that is what this run is for.
    #[serde(skip)]
    pub asked_again: Option<AskedAgain>,
}

/// Rows of a run that are sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedAgain {
    /// Those whose answers were cut off.
    pub rows: u64,
    /// What they are asked with now.
    pub max_tokens: u32,
    /// Those that had no answer; they are asked as they were.
    pub unanswered: u64,
}

impl ReuseEffect {
    /// A sentence for each kind of which there are rows.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let of = grouped(self.of);
        let about = |spared: &Spared| Estimate::point(spared.saves);
        let mut sentences = Vec::new();
        sentences.extend(self.asked_again.map(|again| again.sentence(&of)));
        let spared = &self.identical;
        let (rows, are, share, saves) = match spared.rows {
            1 => ("1".to_owned(), "is", "shares", about(spared)),
            rows => (grouped(rows), "are", "share", about(spared)),
        };
        if spared.rows > 0 && spared.on {
            sentences.push(format!(
                "{rows} of {of} rows {are} identical to another and {share} its answer; to send them too \
                 would cost about {saves}."
            ));
        } else if spared.rows > 0 {
            sentences.push(format!(
                "{rows} of {of} rows {are} identical to another: if the same answer does for them, \
                 `--reuse identical` ([reuse] identical = true) would save about {saves}."
            ));
        }
        let spared = &self.earlier_runs;
        let (rows, were, saves) = match spared.rows {
            1 => ("1".to_owned(), "was", about(spared)),
            rows => (grouped(rows), "were", about(spared)),
        };
        if spared.rows > 0 && self.asked_again.is_some() {
            sentences.push(format!(
                "{rows} of {of} rows {were} settled by earlier runs of this job, for {saves}; how they ended is \
                 taken over."
            ));
        } else if spared.rows > 0 && spared.on {
            sentences.push(format!(
                "{rows} of {of} rows {were} answered by earlier runs of this job, for {saves}, and their \
                 answers are taken over."
            ));
        } else if spared.rows > 0 {
            sentences.push(format!(
                "{rows} of {of} rows {were} answered by earlier runs of this job, for {saves}: \
                 `--reuse earlier-runs` ([reuse] earlier_runs = true) would take their answers over."
            ));
        }
        sentences
    }
}

impl AskedAgain {
    fn sentence(&self, of: &str) -> String {
        let (rows, were, are) = match self.rows {
            1 => ("1".to_owned(), "was", "is"),
            rows => (grouped(rows), "were", "are"),
        };
        let unanswered = match self.unanswered {
            0 => String::new(),
            1 => "; 1 that had no answer is sent as it was".to_owned(),
            rows => format!(
                "; {} that had no answer are sent as they were",
                grouped(rows)
            ),
        };
        format!(
            "{rows} of {of} rows {were} cut off and {are} asked again with `max_tokens` {}{unanswered}.",
            grouped(self.max_tokens.into())
        )
    }
}

impl Plan {
    /// What it saves not to send rows that can cost so much at the most, in US dollars: the expected cost
    /// of the planned rows, by the worst case of both.
    #[must_use]
    pub fn saving_without(&self, worst: Usd) -> f64 {
        let expected = self.cost_of(self.route).cost.map_or(0.0, |cost| cost.mid);
        expected * worst.ratio_to(self.hedge_worst).unwrap_or(0.0)
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(on: bool, rows: u64) -> ReuseEffect {
        let spared = Spared {
            on,
            rows,
            saves: 1.5,
        };
        ReuseEffect {
            of: 1_234_567,
            identical: spared,
            earlier_runs: spared,
            asked_again: None,
        }
    }

    #[test]
    fn what_is_asked_again_is_told_first() {
        let effect = |rows, unanswered| ReuseEffect {
            identical: Spared::default(),
            asked_again: Some(AskedAgain {
                rows,
                max_tokens: 4096,
                unanswered,
            }),
            ..effect(true, 1_000)
        };
        let [again, settled] = effect(1_204, 2).sentences().try_into().unwrap();
        assert_eq!(
            again,
            "1,204 of 1,234,567 rows were cut off and are asked again with `max_tokens` 4,096; 2 that had no \
             answer are sent as they were."
        );
        assert!(
            settled.ends_with("how they ended is taken over."),
            "{settled}"
        );
        let again = &effect(1, 0).sentences()[0];
        assert_eq!(
            again,
            "1 of 1,234,567 rows was cut off and is asked again with `max_tokens` 4,096."
        );
    }

    #[test]
    fn what_is_done_is_told_from_what_could_be() {
        let [identical, earlier] = effect(true, 1_204).sentences().try_into().unwrap();
        assert_eq!(
            identical,
            "1,204 of 1,234,567 rows are identical to another and share its answer; to send them too \
             would cost about $1.50."
        );
        assert!(earlier.contains("are taken over"), "{earlier}");
        let [identical, earlier] = effect(false, 1).sentences().try_into().unwrap();
        assert!(
            identical.starts_with("1 of 1,234,567 rows is identical"),
            "{identical}"
        );
        assert!(identical.contains("`--reuse identical`"), "{identical}");
        assert!(earlier.contains("`--reuse earlier-runs`"), "{earlier}");
        assert_eq!(effect(false, 0).sentences(), [""; 0]);
    }
}
