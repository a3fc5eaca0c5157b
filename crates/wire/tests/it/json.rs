//! The scanner against `serde_json`, and the two things it refuses on top: duplicates and depth.

use std::collections::HashSet;
use std::fmt::{self, Write};

use offpeak_wire::json::{JsonErrorKind, MAX_DEPTH, validate};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether some object of a value repeats a key; found with `serde`, not with our scanner.
struct Repeats(bool);

impl<'de> Deserialize<'de> for Repeats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Repeats;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_str<E>(self, _: &str) -> Result<Repeats, E> {
                Ok(Repeats(false))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Repeats, A::Error> {
                let mut found = false;
                while let Some(Repeats(inner)) = seq.next_element()? {
                    found |= inner;
                }
                Ok(Repeats(found))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Repeats, A::Error> {
                let (mut keys, mut found) = (HashSet::new(), false);
                while let Some((key, Repeats(inner))) = map.next_entry::<String, Repeats>()? {
                    found |= inner | !keys.insert(key);
                }
                Ok(Repeats(found))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = validate(bytes);
    if let Err(error) = &ours {
        prop_assert!(error.offset <= bytes.len());
    }
    if serde_json::from_slice::<serde_json::Value>(bytes).is_err() {
        prop_assert!(
            ours.is_err(),
            "we accept {:?}",
            String::from_utf8_lossy(bytes)
        );
        return Ok(());
    }
    let Repeats(repeats) = serde_json::from_slice(bytes).expect("a value is accepted");
    let kind = ours.map_err(|error| error.kind);
    let refused_as_duplicate = matches!(kind, Err(JsonErrorKind::DuplicateKey(_)));
    prop_assert_eq!(refused_as_duplicate, repeats, "{:?}", kind);
    prop_assert!(repeats || kind.is_ok(), "{:?}", kind);
    Ok(())
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        // Around the largest double, but not so near that rounding decides.
        (290..320_i32, "[1-9]{1,15}").prop_map(|(e, m)| format!("{m}e{e}")),
        (295..320_usize).prop_map(|n| format!("1{}", "0".repeat(n))),
        (205..320_usize, 0..100).prop_map(|(n, e)| format!("1{}e{e}", "0".repeat(n))),
        Just("0e99999999999".to_owned()),
        Just("-0.0E-9999".to_owned()),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z é狐🦊\u{7f}]{0,40}".boxed(),
        1 => "\\\\[\"\\\\/bfnrt]".boxed(),
        1 => "\\\\u[0-9a-fA-F]{4}".boxed(),
        1 => "\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}".boxed(),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Few different keys, some spelled in two ways, so that repeats are common.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-e]".prop_map(|k| format!("\"{k}\"")),
        8 => "[a-e][a-z]{1,3}".prop_map(|k| format!("\"{k}\"")),
        1 => "[a-e]".prop_map(|k| format!("\"\\u{:04X}\"", u32::from(k.as_bytes()[0]))),
        1 => Just("\"é\"".to_owned()),
        1 => Just("\"\\u00e9\"".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number(),
        string(),
    ];
    leaf.prop_recursive(4, 60, 24, |inner| {
        let join = |parts: Vec<String>| parts.join(",");
        prop_oneof![
            (space(), prop::collection::vec(inner.clone(), 0..5), space())
                .prop_map(move |(a, parts, b)| format!("[{a}{}{b}]", join(parts))),
            (
                space(),
                prop::collection::vec((key(), space(), inner), 0..24),
                space()
            )
                .prop_map(move |(a, parts, b)| {
                    let parts = parts
                        .into_iter()
                        .map(|(k, s, v)| format!("{s}{k}{s}:{s}{v}{s}"));
                    format!("{{{a}{}{b}}}", join(parts.collect()))
                }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_on_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        agrees(&bytes)?;
    }

    #[test]
    fn agrees_on_json_like_text(text in "[\\[\\]{}:,\"\\\\ue0-9dDcC.+a \n\u{1}-]{0,24}") {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn agrees_on_json(text in document()) {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn agrees_on_damaged_json(
        text in document(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[]:,.-+eE0 utfn\n\0".to_vec())],
        damage in 0..4,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match damage {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => { bytes.remove(at); }
            _ => bytes.truncate(at),
        }
        agrees(&bytes)?;
    }
}

fn kind(text: &str) -> Option<JsonErrorKind> {
    validate(text.as_bytes()).err().map(|error| error.kind)
}

#[test]
fn finds_a_stop_at_every_distance() {
    for length in 0..100 {
        let plain = "é".repeat(length / 2) + &"x".repeat(length % 2);
        assert_eq!(kind(&format!("\"{plain}\"")), None);
        assert_eq!(kind(&format!("[\"{plain}\\n\",\"{plain}\\\"\"]")), None);
        for bad in ["\u{0}", "\u{1f}", "\n", "\\x"] {
            // Nothing else that stops the scan is near.
            let text = format!("\"{plain}{bad}{}\"", "x".repeat(80));
            let error = validate(text.as_bytes()).unwrap_err();
            assert_eq!(error.offset, 1 + plain.len(), "{text:?}");
        }
    }
}

#[test]
fn duplicates_are_compared_unescaped_and_named() {
    let name = |key: &str| Some(JsonErrorKind::DuplicateKey(key.to_owned()));
    assert_eq!(kind(r#"{"a":1,"\u0061":2}"#), name("a"));
    assert_eq!(kind(r#"{"\u0061":1,"a":2}"#), name("a"));
    assert_eq!(kind(r#"[{"x":{"🦊":1,"\ud83e\udd8a":2}}]"#), name("🦊"));
    assert_eq!(kind(r#"{"a":{"a":{}},"A":1}"#), None);
    assert_eq!(kind(r#"{"\\u0061":1,"a":2}"#), None);
    let error = validate(br#"{"k":[0], "k":1}"#).unwrap_err();
    assert_eq!(error.offset, 10);
}

#[test]
fn many_keys_are_not_quadratic() {
    // Pairwise comparison of this many keys would take minutes in a debug build.
    let mut text = String::from("{");
    for index in 0..100_000 {
        write!(text, "\"key-{index}\":0,").expect("writing to a string");
    }
    assert_eq!(kind(&format!("{text}\"last\":0}}")), None);
    assert_eq!(
        kind(&format!("{text}\"key-77\":0}}")),
        Some(JsonErrorKind::DuplicateKey("key-77".to_owned()))
    );
}

#[test]
fn depth_is_bounded_exactly() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(kind(&nested(MAX_DEPTH)), None);
    assert_eq!(kind(&nested(MAX_DEPTH + 1)), Some(JsonErrorKind::TooDeep));
    assert_eq!(
        kind(&"{\"a\":".repeat(100_000)),
        Some(JsonErrorKind::TooDeep)
    );
}

#[test]
fn surrogates_must_pair_and_utf8_must_hold() {
    for lone in [
        r"\ud800",
        r"\udc00",
        r"\ud800\ud800",
        r"\ud800\n",
        r"\ud800x",
        r"\ud83e\u0041",
    ] {
        assert!(kind(&format!("\"{lone}\"")).is_some(), "{lone}");
    }
    let error = validate(b"[\"ok\",\"\xff\"]").unwrap_err();
    assert_eq!((error.offset, error.kind), (7, JsonErrorKind::NotUtf8));
    // Surrogates encoded as UTF-8, and a byte order mark, are no JSON either.
    assert!(validate(b"\"\xed\xa0\x80\"").is_err());
    assert!(kind("\u{feff}{}").is_some());
}
