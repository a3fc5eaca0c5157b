//! Token counts of one answer, as the API reports them.
//!
//! Owns the reading rules of the `usage` object. Leaves out what the tokens cost.

use serde::Deserialize;

use crate::DecodeError;

const WHAT: &str = "usage";

/// The `usage` of one message. Counts are tokens unless named otherwise.
///
/// `input_tokens` is only the part after the last cache breakpoint; see [`Usage::prompt_tokens`]
/// (Anthropic docs, prompt caching).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Generated tokens, thinking included.
    pub output_tokens: u64,
    /// Prompt tokens written to the cache; always `write_5m + write_1h`.
    pub cache_creation_input_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_input_tokens: u64,
    /// Prompt tokens written with a five-minute lifetime.
    pub write_5m: u64,
    /// Prompt tokens written with a one-hour lifetime.
    pub write_1h: u64,
    /// Web searches made by the server tool; a count of searches, not of tokens.
    pub web_search_requests: u64,
    /// `standard`, `priority` or `batch`.
    pub service_tier: Option<String>,
    /// `global`, `us` or `not_available`.
    pub inference_geo: Option<String>,
    /// `standard` or `fast`.
    pub speed: Option<String>,
}

impl Usage {
    /// Reads a `usage` object. Every member but `input_tokens` and `output_tokens` may be absent
    /// or null; without `cache_creation` all written tokens count as five-minute writes.
    ///
    /// # Errors
    ///
    /// When the bytes are not such an object, or the writes per lifetime do not add up to
    /// `cache_creation_input_tokens`.
    pub fn parse(raw: &[u8]) -> Result<Self, DecodeError> {
        let wire: UsageWire =
            serde_json::from_slice(raw).map_err(|error| DecodeError::new(WHAT, error))?;
        wire.checked()
    }

    /// All prompt tokens: uncached, written and read. Saturates, which no real prompt reaches.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_creation_input_tokens)
            .saturating_add(self.cache_read_input_tokens)
    }
}

/// The object as it arrives, before the writes are checked against each other.
#[derive(Default, Deserialize)]
pub(crate) struct UsageWire {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cache_creation_input_tokens: Option<u64>,
    pub(crate) cache_read_input_tokens: Option<u64>,
    pub(crate) cache_creation: Option<CacheCreation>,
    pub(crate) server_tool_use: Option<ServerToolUse>,
    pub(crate) service_tier: Option<String>,
    pub(crate) inference_geo: Option<String>,
    pub(crate) speed: Option<String>,
}

#[derive(Default, Deserialize)]
pub(crate) struct CacheCreation {
    pub(crate) ephemeral_5m_input_tokens: Option<u64>,
    pub(crate) ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(crate) struct ServerToolUse {
    pub(crate) web_search_requests: Option<u64>,
}

impl UsageWire {
    pub(crate) fn checked(self) -> Result<Usage, DecodeError> {
        let (write_5m, write_1h) = self.writes()?;
        Ok(Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            // `writes` refuses a sum that overflows.
            cache_creation_input_tokens: write_5m + write_1h,
            cache_read_input_tokens: self.cache_read_input_tokens.unwrap_or(0),
            write_5m,
            write_1h,
            web_search_requests: self
                .server_tool_use
                .and_then(|tools| tools.web_search_requests)
                .unwrap_or(0),
            service_tier: self.service_tier,
            inference_geo: self.inference_geo,
            speed: self.speed,
        })
    }

    fn writes(&self) -> Result<(u64, u64), DecodeError> {
        let split = self.cache_creation.as_ref().and_then(|created| {
            let parts = (
                created.ephemeral_5m_input_tokens,
                created.ephemeral_1h_input_tokens,
            );
            (parts != (None, None)).then(|| (parts.0.unwrap_or(0), parts.1.unwrap_or(0)))
        });
        let Some((write_5m, write_1h)) = split else {
            return Ok((self.cache_creation_input_tokens.unwrap_or(0), 0));
        };
        let sum = write_5m.checked_add(write_1h);
        match (sum, self.cache_creation_input_tokens) {
            (Some(sum), Some(total)) if sum == total => Ok((write_5m, write_1h)),
            (Some(_), None) => Ok((write_5m, write_1h)),
            (_, total) => Err(DecodeError::new(
                WHAT,
                format_args!(
                    "{write_5m} five-minute and {write_1h} one-hour writes do not add up to \
                     cache_creation_input_tokens {}",
                    total.unwrap_or(0)
                ),
            )),
        }
    }
}
