//! A request's view against an independent reading of the same bytes, and what becomes of it when a mark is spliced in.

use offpeak_wire::json::{self, JsonErrorKind};
use offpeak_wire::request::{RequestView, RowErrorKind, RowLine, Section, Shape, Ttl};
use offpeak_wire::splice::MarkPoint;
use serde_json::Value;

/// `RequestView`, `RowLine` and `MarkPoint`, over any bytes.
///
/// # Panics
///
/// Where they disagree with `serde_json` or with each other.
pub fn request(data: &[u8]) {
    let tree = tree(data);
    match (RequestView::parse(data), tree) {
        (Ok(view), Some(tree)) => {
            let tree = tree.as_object().expect("a request is an object");
            assert_eq!(view.bytes(), data);
            assert_eq!(view.members().count(), tree.len());
            for (key, span) in view.members() {
                assert_eq!(parse(&data[span]), tree[key]);
            }
            blocks(&view);
            marks(&view);
            within_a_row(&view);
        }
        // Repeated keys are refused here, and nowhere else.
        (Err(error), Some(Value::Object(_))) => {
            let repeated = RowErrorKind::Json(JsonErrorKind::DuplicateKey(String::new()));
            assert_eq!(
                std::mem::discriminant(&error.kind),
                std::mem::discriminant(&repeated),
                "{error}"
            );
        }
        (Ok(_), None) | (Err(_), _) => {}
    }
}

/// What `serde_json` makes of the bytes. `None` where it gives up at a depth that we still take.
fn tree(data: &[u8]) -> Option<Value> {
    match (json::validate(data), serde_json::from_slice::<Value>(data)) {
        (Ok(()), Ok(tree)) => Some(tree),
        (Ok(()), Err(error)) => {
            assert!(error.to_string().contains("recursion limit"), "{error}");
            None
        }
        (Err(error), Ok(tree)) => {
            assert!(
                matches!(error.kind, JsonErrorKind::DuplicateKey(_)),
                "{error}"
            );
            Some(tree)
        }
        (Err(_), Err(_)) => None,
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("a part of valid JSON is valid JSON")
}

/// Blocks come in prompt order and are whole values.
fn blocks(view: &RequestView<'_>) {
    let place = |section: Section| match section {
        Section::Tools => (0, 0),
        Section::System => (1, 0),
        Section::Message { index, .. } => (2, index),
    };
    let blocks = view.blocks();
    assert!(blocks.is_sorted_by_key(|block| place(block.section)));
    for block in blocks {
        let value = parse(&view.bytes()[block.span.clone()]);
        match block.shape {
            Shape::BareString => assert!(value.is_string()),
            Shape::Object => assert!(value.is_object()),
        }
    }
    let marked = blocks.iter().filter(|block| block.mark.is_some()).count();
    assert!(marked <= view.marks());
}

/// A spliced mark is one more mark on that block, and no other change.
fn marks(view: &RequestView<'_>) {
    for (index, block) in view.blocks().iter().enumerate().take(8) {
        let Some(point) = MarkPoint::of(block) else {
            continue;
        };
        let ttl = if index % 2 == 0 {
            Ttl::OneHour
        } else {
            Ttl::FiveMinutes
        };
        let bytes = point.apply(view.bytes(), ttl);
        assert_eq!(bytes.len(), view.bytes().len() + point.added_len(ttl));
        let marked = match RequestView::parse(&bytes) {
            Ok(marked) => marked,
            // The mark itself may be the level too many.
            Err(error) => {
                assert_eq!(
                    error.kind,
                    RowErrorKind::Json(JsonErrorKind::TooDeep),
                    "{error}"
                );
                continue;
            }
        };
        assert_eq!(marked.marks(), view.marks() + 1);
        assert_eq!(marked.blocks().len(), view.blocks().len());
        for (at, (before, after)) in view.blocks().iter().zip(marked.blocks()).enumerate() {
            assert_eq!((before.section, before.kind), (after.section, after.kind));
            assert_eq!(
                after.mark,
                if at == index { Some(ttl) } else { before.mark }
            );
        }
    }
}

/// The same request within a row is the same view.
fn within_a_row(view: &RequestView<'_>) {
    let head = br#"{"custom_id":"a","params":"#;
    let line = [head, view.bytes(), b"}"].concat();
    match RowLine::parse_with_view(&line) {
        Ok((row, inner)) => {
            assert_eq!(row.custom_id.as_deref(), Some("a"));
            let inset = &line[row.params];
            assert_eq!(inset, view.bytes().trim_ascii());
            let members = |view: &RequestView<'_>| -> Vec<_> {
                view.members().map(|(key, _)| key.to_owned()).collect()
            };
            assert_eq!(members(&inner), members(view));
            assert_eq!(inner.blocks().len(), view.blocks().len());
            assert_eq!(inner.marks(), view.marks());
        }
        Err(error) => {
            assert_eq!(
                error.kind,
                RowErrorKind::Json(JsonErrorKind::TooDeep),
                "{error}"
            );
        }
    }
}
