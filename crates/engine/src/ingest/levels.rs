//! The levels of a prompt: the places where a cache mark may stand, and an identity of all that a cache
//! entry there would hold.
//!
//! Two rows with the same level begin alike as far as the upstream's cache is concerned. Leaves out
//! which levels rows share (`groups`) and which of them are marked (`offpeak_core::plan`).

use offpeak_wire::request::{Block, RequestView, Role, Section, Shape};
use offpeak_wire::splice::MarkPoint;

use super::check::first_16;

/// Levels of a prompt that are told apart, its whole not counted: tools, system prompt, and the first
/// turns of a long conversation.
const LEVELS_MAX: usize = 24;

/// Members that separate caches from the first token on: another thinking or effort starts anew on some
/// models (Anthropic docs, prompt caching, what invalidates the cache).
const SEPARATE_ALL: [&str; 2] = ["thinking", "output_config"];

/// Members that separate caches of messages only.
const SEPARATE_MESSAGES: [&str; 1] = ["tool_choice"];

/// A place where a mark may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Equal if all in front of it is: the first 64 bits of a BLAKE3. Two that only seem equal would
    /// cost a mark in vain, and need some 2³² levels.
    pub(super) digest: u64,
    /// Bytes of the contents of the blocks up to here.
    pub(super) bytes: u64,
    /// Where the mark would stand; `None` where the caller has marks of his own.
    pub(super) point: Option<MarkPoint>,
    /// It ends tools or system prompt, not a message.
    pub(super) preamble: bool,
}

/// The end of a prompt, if a mark may stand there. What identifies it is the digest of the request:
/// only rows that are the same share all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) bytes: u64,
    pub(super) point: MarkPoint,
}

impl End {
    /// As the last level of a request with this digest.
    pub(super) fn level(self, request: &[u8; 16]) -> Level {
        Level {
            digest: u64::from_le_bytes(*request.first_chunk().expect("16 bytes are more than 8")),
            bytes: self.bytes,
            point: Some(self.point),
            preamble: false,
        }
    }
}

/// The levels of a prompt, from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) levels: Vec<Level>,
    pub(super) end: Option<End>,
}

/// Finds the levels of prompts. Consecutive rows mostly begin alike, so a block is compared with that of
/// the last row before it is hashed.
#[derive(Debug, Default)]
pub(super) struct Leveler {
    /// What separates caches, and the blocks, of the last row.
    last: Vec<u8>,
    /// Where they end in there, and their digests.
    parts: Vec<(usize, u64)>,
    scratch: Vec<u8>,
}

impl Leveler {
    /// The levels of a request. Of one that the caller has marked only the end of tools and system
    /// prompt is of interest: which rows belong together, not where to mark them.
    pub(super) fn path(
        &mut self,
        view: &RequestView<'_>,
        model: &str,
        caller_marked: bool,
    ) -> Path {
        let mut walk = Walk {
            leveler: self,
            part: 0,
            digest: 0,
            same: true,
        };
        walk.seed(view, model, caller_marked);
        let mut path = Path::default();
        let mut bytes = 0;
        let mut message_before = None;
        let last = view.blocks().len().checked_sub(1);
        let last_tool = view
            .blocks()
            .iter()
            .rposition(|block| block.section == Section::Tools && MarkPoint::of(block).is_some());
        for (place, block) in view.blocks().iter().enumerate() {
            let message = match block.section {
                Section::Message { index, .. } => Some(index),
                Section::Tools | Section::System => None,
            };
            if message.is_some() && caller_marked {
                break;
            }
            let begins = message.is_some() && message != message_before;
            if begins && message_before.is_none() {
                walk.separate(view, &SEPARATE_MESSAGES);
            }
            message_before = message;
            let text = &view.bytes()[block.span.clone()];
            bytes += content_len(block);
            let point = MarkPoint::of(block);
            if message.is_some() && Some(place) == last {
                path.end = point.map(|point| End { bytes, point });
                break;
            }
            if path.levels.len() == LEVELS_MAX {
                continue;
            }
            walk.enter(tag(block.section, begins), text);
            let level = Level {
                digest: walk.digest,
                bytes,
                point: point.filter(|_| !caller_marked),
                preamble: message.is_none(),
            };
            let inner_tool = block.section == Section::Tools && Some(place) != last_tool;
            if caller_marked && bytes > 0 {
                path.levels.clear();
                path.levels.push(level);
            } else if point.is_some() && !inner_tool {
                path.levels.push(level);
            }
        }
        path
    }
}

/// One pass over a request.
struct Walk<'a> {
    leveler: &'a mut Leveler,
    part: usize,
    digest: u64,
    /// All parts so far are those of the last row.
    same: bool,
}

impl Walk<'_> {
    /// What separates caches however long the prompt is.
    fn seed(&mut self, view: &RequestView<'_>, model: &str, caller_marked: bool) {
        let mut seed = std::mem::take(&mut self.leveler.scratch);
        seed.clear();
        seed.push(u8::from(caller_marked));
        seed.extend_from_slice(model.as_bytes());
        members(view, &SEPARATE_ALL, &mut seed);
        self.enter(b'm', &seed);
        self.leveler.scratch = seed;
    }

    fn separate(&mut self, view: &RequestView<'_>, names: &[&str]) {
        let mut seed = std::mem::take(&mut self.leveler.scratch);
        seed.clear();
        members(view, names, &mut seed);
        if !seed.is_empty() {
            self.enter(b'c', &seed);
        }
        self.leveler.scratch = seed;
    }

    /// Goes on by one part of the prompt.
    fn enter(&mut self, tag: u8, bytes: &[u8]) {
        let Leveler { last, parts, .. } = &mut *self.leveler;
        let start = match self.part.checked_sub(1) {
            Some(before) => parts[before].0,
            None => 0,
        };
        if self.same {
            if let Some((end, digest)) = parts.get(self.part)
                && last[start..*end].split_first() == Some((&tag, bytes))
            {
                self.digest = *digest;
                self.part += 1;
                return;
            }
            self.same = false;
            last.truncate(start);
            parts.truncate(self.part);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest.to_le_bytes());
        hasher.update(&[tag]);
        hasher.update(bytes);
        let digest = first_16(&hasher.finalize());
        self.digest = u64::from_le_bytes(*digest.first_chunk().expect("16 bytes are more than 8"));
        last.push(tag);
        last.extend_from_slice(bytes);
        parts.push((last.len(), self.digest));
        self.part += 1;
    }
}

/// The raw values of members that are there, with their names.
fn members(view: &RequestView<'_>, names: &[&str], out: &mut Vec<u8>) {
    for name in names {
        if let Some(value) = view.member(name) {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value);
        }
    }
}

/// Whose block it is, and whether it begins a message: the same text of another speaker is another
/// prompt.
fn tag(section: Section, begins: bool) -> u8 {
    let tag = match section {
        Section::Tools => b't',
        Section::System => b's',
        Section::Message { role, .. } => match role {
            Role::User => b'u',
            Role::Assistant => b'a',
            Role::System => b'i',
            Role::Other => b'o',
        },
    };
    if begins {
        tag.to_ascii_uppercase()
    } else {
        tag
    }
}

/// Bytes of a block, of a string without its quotes.
fn content_len(block: &Block) -> u64 {
    let quotes = match block.shape {
        Shape::Object => 0,
        Shape::BareString => 2,
    };
    (block.span.len() - quotes) as u64
}
