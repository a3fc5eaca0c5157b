//! Requests written in every way the API takes them, next to what a view must say of them.
//!
//! The model is built from the parts, not read back from the bytes.

use offpeak_wire::request::{BlockKind, Role, Section, Shape, Ttl};
use proptest::prelude::*;

/// A block as written, and what must be seen of it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) kind: BlockKind,
    pub(crate) mark: Option<Ttl>,
    pub(crate) markable: bool,
    pub(crate) shape: Shape,
}

/// A request as written, with the blocks in prompt order.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) blocks: Vec<(Section, Part)>,
}

/// A `cache_control` member in one of its spellings, or none.
fn control() -> impl Strategy<Value = (Option<&'static str>, Option<Ttl>)> {
    prop_oneof![
        6 => Just((None, None)),
        1 => Just((Some("null"), None)),
        1 => Just((Some(r#"{"type":"ephemeral"}"#), Some(Ttl::FiveMinutes))),
        1 => Just((Some(r#"{ "ttl" : null, "type":"ephemeral"}"#), Some(Ttl::FiveMinutes))),
        1 => Just((Some(r#"{"type":"ephemeral","ttl":"5m"}"#), Some(Ttl::FiveMinutes))),
        1 => Just((Some(r#"{"ttl":"1h","type":"ephemeral"}"#), Some(Ttl::OneHour))),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(""), 1 => Just(" "), 1 => Just("\n\t")]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        5 => "[a-zé狐 {}\\[\\],:]{1,50}",
        2 => "[a-z]{0,9}(\\\\n|\\\\\"|\\\\\\\\|\\\\u00e9)[a-z]{0,9}",
    ]
}

/// An object of these members in any order, with white space anywhere.
fn object(members: Vec<String>) -> impl Strategy<Value = String> {
    (Just(members).prop_shuffle(), space(), space())
        .prop_map(|(members, a, b)| format!("{{{a}{}{b}}}", members.join(&format!("{b},{a}"))))
}

fn part(
    kind: BlockKind,
    members: Vec<String>,
    control: (Option<&'static str>, Option<Ttl>),
    can_be_marked: bool,
) -> impl Strategy<Value = Part> {
    let mut members = members;
    members.extend(control.0.map(|value| format!("\"cache_control\": {value}")));
    object(members).prop_map(move |text| Part {
        text,
        kind,
        mark: control.1,
        markable: can_be_marked && control.0.is_none(),
        shape: Shape::Object,
    })
}

fn tool() -> impl Strategy<Value = Part> {
    (control(), any::<bool>()).prop_flat_map(|(control, deferred)| {
        let mut members = vec![
            r#""name":"look""#.to_owned(),
            r#""input_schema":{"type":"object","properties":{"cache_control":{}}}"#.to_owned(),
        ];
        if deferred {
            members.push("\"defer_loading\":true".to_owned());
        }
        part(BlockKind::Tool, members, control, !deferred)
    })
}

fn text_block() -> impl Strategy<Value = Part> {
    (text(), control()).prop_flat_map(|(text, control)| {
        let members = vec![
            "\"type\":\"text\"".to_owned(),
            format!("\"text\":\"{text}\""),
        ];
        part(BlockKind::Text, members, control, !text.is_empty())
    })
}

fn other_block() -> impl Strategy<Value = Part> {
    let of = |kind: BlockKind, name: &str, rest: &[&str]| {
        let mut members = vec![format!("\"type\":\"{name}\"")];
        members.extend(rest.iter().map(ToString::to_string));
        (kind, members)
    };
    let plain_document = r#""source":{"type":"text","media_type":"text/plain","data":"x"}"#;
    let image = r#""source":{"type":"base64","media_type":"image/png","data":"AAAA"}"#;
    let thinking = [r#""thinking":"hm""#, r#""signature":"s""#];
    let kinds = vec![
        of(BlockKind::Image, "image", &[image]),
        of(BlockKind::Document, "document", &[plain_document]),
        of(
            BlockKind::ToolUse,
            "tool_use",
            &[r#""id":"t""#, r#""input":{"type":"text"}"#],
        ),
        of(
            BlockKind::ToolResult,
            "tool_result",
            &[r#""content":[{"type":"text","text":"a"}]"#],
        ),
        of(BlockKind::Thinking, "thinking", &thinking),
        of(BlockKind::Thinking, "redacted_thinking", &[r#""data":"x""#]),
        of(
            BlockKind::Other,
            "search_result",
            &[r#""source":"https://x""#],
        ),
    ];
    (prop::sample::select(kinds), control()).prop_flat_map(|((kind, members), control)| {
        part(kind, members, control, kind != BlockKind::Thinking)
    })
}

fn bare(text: &str) -> Part {
    Part {
        text: format!("\"{text}\""),
        kind: BlockKind::Text,
        mark: None,
        markable: !text.is_empty(),
        shape: Shape::BareString,
    }
}

fn list(parts: &[Part], space: &str) -> String {
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    format!("[{space}{}{space}]", texts.join(&format!(",{space}")))
}

/// A string or an array of blocks: its text and its parts.
fn content(block: BoxedStrategy<Part>) -> BoxedStrategy<(String, Vec<Part>)> {
    prop_oneof![
        1 => text().prop_map(|text| {
            let part = bare(&text);
            (part.text.clone(), vec![part])
        }),
        2 => (prop::collection::vec(block, 0..4), space())
            .prop_map(|(parts, space)| (list(&parts, space), parts)),
    ]
    .boxed()
}

fn message() -> impl Strategy<Value = (String, Role, Vec<Part>)> {
    let roles = prop::sample::select(vec![
        ("user", Role::User),
        ("assistant", Role::Assistant),
        ("system", Role::System),
    ]);
    let block = prop_oneof![text_block(), other_block()].boxed();
    (roles, content(block)).prop_flat_map(|((name, role), (text, parts))| {
        let members = vec![
            format!("\"role\":\"{name}\""),
            format!("\"content\":{text}"),
        ];
        object(members).prop_map(move |text| (text, role, parts.clone()))
    })
}

/// Any request, its members in any order.
pub(crate) fn written() -> impl Strategy<Value = Written> {
    (
        prop::option::of(prop::collection::vec(tool(), 0..3)),
        prop::option::of(content(text_block().boxed())),
        prop::collection::vec(message(), 0..4),
    )
        .prop_flat_map(|(tools, system, messages)| {
            let mut members = vec![
                r#""model":"claude-haiku-5-5""#.to_owned(),
                r#""max_tokens": 512"#.to_owned(),
                r#""future":{"tools":[{}],"x":[1.50,-0e1]}"#.to_owned(),
            ];
            let mut blocks = Vec::new();
            if let Some(tools) = tools {
                members.push(format!("\"tools\":{}", list(&tools, " ")));
                blocks.extend(tools.into_iter().map(|part| (Section::Tools, part)));
            }
            if let Some((text, parts)) = system {
                members.push(format!("\"system\":{text}"));
                blocks.extend(parts.into_iter().map(|part| (Section::System, part)));
            }
            let mut texts = Vec::new();
            for (index, (text, role, parts)) in messages.into_iter().enumerate() {
                texts.push(text);
                let section = Section::Message { index, role };
                blocks.extend(parts.into_iter().map(|part| (section, part)));
            }
            members.push(format!("\"messages\":[{}]", texts.join(" , ")));
            object(members).prop_map(move |text| Written {
                text,
                blocks: blocks.clone(),
            })
        })
}
