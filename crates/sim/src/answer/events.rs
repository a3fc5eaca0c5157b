//! Owns an answer as server-sent events (Anthropic docs, streaming): which events, in which
//! order, in which pieces, and when each may leave. The message they add up to is the one that is
//! answered without `stream`.

use std::io::Write;

use super::{Block, Message, ToolUse, string};
use crate::config::Latency;
use crate::stream::{Events, StreamFault};

/// Bytes of text in one delta: a few words.
const PIECE: usize = 24;

impl Message<'_> {
    /// The events of this message. `fault` says where they break off, and how.
    pub(crate) fn events(&self, pace: Latency, fault: Option<StreamFault>) -> Events {
        let mut writer = Writer {
            events: Events::default(),
            pace,
            sent: 0,
            waited: 0,
        };
        self.put_events(&mut writer).expect("writing to memory");
        writer.events.with_fault(fault)
    }

    fn put_events(&self, to: &mut Writer) -> std::io::Result<()> {
        to.event("message_start", |out| {
            out.extend_from_slice(br#","message":"#);
            self.head(out)?;
            out.extend_from_slice(
                br#"],"stop_reason":null,"stop_sequence":null,"stop_details":null,"container":null,"usage":"#,
            );
            self.usage(self.tally.output.min(1), 0, out)?;
            out.push(b'}');
            Ok(())
        })?;
        let mut left = self.tally.output;
        for (index, block) in self.plan.content.iter().enumerate() {
            let last = index + 1 == self.plan.content.len();
            let tokens = block.share(last, left);
            left -= tokens;
            to.block(index, block, tokens)?;
        }
        if self.plan.content.is_empty() {
            to.ping()?;
            to.pass(left);
        }
        to.event("message_delta", |out| {
            out.extend_from_slice(br#","delta":{"#);
            self.plan.stop.write(out)?;
            out.extend_from_slice(br#","container":null},"usage":{"#);
            self.counts(out)?;
            write!(
                out,
                r#","output_tokens":{},"output_tokens_details":{{"thinking_tokens":{}}},"server_tool_use":null}}"#,
                self.tally.output, self.plan.thinking
            )
        })?;
        to.event("message_stop", |_| Ok(()))
    }
}

impl Block {
    /// How many of the tokens that are left this block takes, for the pace alone.
    fn share(&self, last: bool, left: u32) -> u32 {
        match self {
            _ if last => left,
            Self::Prose { tokens, .. } => left.min(*tokens),
            Self::Thinking(thought) => left.min(thought.tokens),
            Self::Text(_) | Self::ToolUse(_) => left / 2,
        }
    }
}

struct Writer {
    events: Events,
    pace: Latency,
    /// Tokens that have been generated.
    sent: u64,
    /// Microseconds that have passed for them.
    waited: u64,
}

impl Writer {
    fn event(
        &mut self,
        name: &str,
        data: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let wait = self.pace.generation(self.sent) - self.waited;
        self.waited += wait;
        self.events.piece(wait, |out| {
            write!(out, "event: {name}\ndata: {{\"type\":\"{name}\"")?;
            data(out)?;
            out.extend_from_slice(b"}\n\n");
            Ok(())
        })
    }

    fn ping(&mut self) -> std::io::Result<()> {
        self.event("ping", |_| Ok(()))
    }

    fn pass(&mut self, tokens: u32) {
        self.sent += u64::from(tokens);
    }

    fn block(&mut self, index: usize, block: &Block, tokens: u32) -> std::io::Result<()> {
        self.event("content_block_start", |out| {
            write!(out, r#","index":{index},"content_block":"#)?;
            match block {
                Block::Prose { .. } | Block::Text(_) => {
                    out.extend_from_slice(br#"{"type":"text","text":""}"#);
                }
                Block::Thinking(_) => {
                    out.extend_from_slice(br#"{"type":"thinking","thinking":"","signature":""}"#);
                }
                Block::ToolUse(call) => call.write("{}", out)?,
            }
            Ok(())
        })?;
        if index == 0 {
            self.ping()?;
        }
        match block {
            Block::Prose { .. } | Block::Text(_) => {
                let text = block.text().unwrap_or_default();
                self.deltas(index, "text_delta", "text", &text, tokens)?;
            }
            Block::Thinking(thought) => {
                let visible = thought.visible();
                self.deltas(index, "thinking_delta", "thinking", &visible, tokens)?;
                let signature = thought.signature(&visible);
                self.delta(index, "signature_delta", "signature", &signature)?;
            }
            Block::ToolUse(call) => self.input(index, call, tokens)?,
        }
        self.event("content_block_stop", |out| {
            write!(out, r#","index":{index}"#)
        })
    }

    /// The input of a call; the first delta is empty, as the API's is.
    fn input(&mut self, index: usize, call: &ToolUse, tokens: u32) -> std::io::Result<()> {
        self.delta(index, "input_json_delta", "partial_json", "")?;
        let input = if &*call.input == "{}" {
            ""
        } else {
            &call.input
        };
        self.deltas(index, "input_json_delta", "partial_json", input, tokens)
    }

    /// A text in pieces, spread over the time that its tokens take.
    fn deltas(
        &mut self,
        index: usize,
        kind: &str,
        field: &str,
        text: &str,
        tokens: u32,
    ) -> std::io::Result<()> {
        let (before, mut start) = (self.sent, 0);
        while start < text.len() {
            let end = piece_end(text, start);
            let share = end as u128 * u128::from(tokens) / text.len() as u128;
            self.sent = before + u64::try_from(share).unwrap_or(0);
            self.delta(index, kind, field, &text[start..end])?;
            start = end;
        }
        self.sent = before + u64::from(tokens);
        Ok(())
    }

    fn delta(&mut self, index: usize, kind: &str, field: &str, text: &str) -> std::io::Result<()> {
        self.event("content_block_delta", |out| {
            write!(
                out,
                r#","index":{index},"delta":{{"type":"{kind}","{field}":"#
            )?;
            string(text, out);
            out.push(b'}');
            Ok(())
        })
    }
}

/// Where the piece that begins at `start` ends: before a space if there is one, as tokens do.
fn piece_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    if rest.len() <= PIECE {
        return text.len();
    }
    let most = super::limit::boundary(rest, PIECE);
    let space = rest[..most].rfind(' ').filter(|&at| at > 0);
    let first = rest.chars().next().map_or(1, char::len_utf8);
    start + space.unwrap_or(most).max(first)
}
