//! Owns walking through JSON that has already been validated: the elements of an array, the
//! members of an object, the text of a string, as slices of the same bytes. It checks nothing;
//! `offpeak_wire::json::validate` does, before.

use std::borrow::Cow;

use memchr::memchr2;

/// The elements of a JSON array; nothing for any other value.
pub(crate) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk::into(array, b'[');
    std::iter::from_fn(move || {
        walk.next_item(b']').then(|| {
            let start = walk.at;
            walk.skip_value();
            &array[start..walk.at]
        })
    })
}

/// The members of a JSON object as (key between its quotes, value); nothing for any other value.
pub(crate) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut walk = Walk::into(object, b'{');
    std::iter::from_fn(move || {
        walk.next_item(b'}').then(|| {
            let key = walk.at;
            walk.skip_value();
            let key = &object[key + 1..walk.at - 1];
            walk.skip_gap();
            let start = walk.at;
            walk.skip_value();
            (key, &object[start..walk.at])
        })
    })
}

/// The value of the first member with this (unescaped) key.
pub(crate) fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    members(object)
        .find(|(name, _)| *name == key.as_bytes())
        .map(|(_, value)| value)
}

/// What a local JSON pointer (`#/…`) points at.
pub(crate) fn pointer<'a>(root: &'a [u8], pointer: &str) -> Option<&'a [u8]> {
    let mut at = root;
    for step in pointer.strip_prefix('#')?.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        at = match at.first() {
            Some(b'[') => elements(at).nth(step.parse().ok()?)?,
            _ => members(at).find(|(key, _)| is_key(key, &step))?.1,
        };
    }
    Some(at)
}

/// Whether the inside of a JSON string is this text.
fn is_key(inside: &[u8], text: &str) -> bool {
    if inside.contains(&b'\\') {
        let quoted = [b"\"", inside, b"\""].concat();
        return serde_json::from_slice::<String>(&quoted).is_ok_and(|key| key == text);
    }
    inside == text.as_bytes()
}

/// The text of a JSON string; `None` for any other value.
pub(crate) fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(value).ok().map(Cow::Owned)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Just behind the opening bracket, or at the end if the value opens otherwise.
    fn into(bytes: &'a [u8], open: u8) -> Self {
        let mut walk = Self { bytes, at: 0 };
        walk.skip_gap();
        walk.at = match walk.peek() {
            Some(byte) if byte == open => walk.at + 1,
            _ => bytes.len(),
        };
        walk
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips white space, commas and colons.
    fn skip_gap(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n,:".contains(&byte)) {
            self.at += 1;
        }
    }

    /// Moves to the next item; false at the closing bracket.
    fn next_item(&mut self, close: u8) -> bool {
        self.skip_gap();
        self.peek().is_some_and(|byte| byte != close)
    }

    fn skip_value(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                None => return,
                Some(b'"') => self.skip_string(),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                Some(_) if depth == 0 => self.skip_plain(),
                Some(_) => self.at += 1,
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips a number or a literal.
    fn skip_plain(&mut self) {
        while self
            .peek()
            .is_some_and(|byte| !b" \t\r\n,:]}".contains(&byte))
        {
            self.at += 1;
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(offset) = memchr2(b'"', b'\\', &self.bytes[self.at..]) {
            self.at += offset;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return;
            }
            self.at += 2;
        }
        self.at = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn nothing_is_lost_at_brackets_within_strings() {
        let object = br#" { "a" : [1, "]", {"b":"}"} ] , "c\"d":"x\\", "e":-1.5e3 , "f":null}"#;
        let found: Vec<_> = members(object).collect();
        assert_eq!(
            found,
            [
                (&b"a"[..], &br#"[1, "]", {"b":"}"} ]"#[..]),
                (br#"c\"d"#, br#""x\\""#),
                (b"e", b"-1.5e3"),
                (b"f", b"null"),
            ]
        );
        assert_eq!(elements(found[0].1).count(), 3);
        assert_eq!(
            elements(b"{}").count() + members(b"[]").count() + elements(b"[ ]").count(),
            0
        );
        assert_eq!(text(br#""a\u00e9\n""#).as_deref(), Some("aé\n"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn walks_as_serde_reads(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
            let text = text.unwrap();
            let parse = |raw: &[u8]| serde_json::from_slice::<Value>(raw).unwrap();
            match &value {
                Value::Array(items) => {
                    prop_assert_eq!(&elements(&text).map(parse).collect::<Vec<_>>(), items);
                }
                Value::Object(map) => {
                    let found: Vec<Value> = members(&text).map(|(_, v)| parse(v)).collect();
                    prop_assert_eq!(&found, &map.values().cloned().collect::<Vec<_>>());
                }
                _ => {}
            }
        }
    }
}
