//! What the order of fields comes to in a job, and how it is told.
//!
//! Leaves out the costs of the two plans that are compared (`decide`).

use std::fmt;

use serde::Serialize;

use crate::units::{Estimate, Tokens};

/// Savings below this share of a job's cost are within what an estimate can say nothing about.
const SAVING_MIN: f64 = 0.005;

/// How many bytes of cells rows share with the beginning of an earlier row, in several orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// Rows that this was counted on: all, or a sample of a long table.
    pub rows: u64,
    /// Bytes of their cells.
    #[serde(rename = "cell_bytes")]
    pub bytes: u64,
    /// Bytes shared in the given order.
    #[serde(rename = "given_bytes")]
    pub given: u64,
    /// Bytes shared in the best order found that is the same for all rows.
    #[serde(rename = "single_bytes")]
    pub single: u64,
    /// Bytes shared if each row has its own order: never less than either of these.
    #[serde(rename = "shared_bytes")]
    pub shared: u64,
}

/// How far the beginnings reach that rows share, against what a cache needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Expected tokens of the longest beginning that a sampled row shares, all in front of the row
    /// included.
    #[serde(rename = "beginning_tokens")]
    pub tokens: u64,
    /// Tokens from which on the model caches a beginning.
    #[serde(rename = "minimum_tokens")]
    pub minimum: u64,
    /// The model.
    pub model: String,
}

impl Reach {
    /// Tokens that the longest beginning is short of.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.minimum.saturating_sub(self.tokens)
    }
}

/// Expected costs of the job, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FieldCosts {
    /// With the fields in the given order.
    #[serde(rename = "given_usd_estimate")]
    pub given: f64,
    /// With an order per row.
    #[serde(rename = "ordered_usd_estimate")]
    pub ordered: f64,
}

impl FieldCosts {
    /// What an order per row saves, in US dollars, if it is worth speaking of.
    #[must_use]
    pub fn saving(&self) -> Option<f64> {
        let saving = self.given - self.ordered;
        (saving > self.given * SAVING_MIN).then_some(saving)
    }

    /// What it costs more, in US dollars, if that is worth speaking of.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let loss = self.ordered - self.given;
        (loss > self.given * SAVING_MIN).then_some(loss)
    }
}

/// What the order of the fields comes to in a job whose template writes all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldsEffect {
    /// Each row has its own order; else that of the columns.
    pub ordered: bool,
    /// What rows share.
    #[serde(flatten)]
    pub shares: Shares,
    /// How far that reaches.
    #[serde(flatten)]
    pub reach: Reach,
    /// What it costs, if both orders were planned.
    #[serde(flatten)]
    pub costs: Option<FieldCosts>,
}

impl FieldsEffect {
    /// Whether there is something to say: the order was asked for, or it would save something.
    #[must_use]
    pub fn matters(&self) -> bool {
        self.ordered || self.costs.is_some_and(|costs| costs.saving().is_some())
    }
}

fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1_000 + u128::from(whole) / 2) / u128::from(whole.max(1));
    format!("{}.{}%", tenths / 10, tenths % 10)
}

impl fmt::Display for FieldsEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shares {
            bytes,
            given,
            shared,
            ..
        } = self.shares;
        let (shared, given) = (percent(shared, bytes), percent(given, bytes));
        let saving = self.costs.and_then(|costs| costs.saving());
        let saving = saving.map(|usd| Estimate::point(usd).to_string());
        match (self.ordered, saving) {
            (true, saving) => {
                write!(
                    f,
                    "The fields of each row are put in the order in which rows begin alike \
                     (`reorder`): {shared} of their bytes repeat the beginning of an earlier row, \
                     {given} in the given order."
                )?;
                let loss = self.costs.and_then(|costs| costs.loss());
                match (saving, loss) {
                    (Some(saving), _) => write!(f, " That is about {saving} less.")?,
                    _ if self.reach.missing() > 0 => write!(f, " {}", self.nothing_cached())?,
                    (None, Some(loss)) => write!(
                        f,
                        " But here it is expected to cost about {} more, so better leave it out.",
                        Estimate::point(loss)
                    )?,
                    (None, None) if self.costs.is_some() => {
                        f.write_str(" It saves next to nothing here.")?;
                    }
                    (None, None) => {}
                }
                f.write_str(
                    " It can change answers; their order in the output stays that of the input.",
                )
            }
            (false, Some(saving)) => write!(
                f,
                "With `--reorder fields`, {shared} of the rows' bytes would repeat the beginning of an \
                 earlier row instead of {given}, and the job would cost about {saving} less. It can \
                 change answers, so it is not done unasked."
            ),
            (false, None) => write!(
                f,
                "Another order of the rows' fields would save next to nothing."
            ),
        }
    }
}

impl FieldsEffect {
    fn nothing_cached(&self) -> String {
        let Reach {
            tokens,
            minimum,
            model,
        } = &self.reach;
        format!(
            "But nothing of that is cached, so it saves nothing: the longest beginning that rows share \
             has about {} tokens, and {model} caches from {} on; {} are missing. Longer instructions in \
             front of the row would count towards them.",
            Tokens::new(*tokens),
            Tokens::new(*minimum),
            Tokens::new(self.reach.missing()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(ordered: bool, tokens: u64, costs: Option<(f64, f64)>) -> FieldsEffect {
        FieldsEffect {
            ordered,
            shares: Shares {
                rows: 10,
                bytes: 1_000,
                given: 5,
                single: 200,
                shared: 415,
            },
            reach: Reach {
                tokens,
                minimum: 512,
                model: "claude-opus-5".to_owned(),
            },
            costs: costs.map(|(given, ordered)| FieldCosts { given, ordered }),
        }
    }

    #[test]
    fn what_was_asked_for_is_told_with_what_it_is_worth() {
        let told = |tokens, costs| effect(true, tokens, costs).to_string();
        let saves = told(600, Some((2.0, 1.5)));
        assert!(
            saves.contains("41.5% of their bytes") && saves.contains("0.5% in the given order")
        );
        assert!(saves.contains("That is about $0.50 less."), "{saves}");
        let dearer = told(600, Some((1.5, 2.0)));
        assert!(dearer.contains("about $0.50 more"), "{dearer}");
        assert!(told(600, Some((2.0, 1.999))).contains("next to nothing"));
        let short = told(100, Some((2.0, 2.0)));
        assert!(
            short.contains("caches from 512 on; 412 are missing"),
            "{short}"
        );
        // Without a comparison only what is known is said.
        let alone = told(600, None);
        assert!(
            !alone.contains("less") && !alone.contains("nothing"),
            "{alone}"
        );
        for text in [saves, dearer, short, alone] {
            assert!(text.contains("It can change answers"), "{text}");
        }
    }

    #[test]
    fn only_a_saving_is_offered() {
        let offered = |costs| effect(false, 600, costs).matters();
        assert!(offered(Some((2.0, 1.5))));
        assert!(!offered(Some((2.0, 1.995))) && !offered(Some((1.5, 2.0))) && !offered(None));
        assert!(effect(true, 600, None).matters());
    }
}
