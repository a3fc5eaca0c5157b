//! Owns what an answered request looks like: the length of the answer, why it stopped, and the
//! Message object, written straight into a buffer because batches hold many of them.

use std::io::Write;

use crate::bill::{Lane, Tally};
use crate::book::Model;
use crate::config::Config;
use crate::dice::{self, Purpose};
use crate::text;

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    EndTurn,
    MaxTokens,
    Refusal,
}

/// How an answer comes out: a function of the request's digest alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) tokens: u32,
    pub(crate) stop: Stop,
}

impl Length {
    pub(crate) fn of(config: &Config, digest: u64, max_tokens: u64) -> Self {
        let wish = config.output.tokens(config.seed, digest);
        let most = u32::try_from(max_tokens).unwrap_or(u32::MAX);
        let refused = dice::roll(config.seed, Purpose::Refusal, digest, 0);
        if dice::happens(refused, config.refusals) && most > 0 {
            return Self {
                tokens: wish.div_ceil(8).min(most),
                stop: Stop::Refusal,
            };
        }
        let stop = if wish > most {
            Stop::MaxTokens
        } else {
            Stop::EndTurn
        };
        Self {
            tokens: wish.min(most),
            stop,
        }
    }
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) id: String,
    pub(crate) model: &'a Model,
    pub(crate) lane: Lane,
    pub(crate) stop: Stop,
    /// Determines the text.
    pub(crate) seed: u64,
    pub(crate) tally: Tally,
}

/// The seed of the text of the answer to the request of this digest.
pub(crate) fn text_seed(seed: u64, digest: u64) -> u64 {
    dice::roll(seed, Purpose::Text, digest, 0)
}

impl Message<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.put(out).expect("writing to memory");
    }

    fn put(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Tally {
            input,
            write_5m,
            write_1h,
            read,
            output,
            us,
            fast,
        } = self.tally;
        write!(
            out,
            r#"{{"id":"{}","type":"message","role":"assistant","model":"{}","content":["#,
            self.id, self.model.id
        )?;
        if output > 0 {
            out.write_all(br#"{"type":"text","text":""#)?;
            text::write(self.seed, output, out);
            out.write_all(br#"","citations":null}"#)?;
        }
        let (stop, details) = match self.stop {
            Stop::EndTurn => ("end_turn", "null"),
            Stop::MaxTokens => ("max_tokens", "null"),
            Stop::Refusal => (
                "refusal",
                r#"{"type":"refusal","category":"general_harms","explanation":null}"#,
            ),
        };
        write!(
            out,
            r#"],"stop_reason":"{stop}","stop_sequence":null,"stop_details":{details},"usage":{{"input_tokens":{input},"cache_creation_input_tokens":{},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{write_5m},"ephemeral_1h_input_tokens":{write_1h}}},"output_tokens":{output},"server_tool_use":null,"service_tier":"{}","inference_geo":"{}""#,
            u64::from(write_5m) + u64::from(write_1h),
            match self.lane {
                Lane::Sync => "standard",
                Lane::Batch => "batch",
            },
            match (us, self.model.us_geo) {
                (true, _) => "us",
                (false, true) => "global",
                (false, false) => "not_available",
            },
        )?;
        if fast {
            out.write_all(br#","speed":"fast""#)?;
        }
        out.write_all(b"}}")
    }
}
