//! Views say what was written, and rows are read in one pass.

use offpeak_wire::json::JsonErrorKind;
use offpeak_wire::request::{
    BlockKind, MaxTokens, RequestView, RowError, RowErrorKind, RowLine, Shape, Ttl,
};
use proptest::prelude::*;

use crate::written::written;

fn view(params: &str) -> RequestView<'_> {
    RequestView::parse(params.as_bytes()).expect("a readable request")
}

proptest! {
    #[test]
    fn a_view_says_what_was_written(request in written(), id in "[a-z]{1,9}", space in "[ \t]{0,2}") {
        let view = view(&request.text);
        prop_assert_eq!(view.bytes(), request.text.as_bytes());
        prop_assert_eq!(view.blocks().len(), request.blocks.len());
        for (seen, (section, part)) in view.blocks().iter().zip(&request.blocks) {
            prop_assert_eq!(&request.text[seen.span.clone()], &part.text);
            prop_assert_eq!(seen.section, *section);
            prop_assert_eq!((seen.kind, seen.mark), (part.kind, part.mark));
            prop_assert_eq!((seen.markable, seen.shape), (part.markable, part.shape));
        }
        let marked = request.blocks.iter().filter(|(_, part)| part.mark.is_some()).count();
        prop_assert_eq!(view.marks(), marked);
        prop_assert_eq!(view.max_tokens(), MaxTokens::Value(512));

        let value: serde_json::Value = serde_json::from_str(&request.text).unwrap();
        let members: Vec<_> = view.members().collect();
        prop_assert_eq!(members.len(), value.as_object().unwrap().len());
        for (key, span) in members {
            let raw = view.member(key).unwrap();
            prop_assert_eq!(raw, &request.text.as_bytes()[span]);
            let member: serde_json::Value = serde_json::from_slice(raw).unwrap();
            prop_assert_eq!(&member, &value[key]);
        }

        // Within a row the same view appears, wherever the row puts it.
        for line in [
            format!("{{{space}\"custom_id\":\"{id}\",\"params\":{space}{} }}\r", request.text),
            format!("{space}{{\"params\":{},\"custom_id\":\"{id}\"}}", request.text),
        ] {
            let (row, within) = RowLine::parse_with_view(line.as_bytes()).unwrap();
            prop_assert_eq!(&line[row.params.clone()], &request.text);
            prop_assert_eq!(row.custom_id.as_deref(), Some(&*id));
            prop_assert_eq!(&within, &view);
            prop_assert_eq!(RowLine::parse(line.as_bytes()).unwrap(), row);
        }
    }

    #[test]
    fn another_max_tokens_changes_its_digits_and_no_other_byte(request in written(), larger in any::<u32>()) {
        let other = view(&request.text).with_max_tokens(larger).unwrap();
        let other = String::from_utf8(other).unwrap();
        prop_assert_eq!(view(&other).max_tokens(), MaxTokens::Value(larger.into()));
        // The number of the request stands alone in it, so it can be put back by its text.
        let (before, after) = other.split_once(&format!("\"max_tokens\": {larger}")).unwrap();
        prop_assert_eq!(format!("{before}\"max_tokens\": 512{after}"), request.text);
    }

    #[test]
    fn a_row_and_its_view_agree_on_damage(request in written(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = format!("{{\"custom_id\":\"a\",\"params\":{}}}", request.text).into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        let plain = RowLine::parse(&line);
        let both = RowLine::parse_with_view(&line).map(|(row, _)| row);
        prop_assert_eq!(&plain, &both);
        if let Ok(row) = plain {
            prop_assert!(RequestView::parse(&line[row.params]).is_ok());
        }
    }
}

#[test]
fn a_row_names_what_is_wrong_with_it() {
    let fails = |line: &str| RowLine::parse_with_view(line.as_bytes()).unwrap_err();
    let wrong = |member, wanted| RowErrorKind::WrongType { member, wanted };
    let at = |offset, kind| RowError { offset, kind };

    assert_eq!(
        fails(r#"{"custom_id":"a"}"#).kind,
        RowErrorKind::MissingMember("params")
    );
    assert_eq!(
        fails(r#"{"model":"m","messages":[]}"#),
        at(1, RowErrorKind::UnknownMember("model".into()))
    );
    assert_eq!(
        fails(r#"{"custom_id": 7}"#),
        at(14, wrong("`custom_id`", "a string"))
    );
    assert_eq!(
        fails(r#"{"params":[]}"#),
        at(10, wrong("`params`", "an object"))
    );
    assert_eq!(fails(" [1]"), at(1, wrong("a row", "an object")));
    assert_eq!(
        fails(r#"{"params":{"a":1,"a":2}}"#),
        at(
            17,
            RowErrorKind::Json(JsonErrorKind::DuplicateKey("a".into()))
        )
    );
    let twice = fails(r#"{"params":{},"params":{}}"#).kind;
    assert_eq!(
        twice,
        RowErrorKind::Json(JsonErrorKind::DuplicateKey("params".into()))
    );
    for broken in [
        "",
        "{",
        "[1",
        r#"{"params":{}} x"#,
        r#"{"params":{}"#,
        "nul",
    ] {
        assert!(
            matches!(
                fails(broken).kind,
                RowErrorKind::Json(JsonErrorKind::Syntax(_))
            ),
            "{broken}"
        );
    }
    assert_eq!(
        fails(r#"{"custom_id":7}"#).to_string(),
        "`custom_id` must be a string (at byte 13)"
    );
}

#[test]
fn a_row_may_leave_its_id_out_and_escape_its_keys() {
    let (row, view) =
        RowLine::parse_with_view(br#"{"custom_id":null,"\u0070arams":{"model":"m\u0031"}}"#)
            .unwrap();
    assert_eq!(row.custom_id, None);
    assert_eq!(view.model(), Some("m1"));
    let row = RowLine::parse(br#"{"params":{},"custom_id":"a\"\u00e9"}"#).unwrap();
    assert_eq!(row.custom_id.as_deref(), Some("a\"é"));
}

#[test]
fn odd_members_are_shown_as_absent_not_refused() {
    let odd = view(
        r#"{"model":5,"stream":"yes","inference_geo":null,"tools":{},"system":null,
            "messages":[1,{"content":7},{"role":"tool","content":[3,{}]}],"cache_control":null}"#,
    );
    assert_eq!((odd.model(), odd.stream()), (None, None));
    assert_eq!((odd.inference_geo(), odd.auto_cache()), (None, false));
    assert_eq!(odd.blocks().len(), 1);
    assert_eq!(odd.blocks()[0].kind, BlockKind::Other);
    assert!(!odd.blocks()[0].markable);
    assert_eq!(odd.max_tokens(), MaxTokens::Missing);
    assert_eq!(odd.with_max_tokens(7), None);

    assert_eq!(view(r#"{"stream":false}"#).stream(), Some(false));
    assert_eq!(
        view(r#"{"inference_geo":"us"}"#).inference_geo(),
        Some("us")
    );
    let auto = view(r#"{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#);
    assert_eq!((auto.auto_mark(), auto.marks()), (Some(Ttl::OneHour), 0));
    for (text, expected) in [
        ("0", MaxTokens::Value(0)),
        ("18446744073709551615", MaxTokens::Value(u64::MAX)),
        ("18446744073709551616", MaxTokens::NotAnInteger),
        ("-1", MaxTokens::NotAnInteger),
        ("1.0", MaxTokens::NotAnInteger),
        ("1e3", MaxTokens::NotAnInteger),
        ("\"1\"", MaxTokens::NotAnInteger),
        ("null", MaxTokens::NotAnInteger),
    ] {
        assert_eq!(
            view(&format!("{{\"max_tokens\":{text}}}")).max_tokens(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn prompt_order_does_not_follow_the_bytes() {
    let text = r#"{"messages":[{"content":"m0","role":"user"},{"role":"assistant","content":"m1"}],
                   "system":"s","tools":[{"name":"t"},{"name":"u"}]}"#;
    let view = view(text);
    let spans: Vec<&str> = view
        .blocks()
        .iter()
        .map(|b| &text[b.span.clone()])
        .collect();
    assert_eq!(
        spans,
        [
            r#"{"name":"t"}"#,
            r#"{"name":"u"}"#,
            "\"s\"",
            "\"m0\"",
            "\"m1\""
        ]
    );
    assert_eq!(view.blocks()[2].shape, Shape::BareString);
}

#[test]
fn marks_and_images_within_blocks_count() {
    let view = view(
        r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[
            {"type":"text","text":"a","cache_control":{"type":"ephemeral"}},
            {"type":"image","source":{"type":"base64","data":""}}]},
            {"type":"image","source":{"type":"base64","data":""}}]}]}"#,
    );
    assert_eq!(
        (view.marks(), view.images(), view.blocks().len()),
        (1, 2, 2)
    );
    assert_eq!(view.blocks()[0].mark, None);
    assert_eq!(view.unbounded_input(), None);
}

#[test]
fn input_that_its_bytes_do_not_bound_is_named() {
    let tools = |tool: &str| format!("{{\"tools\":[{tool}]}}");
    let block = |block: &str| format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    for (text, expected) in [
        (tools(r#"{"name":"f"}"#), None),
        (tools(r#"{"type":"custom","name":"f"}"#), None),
        (
            tools(r#"{"type":"web_search_20260318","name":"web_search"}"#),
            Some("server tool"),
        ),
        (
            tools(r#"{"type":"bash_20250124","name":"bash"}"#),
            Some("built-in tool"),
        ),
        (r#"{"mcp_servers":[{}]}"#.to_owned(), Some("server tool")),
        (r#"{"mcp_servers":[]}"#.to_owned(), None),
        (
            block(r#"{"type":"image","source":{"type":"url","url":"x"}}"#),
            Some("url source"),
        ),
        (
            block(r#"{"source":{"file_id":"f","type":"file"},"type":"document"}"#),
            Some("file source"),
        ),
        (
            block(r#"{"type":"container_upload","file_id":"f"}"#),
            Some("file source"),
        ),
        (
            block(r#"{"source":{"type":"base64","data":""},"type":"document"}"#),
            Some("pdf source"),
        ),
        (
            block(r#"{"type":"tool_result","content":[{"type":"image","source":{"type":"url"}}]}"#),
            Some("url source"),
        ),
        (
            block(
                r#"{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"file"}}]}}"#,
            ),
            Some("file source"),
        ),
        // Data that merely looks like a source.
        (
            block(r#"{"type":"tool_use","input":{"source":{"type":"url"}}}"#),
            None,
        ),
        (
            block(r#"{"type":"search_result","source":"https://x","content":[]}"#),
            None,
        ),
    ] {
        assert_eq!(view(&text).unbounded_input(), expected, "{text}");
    }
}

#[test]
fn blocks_within_blocks_end_at_the_depth_limit() {
    let nested = |levels: usize| {
        let open = r#"{"type":"tool_result","content":["#.repeat(levels);
        let messages = format!(r#"[{{"content":[{open}{}]}}]"#, "]}".repeat(levels));
        RequestView::parse(format!("{{\"messages\":{messages}}}").as_bytes()).map(|_| ())
    };
    // The request, its messages, the message and its content are four levels, a block two.
    assert_eq!(nested(62), Ok(()));
    let too_deep = RowErrorKind::Json(JsonErrorKind::TooDeep);
    assert_eq!(nested(63).map_err(|error| error.kind), Err(too_deep));
}
