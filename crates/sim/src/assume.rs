//! Owns the assumptions by name: what the documentation leaves open, or real upstreams do now this
//! way and now that, as `KEY=VALUE` for a command line. Every default is the documented or measured
//! behaviour, where there is one.

use crate::config::{AnswerMode, Config, OutputModel};
use crate::profile::Profile;
use crate::rule::closest;

/// One thing that can be assumed otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Assumption {
    /// Its name.
    pub key: &'static str,
    /// Its values, the default first.
    pub values: &'static str,
    /// What it means.
    pub meaning: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
}

/// Everything that can be assumed otherwise.
pub const ASSUMPTIONS: &[Assumption] = &[
    Assumption {
        key: "profile",
        values: "fast, normal, slow-tail, stuck, dead",
        meaning: "how fast batches get done",
        set: |config, value| {
            config.profile = match value {
                "fast" => Profile::Fast,
                "normal" => Profile::Normal,
                "slow-tail" => Profile::SlowTail,
                "stuck" => Profile::Stuck,
                "dead" => Profile::Dead,
                _ => return None,
            };
            Some(())
        },
    },
    Assumption {
        key: "workers",
        values: "50",
        meaning: "rows of one batch that run at the same time",
        set: |config, value| number(value, 1).map(|n| config.workers = n),
    },
    Assumption {
        key: "domains",
        values: "1",
        meaning: "caches that requests are spread over by chance",
        set: |config, value| number(value, 1).map(|n| config.cache.domains = n),
    },
    Assumption {
        key: "shared-caches",
        values: "no, yes",
        meaning: "batch rows and Messages calls read each other's cache entries (R4)",
        set: |config, value| yes(value).map(|yes| config.cache.lanes_share = yes),
    },
    Assumption {
        key: "within-batch",
        values: "yes, no",
        meaning: "a row reads what another row of its batch wrote (R9)",
        set: |config, value| yes(value).map(|yes| config.cache.within_batch = yes),
    },
    Assumption {
        key: "refresh-path",
        values: "yes, no",
        meaning: "a hit refreshes every entry on its path (R1)",
        set: |config, value| yes(value).map(|yes| config.cache.refresh_path = yes),
    },
    Assumption {
        key: "free-marks",
        values: "yes, no",
        meaning: "a mark within what was read keeps or upgrades its entry (R2)",
        set: |config, value| yes(value).map(|yes| config.cache.free_marks = yes),
    },
    Assumption {
        key: "hour-restarts",
        values: "yes, no",
        meaning: "a hit restarts the hour of a 1h entry (R3)",
        set: |config, value| yes(value).map(|yes| config.cache.hour_restarts = yes),
    },
    Assumption {
        key: "live-counts",
        values: "no, yes",
        meaning: "a batch's counts move while it runs",
        set: |config, value| yes(value).map(|yes| config.live_counts = yes),
    },
    Assumption {
        key: "cancel-settles",
        values: "25",
        meaning: "seconds until a cancellation is settled (R7)",
        set: |config, value| number(value, 0).map(|n| config.cancel_settles_s = n),
    },
    Assumption {
        key: "acceleration",
        values: "no, yes",
        meaning: "a sharp rise of input tokens is a 429",
        set: |config, value| yes(value).map(|yes| config.limits.acceleration = yes),
    },
    Assumption {
        key: "output",
        values: "60-220, or one number",
        meaning: "tokens of an answer, unless max_tokens cuts it short",
        set: |config, value| {
            config.output = match value.split_once('-') {
                None => OutputModel::Fixed(number(value, 1)?),
                Some((low, high)) => {
                    let low = number(low, 1)?;
                    OutputModel::Between(low, number(high, low)?)
                }
            };
            Some(())
        },
    },
    Assumption {
        key: "text",
        values: "lorem, echo",
        meaning: "what an answer says where nothing else decides: made-up English, or the last user message",
        set: |config, value| {
            config.answers.mode = match value {
                "lorem" => AnswerMode::Lorem,
                "echo" => AnswerMode::Echo,
                _ => return None,
            };
            Some(())
        },
    },
    Assumption {
        key: "tool-use",
        values: "100",
        meaning: "percent of the answers that call a tool where the request leaves it to the model",
        set: |config, value| percent(value).map(|share| config.answers.tool_use = share),
    },
    Assumption {
        key: "refusals",
        values: "0",
        meaning: "percent of the answers that end as a refusal after some words",
        set: |config, value| percent(value).map(|share| config.refusals = share),
    },
    Assumption {
        key: "verify-thinking",
        values: "yes, no",
        meaning: "thinking that comes back must be what was handed out, unchanged",
        set: |config, value| yes(value).map(|yes| config.answers.verify_thinking = yes),
    },
    Assumption {
        key: "first-byte-ms",
        values: "800",
        meaning: "milliseconds to the first byte of a Messages answer, by a quarter more or less",
        set: |config, value| number(value, 0).map(|n| config.latency.first_byte_ms = n),
    },
    Assumption {
        key: "tokens-per-second",
        values: "80",
        meaning: "output tokens per second after that",
        set: |config, value| number(value, 1).map(|n| config.latency.tokens_per_second = n),
    },
    Assumption {
        key: "overhead-ms",
        values: "40",
        meaning: "milliseconds of every other answer",
        set: |config, value| number(value, 0).map(|n| config.latency.overhead_ms = n),
    },
];

/// Why something cannot be assumed, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAssumption(String);

impl Config {
    /// Assumes one thing otherwise: `KEY=VALUE`, as [`ASSUMPTIONS`] lists them.
    ///
    /// # Errors
    ///
    /// When there is no such assumption, or the value is none of its.
    pub fn assume(&mut self, text: &str) -> Result<(), BadAssumption> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let found = ASSUMPTIONS.iter().find(|assumption| assumption.key == key);
        let Some(assumption) = found else {
            let keys: Vec<&str> = ASSUMPTIONS.iter().map(|a| a.key).collect();
            let hint = closest(key, &keys).map_or_else(
                || format!("there are {}", keys.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(BadAssumption(format!(
                "there is no assumption `{key}`; {hint}"
            )));
        };
        (assumption.set)(self, value).ok_or_else(|| {
            BadAssumption(format!(
                "`{key}` can be {}, not `{value}`",
                assumption.values
            ))
        })
    }
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn number(value: &str, least: u32) -> Option<u32> {
    value.parse().ok().filter(|&n| n >= least)
}

/// A share from 0 to 1.
fn percent(value: &str) -> Option<f64> {
    let percent: u8 = value.parse().ok().filter(|&n| n <= 100)?;
    Some(f64::from(percent) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_assumed_is_assumed() {
        let mut config = Config::default();
        for text in [
            "profile=stuck",
            "hour-restarts=no",
            "output=5-9",
            "workers=3",
        ] {
            config.assume(text).unwrap();
        }
        assert_eq!(config.profile, Profile::Stuck);
        assert_eq!(
            (config.workers, config.output),
            (3, OutputModel::Between(5, 9))
        );
        assert!(!config.cache.hour_restarts);
        for (text, wanted) in [
            (
                "worker=3",
                "there is no assumption `worker`; did you mean `workers`?",
            ),
            ("workers=0", "`workers` can be 50, not `0`"),
            ("live-counts", "`live-counts` can be no, yes, not ``"),
            (
                "output=9-5",
                "`output` can be 60-220, or one number, not `9-5`",
            ),
        ] {
            assert_eq!(config.assume(text).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn the_first_value_is_the_default() {
        for assumption in ASSUMPTIONS {
            let mut config = Config::default();
            let first = assumption.values.split(',').next().unwrap();
            config
                .assume(&format!("{}={first}", assumption.key))
                .unwrap();
            assert_eq!(
                format!("{config:?}"),
                format!("{:?}", Config::default()),
                "{}",
                assumption.key
            );
        }
    }
}
