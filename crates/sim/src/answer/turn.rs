//! Owns what the user said last: the text that `echo` gives back and rules are matched against,
//! and whether it brings the result of a tool.

use offpeak_wire::request::{Block, BlockKind, RequestView, Role, Section, Shape};

use crate::pick;

/// The last user message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'v, 'a> {
    view: &'v RequestView<'a>,
    index: Option<usize>,
}

impl<'v, 'a> Turn<'v, 'a> {
    pub(super) fn last(view: &'v RequestView<'a>) -> Self {
        let index = view
            .blocks()
            .iter()
            .rev()
            .find_map(|block| match block.section {
                Section::Message {
                    index,
                    role: Role::User,
                } => Some(index),
                _ => None,
            });
        Self { view, index }
    }

    fn blocks(self) -> impl Iterator<Item = &'v Block> {
        let own = move |block: &&Block| match block.section {
            Section::Message { index, .. } => Some(index) == self.index,
            Section::Tools | Section::System => false,
        };
        self.view.blocks().iter().filter(own)
    }

    pub(super) fn brings_result(self) -> bool {
        self.blocks()
            .any(|block| block.kind == BlockKind::ToolResult)
    }

    /// Its text blocks, and the text within its tool results, a line each.
    pub(super) fn text(self) -> String {
        let mut out = String::new();
        for block in self.blocks() {
            let raw = &self.view.bytes()[block.span.clone()];
            match (block.kind, block.shape) {
                (_, Shape::BareString) => line(Some(raw), &mut out),
                (BlockKind::Text, _) => line(pick::member(raw, "text"), &mut out),
                (BlockKind::ToolResult, _) => result(raw, &mut out),
                _ => {}
            }
        }
        out
    }
}

fn result(raw: &[u8], out: &mut String) {
    let Some(content) = pick::member(raw, "content") else {
        return;
    };
    if content.first() == Some(&b'"') {
        return line(Some(content), out);
    }
    for block in pick::elements(content) {
        line(pick::member(block, "text"), out);
    }
}

fn line(value: Option<&[u8]>, out: &mut String) {
    let Some(text) = value.and_then(pick::text).filter(|text| !text.is_empty()) else {
        return;
    };
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&text);
}
