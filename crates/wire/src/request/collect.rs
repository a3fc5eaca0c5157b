//! Reading a [`RequestView`] off the bytes while they are being checked.
//!
//! Leaves out judging what is found: values of unexpected types are checked as JSON and passed.

use std::ops::Range;

use super::{Block, BlockKind, MaxTokens, RequestView, Role, RowError, Section, Shape, Ttl};
use crate::json::Scanner;

type Result<T, E = RowError> = std::result::Result<T, E>;

/// A view in the making. The scanner may run over a whole row, of which the request begins at
/// `base`.
pub(super) struct Collector<'a> {
    base: usize,
    view: RequestView<'a>,
}

/// What was seen of one block's members.
struct Seen {
    kind: BlockKind,
    mark: Option<Ttl>,
    markable: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(base: usize) -> Self {
        Self {
            base,
            view: RequestView {
                bytes: &[],
                members: Vec::with_capacity(8),
                blocks: Vec::with_capacity(4),
                model: None,
                inference_geo: None,
                max_tokens: MaxTokens::Missing,
                stream: None,
                auto_mark: None,
                marks: 0,
                images: 0,
                unbounded: None,
            },
        }
    }

    /// Reads the request object that begins at the scanner's position. The view's `bytes` are left
    /// to the caller, who knows where they end.
    pub(super) fn read(mut self, scanner: &mut Scanner<'a>) -> Result<RequestView<'a>> {
        scanner.object(|scanner, key| {
            let start = scanner.pos();
            let name = key.text();
            match &*name {
                "model" => self.view.model = scanner.string_value()?.map(|model| model.text()),
                "inference_geo" => {
                    self.view.inference_geo = scanner.string_value()?.map(|geo| geo.text());
                }
                "max_tokens" => self.view.max_tokens = max_tokens(scanner)?,
                "stream" => self.view.stream = boolean(scanner)?,
                "cache_control" => self.view.auto_mark = mark(scanner)?,
                "tools" => self.tools(scanner)?,
                "system" => self.content(scanner, Section::System)?,
                "messages" => self.messages(scanner)?,
                "mcp_servers" => {
                    let servers = scanner.skip_value()?;
                    if !matches!(scanner.slice(servers), b"null" | b"[]") {
                        self.unbounded("server tool");
                    }
                }
                _ => {
                    scanner.skip_value()?;
                }
            }
            let span = self.span(start, scanner);
            self.view.members.push((name, span));
            Ok::<_, RowError>(())
        })?;
        let order = |block: &Block| match block.section {
            Section::Tools => 0,
            Section::System => 1,
            Section::Message { .. } => 2,
        };
        if !self.view.blocks.is_sorted_by_key(order) {
            self.view.blocks.sort_by_key(order);
        }
        Ok(self.view)
    }

    fn span(&self, start: usize, scanner: &Scanner<'a>) -> Range<usize> {
        start - self.base..scanner.pos() - self.base
    }

    fn unbounded(&mut self, why: &'static str) {
        self.view.unbounded.get_or_insert(why);
    }

    fn push(
        &mut self,
        start: usize,
        scanner: &Scanner<'a>,
        section: Section,
        shape: Shape,
        seen: &Seen,
    ) {
        self.view.blocks.push(Block {
            section,
            span: self.span(start, scanner),
            shape,
            mark: seen.mark,
            kind: seen.kind,
            markable: seen.markable,
        });
    }

    fn tools(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        if scanner.peek() != Some(b'[') {
            scanner.skip_value()?;
            return Ok(());
        }
        scanner.array(|scanner, _| self.tool(scanner))
    }

    fn tool(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        if scanner.peek() != Some(b'{') {
            scanner.skip_value()?;
            return Ok(());
        }
        let start = scanner.pos();
        let mut seen = Seen {
            kind: BlockKind::Tool,
            mark: None,
            markable: false,
        };
        let mut fixed = false;
        scanner.object(|scanner, key| {
            seen.markable |= !fixed;
            match &*key.unescaped() {
                b"type" => {
                    if let Some(why) = scanner
                        .string_value()?
                        .and_then(|kind| unbounded_tool(&kind.text()))
                    {
                        self.unbounded(why);
                    }
                }
                b"cache_control" => {
                    seen.mark = mark(scanner)?;
                    fixed = true;
                }
                b"defer_loading" => fixed |= boolean(scanner)? == Some(true),
                _ => {
                    scanner.skip_value()?;
                }
            }
            Ok::<_, RowError>(())
        })?;
        seen.markable &= !fixed;
        self.view.marks += usize::from(seen.mark.is_some());
        self.push(start, scanner, Section::Tools, Shape::Object, &seen);
        Ok(())
    }

    /// Reads `system` or the `content` of a message: a string or an array of blocks.
    fn content(&mut self, scanner: &mut Scanner<'a>, section: Section) -> Result<()> {
        match scanner.peek() {
            Some(b'"') => {
                let start = scanner.pos();
                let text = scanner.string_value()?;
                let seen = Seen {
                    kind: BlockKind::Text,
                    mark: None,
                    markable: text.is_some_and(|text| !text.raw().is_empty()),
                };
                self.push(start, scanner, section, Shape::BareString, &seen);
                Ok(())
            }
            Some(b'[') => scanner.array(|scanner, _| {
                let start = scanner.pos();
                if let Some(seen) = self.block(scanner)? {
                    self.push(start, scanner, section, Shape::Object, &seen);
                }
                Ok(())
            }),
            _ => {
                scanner.skip_value()?;
                Ok(())
            }
        }
    }

    fn messages(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        if scanner.peek() != Some(b'[') {
            scanner.skip_value()?;
            return Ok(());
        }
        scanner.array(|scanner, index| {
            if scanner.peek() != Some(b'{') {
                scanner.skip_value()?;
                return Ok::<_, RowError>(());
            }
            let first = self.view.blocks.len();
            let mut role = Role::Other;
            scanner.object(|scanner, key| {
                match &*key.unescaped() {
                    b"role" => {
                        role = scanner
                            .string_value()?
                            .map_or(Role::Other, |role| role_of(&role.text()));
                    }
                    b"content" => self.content(scanner, Section::Message { index, role })?,
                    _ => {
                        scanner.skip_value()?;
                    }
                }
                Ok::<_, RowError>(())
            })?;
            // The role may stand after the content.
            for block in &mut self.view.blocks[first..] {
                block.section = Section::Message { index, role };
            }
            Ok(())
        })
    }

    /// Reads a content block, and counts what lies within it. `None` for what is no object.
    fn block(&mut self, scanner: &mut Scanner<'a>) -> Result<Option<Seen>> {
        if scanner.peek() != Some(b'{') {
            scanner.skip_value()?;
            return Ok(None);
        }
        let mut seen = Seen {
            kind: BlockKind::Other,
            mark: None,
            markable: false,
        };
        let (mut fixed, mut empty_text, mut file, mut pdf) = (false, false, false, false);
        scanner.object(|scanner, key| {
            seen.markable = true;
            match &*key.unescaped() {
                b"type" => {
                    if let Some(kind) = scanner.string_value()? {
                        let kind = kind.text();
                        seen.kind = kind_of(&kind);
                        file = kind == "container_upload";
                    }
                }
                b"text" => {
                    empty_text = scanner
                        .string_value()?
                        .is_some_and(|text| text.raw().is_empty());
                }
                b"cache_control" => {
                    seen.mark = mark(scanner)?;
                    fixed = true;
                }
                b"source" => pdf = self.source(scanner)?,
                b"content" => self.nested(scanner)?,
                _ => {
                    scanner.skip_value()?;
                }
            }
            Ok::<_, RowError>(())
        })?;
        match seen.kind {
            BlockKind::Text => fixed |= empty_text,
            BlockKind::Thinking => fixed = true,
            BlockKind::Image => self.view.images += 1,
            BlockKind::Document if pdf => self.unbounded("pdf source"),
            BlockKind::Tool
            | BlockKind::Document
            | BlockKind::ToolUse
            | BlockKind::ToolResult
            | BlockKind::Other => {}
        }
        if file {
            self.unbounded("file source");
        }
        seen.markable &= !fixed;
        self.view.marks += usize::from(seen.mark.is_some());
        Ok(Some(seen))
    }

    /// Reads the `content` of a block: blocks that are not positions of the prompt themselves.
    fn nested(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        if scanner.peek() != Some(b'[') {
            scanner.skip_value()?;
            return Ok(());
        }
        scanner.array(|scanner, _| self.block(scanner).map(drop))
    }

    /// Reads the `source` of an image or document; true if its data is given as base64.
    fn source(&mut self, scanner: &mut Scanner<'a>) -> Result<bool> {
        if scanner.peek() != Some(b'{') {
            scanner.skip_value()?;
            return Ok(false);
        }
        let mut base64 = false;
        scanner.object(|scanner, key| {
            match &*key.unescaped() {
                b"type" => {
                    let kind = scanner.string_value()?;
                    match kind.as_ref().map(|kind| kind.text()).as_deref() {
                        Some("url") => self.unbounded("url source"),
                        Some("file") => self.unbounded("file source"),
                        Some("base64") => base64 = true,
                        _ => {}
                    }
                }
                b"content" => self.nested(scanner)?,
                _ => {
                    scanner.skip_value()?;
                }
            }
            Ok::<_, RowError>(())
        })?;
        Ok(base64)
    }
}

/// Reads a `cache_control` value. Its lifetime is five minutes unless given; one that this version
/// does not know counts as the dearest it knows.
fn mark(scanner: &mut Scanner<'_>) -> Result<Option<Ttl>> {
    if scanner.peek() != Some(b'{') {
        let value = scanner.skip_value()?;
        return Ok((scanner.slice(value) != b"null").then_some(Ttl::FiveMinutes));
    }
    let mut ttl = Ttl::FiveMinutes;
    scanner.object(|scanner, key| {
        if *key.unescaped() == *b"ttl" {
            let value = scanner.string_value()?;
            ttl = match value.as_ref().map(|ttl| ttl.text()).as_deref() {
                None | Some("5m") => Ttl::FiveMinutes,
                Some(_) => Ttl::OneHour,
            };
        } else {
            scanner.skip_value()?;
        }
        Ok::<_, RowError>(())
    })?;
    Ok(Some(ttl))
}

fn boolean(scanner: &mut Scanner<'_>) -> Result<Option<bool>> {
    let value = scanner.skip_value()?;
    Ok(match scanner.slice(value) {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    })
}

fn max_tokens(scanner: &mut Scanner<'_>) -> Result<MaxTokens> {
    let value = scanner.skip_value()?;
    let digits = scanner.slice(value);
    // `u64` also parses a leading `+`, which is no JSON and was refused.
    Ok(std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .map_or(MaxTokens::NotAnInteger, MaxTokens::Value))
}

fn role_of(name: &str) -> Role {
    match name {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => Role::Other,
    }
}

fn kind_of(name: &str) -> BlockKind {
    match name {
        "text" => BlockKind::Text,
        "image" => BlockKind::Image,
        "document" => BlockKind::Document,
        "tool_use" => BlockKind::ToolUse,
        "tool_result" => BlockKind::ToolResult,
        "thinking" | "redacted_thinking" => BlockKind::Thinking,
        _ => BlockKind::Other,
    }
}

/// Tools with a `type` bring a definition, and server tools results, that the request does not
/// hold (Anthropic docs, pricing of tool use). A type this version does not know counts as a
/// server tool.
fn unbounded_tool(kind: &str) -> Option<&'static str> {
    const CLIENT_SIDE: [&str; 5] = ["bash_", "text_editor_", "memory_", "computer_", "browser_"];
    if kind == "custom" {
        None
    } else if CLIENT_SIDE.iter().any(|prefix| kind.starts_with(prefix)) {
        Some("built-in tool")
    } else {
        Some("server tool")
    }
}
