//! Owns what an answer contains: thinking, prose, a tool call, JSON or a canned text, for this
//! request, in this many tokens. Deterministic: the same request gets the same answer, on either
//! lane, streamed or not.
//!
//! What the documentation leaves to the model is assumed, and simple: a third of the tokens is
//! thought (never more than half of `max_tokens`, so that something is said); an answer to a
//! request with tools calls one, unless the user's turn brought a tool's result; one answer in
//! four calls two. Server tools are never called.

use offpeak_wire::request::RequestView;

use super::limit::{self, Part, Room};
use super::rules::{Rule, Says};
use super::thinking::Thoughts;
use super::tools::{self, Choice, Tools};
use super::turn::Turn;
use super::{Block, Plan, Stop, Thought, schema};
use crate::book::Model;
use crate::capability::Generation;
use crate::check::Checked;
use crate::config::{AnswerMode, Config, Latency};
use crate::dice::{self, Purpose};
use crate::http::Problem;
use crate::pick;
use crate::prompt::{Prompt, answer_schema};
use crate::tokens::Tokenizer;

/// A request that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'r, 'a> {
    pub(crate) view: &'r RequestView<'a>,
    pub(crate) checked: &'r Checked,
    pub(crate) model: &'r Model,
    pub(crate) prompt: &'r Prompt,
}

/// An answer, and how fast it comes.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) plan: Plan,
    pub(crate) pace: Latency,
}

/// Answers a request; a rule may want an error instead.
pub(crate) fn compose(ask: Ask<'_, '_>, config: &Config) -> Result<Composed, Problem> {
    let turn = Turn::last(ask.view);
    let mut composer = Composer {
        ask,
        config,
        turn,
        tokenizer: Generation::of(&ask.model.id).tokenizer(),
        text: None,
    };
    let rule = composer.rule();
    let pace = rule.map_or(config.latency, |rule| rule.pace(config.latency));
    if let Some(Says::Error(error)) = rule.map(|rule| &rule.says) {
        return Err(error.problem());
    }
    if ask.checked.max_tokens == 0 {
        let plan = Plan::empty();
        return Ok(Composed { plan, pace });
    }
    let plan = composer.plan(rule);
    Ok(Composed { plan, pace })
}

struct Composer<'r, 'a, 'c> {
    ask: Ask<'r, 'a>,
    config: &'c Config,
    turn: Turn<'r, 'a>,
    tokenizer: Tokenizer,
    /// The text of the user's turn, once somebody has asked for it.
    text: Option<String>,
}

impl<'c> Composer<'_, '_, 'c> {
    fn turn_text(&mut self) -> &str {
        let turn = self.turn;
        self.text.get_or_insert_with(|| turn.text())
    }

    fn rule(&mut self) -> Option<&'c Rule> {
        let rules = &self.config.answers.rules;
        if rules.is_empty() {
            return None;
        }
        let model = self.ask.model;
        rules.find(self.turn_text(), model)
    }

    fn roll(&self, n: u64) -> u64 {
        dice::roll(self.config.seed, Purpose::Text, self.ask.prompt.digest, n)
    }

    fn count(&self, text: &str) -> u32 {
        limit::count(text, self.tokenizer)
    }

    fn plan(&mut self, rule: Option<&Rule>) -> Plan {
        let digest = self.ask.prompt.digest;
        let wish = rule.and_then(|rule| rule.output_tokens);
        let wish = wish.unwrap_or_else(|| self.config.output.tokens(self.config.seed, digest));
        let refused = dice::roll(self.config.seed, Purpose::Refusal, digest, 0);
        if rule.is_none() && dice::happens(refused, self.config.refusals) {
            let tokens = wish.div_ceil(8).max(1);
            return self.fit(vec![self.prose(tokens)], Stop::Refusal);
        }
        let tools = Tools::of(self.ask.view);
        let mut parts = Vec::with_capacity(2);
        parts.extend(self.thought(rule, wish, &tools));
        let thought: u32 = parts.iter().map(|part: &Part| part.tokens).sum();
        let left = wish.saturating_sub(thought).max(1);
        let stop = match rule.map(|rule| &rule.says) {
            None | Some(Says::Nothing) => self.usual(&tools, left, &mut parts),
            Some(Says::Text(text)) => {
                let said = rule.and_then(|rule| rule.output_tokens);
                let tokens = said.map_or_else(|| self.count(text), |_| left);
                let tokens = if text.is_empty() { 0 } else { tokens.max(1) };
                let block = Block::Text(text.clone());
                parts.push(Part { block, tokens });
                Stop::EndTurn
            }
            Some(Says::Tool { name, input }) => {
                let (name, input) = (name.to_string(), input.to_string());
                let seed = self.config.seed;
                parts.push(tools::part(name, input, seed, digest, 0, self.tokenizer));
                Stop::ToolUse
            }
            Some(Says::Error(_)) => unreachable!("an error is no plan"),
        };
        self.fit(
            parts,
            rule.and_then(|rule| rule.stop.clone()).unwrap_or(stop),
        )
    }

    /// What is said without a rule.
    fn usual(&mut self, tools: &Tools<'_>, tokens: u32, parts: &mut Vec<Part>) -> Stop {
        let (seed, digest) = (self.config.seed, self.ask.prompt.digest);
        if self.calls(tools) {
            if tools.choice == Choice::Auto {
                // A forced call comes without a word before it (Anthropic docs, define tools).
                parts.push(self.prose(tokens.div_ceil(4)));
            }
            for (nth, call) in (0..).zip(tools.calls(seed, digest)) {
                parts.push(call.part(seed, digest, nth, self.tokenizer));
            }
            return Stop::ToolUse;
        }
        if let Some(schema) = answer_schema(self.ask.view) {
            let text = schema::value(schema, self.roll(4));
            let tokens = self.count(&text);
            let block = Block::Text(text.into());
            parts.push(Part { block, tokens });
            return Stop::EndTurn;
        }
        let echo: Box<str> = match self.config.answers.mode {
            AnswerMode::Lorem => Box::default(),
            AnswerMode::Echo => self.turn_text().into(),
        };
        parts.push(if echo.is_empty() {
            self.prose(tokens)
        } else {
            let tokens = self.count(&echo);
            let block = Block::Text(echo);
            Part { block, tokens }
        });
        Stop::EndTurn
    }

    fn calls(&self, tools: &Tools<'_>) -> bool {
        if tools.none_can_be_called() {
            return false;
        }
        match tools.choice {
            Choice::None => false,
            Choice::Any | Choice::Tool(_) => true,
            Choice::Auto => {
                !self.turn.brings_result()
                    && dice::happens(self.roll(5), self.config.answers.tool_use)
            }
        }
    }

    fn prose(&self, tokens: u32) -> Part {
        let seed = self.roll(0);
        let block = Block::Prose { seed, tokens };
        Part { block, tokens }
    }

    /// The thinking before the answer, if this request has any.
    fn thought(&self, rule: Option<&Rule>, wish: u32, tools: &Tools<'_>) -> Option<Part> {
        let thinking = Thoughts::of(self.ask.view, Generation::of(&self.ask.model.id), self.turn)?;
        if matches!(tools.choice, Choice::Any | Choice::Tool(_)) {
            return None;
        }
        let given = rule.and_then(|rule| rule.thinking.as_deref());
        let (text, tokens) = match given {
            Some("") => return None,
            Some(text) => (Some(text.into()), self.count(text)),
            None => {
                let most = self
                    .ask
                    .checked
                    .max_tokens
                    .min(thinking.budget.saturating_mul(2))
                    / 2;
                let most = u32::try_from(most).unwrap_or(u32::MAX);
                (None, wish.div_ceil(3).min(most))
            }
        };
        (tokens > 0).then(|| Part {
            tokens,
            block: Block::Thinking(Box::new(Thought {
                seed: self.roll(6),
                tokens,
                text,
                shown: thinking.shown,
            })),
        })
    }

    fn fit(&self, parts: Vec<Part>, stop: Stop) -> Plan {
        let window = u64::from(self.ask.prompt.tokens);
        let window = self.ask.model.context_window.saturating_sub(window);
        let most = self.ask.checked.max_tokens;
        let (room, over) = if window < most {
            (window, Stop::ContextWindow)
        } else {
            (most, Stop::MaxTokens)
        };
        let list = self.ask.view.member("stop_sequences").unwrap_or_default();
        let sequences = pick::elements(list).filter_map(pick::text);
        let sequences: Vec<String> = sequences.map(std::borrow::Cow::into_owned).collect();
        limit::fit(
            parts,
            stop,
            Room {
                tokens: u32::try_from(room).unwrap_or(u32::MAX),
                over: &over,
                sequences: &sequences,
                tokenizer: self.tokenizer,
            },
        )
    }
}
