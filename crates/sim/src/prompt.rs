//! Owns what a request's prompt is to the simulator: its blocks' tokens, their cumulative keys
//! for the cache, and a digest of everything that may influence the answer. Cache marks influence
//! neither tokens nor keys nor answers: the same conversation with a mark moved on is the same.

use std::borrow::Cow;

use offpeak_wire::limits::LOOKBACK_BLOCKS;
use offpeak_wire::request::{Block, BlockKind, RequestView, Role, Section, Shape, Ttl};

use crate::bill::Lane;
use crate::book::Model;
use crate::cache::{CacheRules, Spot};
use crate::capability::Generation;
use crate::dice::{self, Purpose};
use crate::pick;
use crate::tokens::Tokenizer;

/// Tokens of the tool preamble of a model whose figure is not published.
const UNPUBLISHED_TOOL_PREAMBLE: u64 = 400;
/// Tokens of an image or document given by reference: its bytes are not in the request.
const REFERENCED_TOKENS: u64 = 1_500;
/// Base64 bytes of an image per token, up to the most an image takes.
const IMAGE_BYTES_PER_TOKEN: usize = 40;
const IMAGE_TOKENS_MAX: usize = 1_600;
/// Base64 bytes of a PDF per token.
const PDF_BYTES_PER_TOKEN: usize = 20;

/// The prompt of one request.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// All input tokens.
    pub(crate) tokens: u32,
    /// Determines the answer, together with the world's seed.
    pub(crate) digest: u64,
    /// Where the cache may have or keep something, in prompt order; empty without marks that
    /// reach the model's minimum.
    pub(crate) spots: Vec<Spot>,
}

/// Whose cache a prompt goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Realm<'a> {
    pub(crate) seed: u64,
    pub(crate) workspace: u64,
    pub(crate) lane: Lane,
    pub(crate) model: &'a Model,
    pub(crate) rules: CacheRules,
}

type Key = [u8; 32];

impl Prompt {
    pub(crate) fn read(view: &RequestView<'_>, realm: Realm<'_>) -> Self {
        let tokenizer = Generation::of(&realm.model.id).tokenizer();
        let blocks = view.blocks();
        let mut tokens = tool_preamble(blocks, realm.model) + format_preamble(view, tokenizer);
        let mut key: Key = [0; 32];
        let mut path = Vec::with_capacity(blocks.len());
        for block in blocks {
            let mut content = Content::new(tokenizer, &key, block);
            content.read(&view.bytes()[block.span.clone()], block);
            tokens += content.tokens;
            key = *content.hasher.finalize().as_bytes();
            path.push((key, u32::try_from(tokens).unwrap_or(u32::MAX)));
        }
        let digest = digest(view, &key);
        Self {
            tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
            digest,
            spots: spots(view, realm, &path, digest),
        }
    }
}

/// The hidden prompt that tools bring along stands before everything else.
fn tool_preamble(blocks: &[Block], model: &Model) -> u64 {
    match blocks.first().map(|block| block.section) {
        Some(Section::Tools) if model.hidden_tool_tokens > 0 => model.hidden_tool_tokens,
        Some(Section::Tools) => UNPUBLISHED_TOOL_PREAMBLE,
        _ => 0,
    }
}

/// The schema that the answer's text has to conform to.
pub(crate) fn answer_schema<'a>(view: &RequestView<'a>) -> Option<&'a [u8]> {
    let config = view.member("output_config").unwrap_or_default();
    let format = pick::member(config, "format").filter(|format| *format != b"null");
    pick::member(format.or_else(|| view.member("output_format"))?, "schema")
}

/// A schema for the answer is explained to the model before everything else (Anthropic docs,
/// structured outputs); in how many tokens is not published: assumed, those of the schema.
fn format_preamble(view: &RequestView<'_>, tokenizer: Tokenizer) -> u64 {
    let schema = answer_schema(view).unwrap_or_default();
    tokenizer.count(schema)
}

/// Where automatic caching puts its mark: the last block that can carry one, unless that has the
/// same mark already.
pub(crate) fn automatic(view: &RequestView<'_>) -> Option<(usize, Ttl)> {
    let ttl = view.auto_mark()?;
    let can = |block: &Block| block.markable || block.mark.is_some();
    let last = view.blocks().iter().rposition(can)?;
    Some((last, ttl))
}

/// The positions that the look-backs of the effective marks reach.
fn spots(view: &RequestView<'_>, realm: Realm<'_>, path: &[(Key, u32)], digest: u64) -> Vec<Spot> {
    let automatic = automatic(view);
    let mark_at = |index: usize| {
        let block = &view.blocks()[index];
        let own = automatic.filter(|&(last, _)| last == index);
        let mark = block.mark.or_else(|| own.map(|(_, ttl)| ttl));
        mark.filter(|_| u64::from(path[index].1) >= realm.model.min_cacheable)
    };
    let marks: Vec<usize> = (0..path.len()).filter(|&i| mark_at(i).is_some()).collect();
    if marks.is_empty() {
        return Vec::new();
    }
    let salts = Salts::of(view, realm, digest);
    let in_reach = |&index: &usize| {
        marks
            .iter()
            .any(|&m| index <= m && m - index < LOOKBACK_BLOCKS)
    };
    let spot = |index: usize| Spot {
        key: salts.key(view.blocks()[index].section, &path[index].0),
        tokens: path[index].1,
        mark: mark_at(index),
    };
    (0..path.len()).filter(in_reach).map(spot).collect()
}

/// What else a cache entry depends on, by the part of the prompt it ends in (Anthropic docs,
/// prompt caching: what invalidates). Thinking and output settings restart everything.
struct Salts {
    tools: blake3::Hasher,
    system: blake3::Hasher,
    messages: blake3::Hasher,
}

impl Salts {
    fn of(view: &RequestView<'_>, realm: Realm<'_>, digest: u64) -> Self {
        let roll = dice::roll(realm.seed, Purpose::Domain, digest, 0);
        let domain = dice::between(roll, 0, u64::from(realm.rules.domains.max(1)) - 1);
        let lane = if realm.rules.lanes_share {
            Lane::Sync
        } else {
            realm.lane
        };
        let mut tools = blake3::Hasher::new();
        tools.update(&realm.workspace.to_le_bytes());
        tools.update(&domain.to_le_bytes());
        tools.update(&[lane as u8]);
        field(&mut tools, realm.model.id.as_bytes());
        field(&mut tools, view.member("thinking").unwrap_or_default());
        field(&mut tools, view.member("output_config").unwrap_or_default());
        let mut system = tools.clone();
        field(&mut system, view.member("speed").unwrap_or_default());
        let mut messages = system.clone();
        field(
            &mut messages,
            view.member("tool_choice").unwrap_or_default(),
        );
        field(&mut messages, &[u8::from(view.images() > 0)]);
        Self {
            tools,
            system,
            messages,
        }
    }

    fn key(&self, section: Section, key: &Key) -> u64 {
        let mut hasher = match section {
            Section::Tools => self.tools.clone(),
            Section::System => self.system.clone(),
            Section::Message { .. } => self.messages.clone(),
        };
        hasher.update(key);
        first_word(hasher.finalize().as_bytes())
    }
}

/// All content, and every other member but the cache mark and whether the answer is streamed.
fn digest(view: &RequestView<'_>, content: &Key) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(content);
    for (key, span) in view.members() {
        if !matches!(
            key,
            "tools" | "system" | "messages" | "cache_control" | "stream"
        ) {
            field(&mut hasher, key.as_bytes());
            field(&mut hasher, &view.bytes()[span]);
        }
    }
    first_word(hasher.finalize().as_bytes())
}

fn first_word(hash: &Key) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

/// Length first, so that neighbours cannot flow into each other.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&bytes.len().to_le_bytes());
    hasher.update(bytes);
}

/// One block being read: its tokens, and the key of everything up to it.
struct Content {
    tokenizer: Tokenizer,
    tokens: u64,
    hasher: blake3::Hasher,
}

impl Content {
    fn new(tokenizer: Tokenizer, before: &Key, block: &Block) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before);
        hasher.update(match block.section {
            Section::Tools => b"tools ",
            Section::System => b"system",
            Section::Message {
                role: Role::User, ..
            } => b"user  ",
            Section::Message {
                role: Role::Assistant,
                ..
            } => b"asst  ",
            Section::Message { .. } => b"other ",
        });
        Self {
            tokenizer,
            tokens: 0,
            hasher,
        }
    }

    fn read(&mut self, raw: &[u8], block: &Block) {
        if block.shape == Shape::BareString {
            self.text(raw);
            return;
        }
        for (key, value) in pick::members(raw) {
            match key {
                b"cache_control" => {}
                // A string and a text block of the same text are the same content.
                b"type" if block.kind == BlockKind::Text => {}
                b"text" if block.kind == BlockKind::Text => self.text(value),
                b"type" => field(&mut self.hasher, value),
                _ => {
                    field(&mut self.hasher, key);
                    field(&mut self.hasher, value);
                    self.tokens += self.weigh(value);
                }
            }
        }
    }

    fn text(&mut self, raw: &[u8]) {
        let text = pick::text(raw).unwrap_or(Cow::Borrowed(""));
        field(&mut self.hasher, text.as_bytes());
        self.tokens += self.tokenizer.count(text.as_bytes());
    }

    /// Tokens of any JSON value: strings by their text, structure by its characters, encoded data
    /// by what it stands for. Never more than its bytes, unless it refers to data elsewhere.
    fn weigh(&self, value: &[u8]) -> u64 {
        match value.first() {
            Some(b'"') => {
                let text = pick::text(value).unwrap_or(Cow::Borrowed(""));
                self.tokenizer.count(text.as_bytes())
            }
            Some(b'[') => pick::elements(value).map(|item| self.weigh(item)).sum(),
            Some(b'{') => self.weigh_object(value),
            Some(b'n') | None => 0,
            Some(_) => self.tokenizer.count(value),
        }
    }

    fn weigh_object(&self, object: &[u8]) -> u64 {
        match pick::member(object, "type") {
            Some(br#""url""# | br#""file""#) => REFERENCED_TOKENS,
            Some(br#""base64""#) => {
                let data = pick::member(object, "data").map_or(0, <[u8]>::len);
                let pdf = pick::member(object, "media_type") == Some(br#""application/pdf""#);
                let tokens = if pdf {
                    data.div_ceil(PDF_BYTES_PER_TOKEN)
                } else {
                    data.div_ceil(IMAGE_BYTES_PER_TOKEN).min(IMAGE_TOKENS_MAX)
                };
                u64::try_from(tokens).expect("a length fits u64")
            }
            _ => pick::members(object)
                .filter(|(key, _)| *key != b"cache_control")
                .map(|(key, value)| self.tokenizer.count(key) + self.weigh(value))
                .sum(),
        }
    }
}
