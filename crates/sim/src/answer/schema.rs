//! Owns making up JSON that conforms to a JSON Schema, from a seed. The schema is walked as bytes,
//! so that members come in the order in which it lists them.
//!
//! Takes every keyword that structured outputs allow, and of the others that tools may have: value
//! and length bounds, `multipleOf`, `oneOf`, `pattern`, `uniqueItems`, `prefixItems`. Leaves out
//! conditions (`not`, `if`, `dependent…`, `contains`, `patternProperties`): a schema that hangs on
//! them may get a value that does not conform.

mod strings;

use crate::dice::Sequence;
use crate::pick;
use crate::text;

/// From here on only what must be there is generated.
const DEEP: usize = 6;
/// A schema that demands more than this has no finite value.
const BOTTOM: usize = 40;
/// Tries to find another value for an array of unique ones.
const TRIES: usize = 12;

/// A value that conforms.
pub(super) fn value(schema: &[u8], seed: u64) -> String {
    let mut generator = Generator {
        root: schema,
        dice: Sequence::new(seed),
        out: Vec::new(),
    };
    generator.value(vec![schema], 0);
    String::from_utf8(generator.out).expect("pieces of a UTF-8 schema and ASCII")
}

/// An object that conforms, whatever else the schema would allow.
pub(super) fn object(schema: &[u8], seed: u64) -> String {
    let text = value(schema, seed);
    if text.starts_with('{') {
        text
    } else {
        "{}".to_owned()
    }
}

struct Generator<'a> {
    root: &'a [u8],
    dice: Sequence,
    out: Vec<u8>,
}

/// A set of JSON types.
type Types = u8;
const NULL: Types = 1;
const BOOLEAN: Types = 2;
const INTEGER: Types = 4;
const NUMBER: Types = 8;
const STRING: Types = 16;
const ARRAY: Types = 32;
const OBJECT: Types = 64;
const ANY: Types = 127;

/// The schemas that a value has to conform to all at once.
type Parts<'a> = Vec<&'a [u8]>;

impl<'a> Generator<'a> {
    fn value(&mut self, schemas: Parts<'a>, depth: usize) {
        let parts = self.resolve(schemas, depth);
        if let Some(value) = find(&parts, "const") {
            return self.out.extend_from_slice(value);
        }
        let types = types(&parts);
        if let Some(list) = find(&parts, "enum") {
            let fitting: Vec<&[u8]> = pick::elements(list)
                .filter(|value| type_of(value) & types != 0)
                .collect();
            if let Some(value) = fitting.get(self.dice.below(fitting.len())) {
                return self.out.extend_from_slice(value);
            }
        }
        match self.choose(types, depth) {
            OBJECT => self.object(&parts, depth),
            ARRAY => self.array(&parts, depth),
            STRING => strings::write(&parts, &mut self.dice, &mut self.out),
            INTEGER => self.number(&parts, true),
            NUMBER => self.number(&parts, false),
            BOOLEAN => {
                let value: &[u8] = if self.dice.below(2) == 0 {
                    b"true"
                } else {
                    b"false"
                };
                self.out.extend_from_slice(value);
            }
            _ => self.out.extend_from_slice(b"null"),
        }
    }

    /// Follows references, gathers `allOf`, and decides for one branch of every choice.
    fn resolve(&mut self, schemas: Parts<'a>, depth: usize) -> Parts<'a> {
        let mut waiting = schemas;
        let mut parts = Parts::new();
        let mut steps = 0;
        while let Some(schema) = waiting.pop() {
            steps += 1;
            // A reference to itself ends here.
            if steps > 2 * BOTTOM {
                break;
            }
            parts.push(schema);
            if let Some(pointer) = pick::member(schema, "$ref").and_then(pick::text) {
                waiting.extend(pick::pointer(self.root, &pointer));
            }
            waiting.extend(pick::elements(
                pick::member(schema, "allOf").unwrap_or_default(),
            ));
            for key in ["anyOf", "oneOf"] {
                let branches: Parts<'a> =
                    pick::elements(pick::member(schema, key).unwrap_or_default()).collect();
                let plain: Parts<'a> = branches.iter().copied().filter(|b| is_plain(b)).collect();
                let from = if depth >= DEEP && !plain.is_empty() {
                    plain
                } else {
                    branches
                };
                if !from.is_empty() {
                    waiting.push(from[self.dice.below(from.len())]);
                }
            }
        }
        parts
    }

    fn choose(&mut self, types: Types, depth: usize) -> Types {
        let mut of: Vec<Types> = [OBJECT, ARRAY, STRING, NUMBER, INTEGER, BOOLEAN, NULL]
            .into_iter()
            .filter(|kind| types & kind != 0)
            .collect();
        if depth >= BOTTOM || of.is_empty() {
            return NULL;
        }
        if types == ANY {
            return STRING;
        }
        if depth >= DEEP {
            let flat: Vec<Types> = of
                .iter()
                .copied()
                .filter(|k| k & (OBJECT | ARRAY) == 0)
                .collect();
            if !flat.is_empty() {
                of = flat;
            }
        } else if of.len() > 1 && of.last() == Some(&NULL) && self.dice.below(4) > 0 {
            of.pop();
        }
        of[self.dice.below(of.len())]
    }

    fn object(&mut self, parts: &Parts<'a>, depth: usize) {
        let required: Vec<&[u8]> = all(parts, "required").flat_map(pick::elements).collect();
        let is_required = |key: &[u8]| required.iter().any(|name| same(name, key));
        let mut listed: Vec<(&'a [u8], Parts<'a>)> = Vec::new();
        for (key, schema) in all(parts, "properties").flat_map(pick::members) {
            match listed.iter_mut().find(|(name, _)| *name == key) {
                Some((_, schemas)) => schemas.push(schema),
                None => listed.push((key, vec![schema])),
            }
        }
        let open = find(parts, "additionalProperties").is_none_or(|value| value != b"false");
        let unlisted = required
            .iter()
            .filter(|name| open && !listed.iter().any(|(key, _)| same(name, key)))
            .filter_map(|name| name.strip_prefix(b"\"")?.strip_suffix(b"\""))
            .collect::<Vec<_>>();
        let rest = find(parts, "additionalProperties").filter(|value| value.first() == Some(&b'{'));
        self.out.push(b'{');
        let mut first = true;
        for (key, schemas) in listed {
            if is_required(key) || (depth < DEEP && self.dice.below(4) > 0) {
                self.key(key, &mut first);
                self.value(schemas, depth + 1);
            }
        }
        for key in unlisted {
            self.key(key, &mut first);
            self.value(rest.into_iter().collect(), depth + 1);
        }
        if let Some(schema) = rest.filter(|_| first && depth < DEEP) {
            let key = text::noun(&mut self.dice);
            self.key(key.as_bytes(), &mut first);
            self.value(vec![schema], depth + 1);
        }
        self.out.push(b'}');
    }

    fn key(&mut self, key: &[u8], first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
    }

    fn array(&mut self, parts: &Parts<'a>, depth: usize) {
        let least = largest(parts, "minItems").unwrap_or(0);
        let most = smallest(parts, "maxItems").unwrap_or(usize::MAX);
        let prefix: Vec<&'a [u8]> = all(parts, "prefixItems").flat_map(pick::elements).collect();
        let items: Parts<'a> = all(parts, "items").collect();
        let closed = items.contains(&&b"false"[..]);
        let wish = if depth >= DEEP {
            least
        } else {
            1 + self.dice.below(3)
        };
        let mut count = wish.max(prefix.len()).max(least).min(most);
        if closed {
            count = count.min(prefix.len());
        }
        let unique = all(parts, "uniqueItems").any(|value| value == b"true");
        let mut seen: Vec<Vec<u8>> = Vec::new();
        self.out.push(b'[');
        for index in 0..count {
            let before = self.out.len();
            if index > 0 {
                self.out.push(b',');
            }
            let start = self.out.len();
            let schemas = prefix
                .get(index)
                .map_or_else(|| items.clone(), |one| vec![*one]);
            for _ in 0..TRIES {
                self.out.truncate(start);
                self.value(schemas.clone(), depth + 1);
                if !unique || !seen.iter().any(|other| *other == self.out[start..]) {
                    break;
                }
            }
            if unique && seen.iter().any(|other| *other == self.out[start..]) {
                self.out.truncate(before);
                break;
            }
            if unique {
                seen.push(self.out[start..].to_vec());
            }
        }
        self.out.push(b']');
    }

    /// A number between the bounds; hundredths unless it is whole.
    fn number(&mut self, parts: &Parts<'a>, whole: bool) {
        let bound = |key: &'static str| all(parts, key).filter_map(parse);
        let least = bound("minimum")
            .chain(bound("exclusiveMinimum"))
            .fold(f64::NAN, f64::max);
        let most = bound("maximum")
            .chain(bound("exclusiveMaximum"))
            .fold(f64::NAN, f64::min);
        let excluded = |n: f64| {
            bound("exclusiveMinimum")
                .chain(bound("exclusiveMaximum"))
                .any(|edge| edge == n)
        };
        let step = bound("multipleOf").fold(f64::NAN, f64::max);
        let step = match (whole, step > 0.0) {
            (true, true) => step.max(1.0),
            (true, false) => 1.0,
            (false, true) => step,
            (false, false) => 0.0,
        };
        let (low, high) = match (least.is_nan(), most.is_nan()) {
            (true, true) => (0.0, 100.0),
            (false, true) => (least, least + 100.0_f64.max(4.0 * step)),
            (true, false) => (most - 100.0_f64.max(4.0 * step), most),
            (false, false) => (least, most),
        };
        let share = f64::from(u32::try_from(1 + self.dice.below(98)).unwrap_or(50)) / 100.0;
        let mut n = low + (high - low) * share;
        if step > 0.0 {
            n = (n / step).floor() * step;
            if n < low || (n == low && excluded(low)) {
                n += step;
            }
        }
        if (n > high || (n == high && excluded(high))) && step > 0.0 {
            n -= step;
        }
        let text = if whole || (step > 0.0 && n.fract() == 0.0) {
            format!("{n:.0}")
        } else if step > 0.0 || (high - low) < 1.0 {
            n.to_string()
        } else {
            let near = (n * 100.0).round() / 100.0;
            near.clamp(low, high).to_string()
        };
        let text = if text == "-0" { "0".to_owned() } else { text };
        self.out.extend_from_slice(text.as_bytes());
    }
}

fn parse(value: &[u8]) -> Option<f64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A keyword's value in the first part that has it.
fn find<'a>(parts: &[&'a [u8]], key: &str) -> Option<&'a [u8]> {
    parts.iter().find_map(|part| pick::member(part, key))
}

fn all<'p, 'a: 'p>(parts: &'p [&'a [u8]], key: &'p str) -> impl Iterator<Item = &'a [u8]> + 'p {
    parts.iter().filter_map(move |part| pick::member(part, key))
}

fn largest(parts: &[&[u8]], key: &str) -> Option<usize> {
    all(parts, key).filter_map(size).max()
}

fn smallest(parts: &[&[u8]], key: &str) -> Option<usize> {
    all(parts, key).filter_map(size).min()
}

fn size(value: &[u8]) -> Option<usize> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a JSON string and the inside of another are the same text.
fn same(quoted: &[u8], key: &[u8]) -> bool {
    let inner = quoted
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner == Some(key)
        || (key.contains(&b'\\') || quoted.contains(&b'\\'))
            && pick::text(quoted) == pick::text(&[b"\"", key, b"\""].concat())
}

/// A branch that holds no other schema.
fn is_plain(schema: &[u8]) -> bool {
    !["$ref", "properties", "items", "anyOf", "oneOf", "allOf"]
        .iter()
        .any(|key| pick::member(schema, key).is_some())
}

/// The types that every part allows.
fn types(parts: &[&[u8]]) -> Types {
    let named = parts.iter().filter_map(|part| {
        let value = pick::member(part, "type")?;
        Some(if value.first() == Some(&b'[') {
            pick::elements(value).map(named_type).fold(0, |a, b| a | b)
        } else {
            named_type(value)
        })
    });
    let stated = named.fold(ANY, |a, b| a & b);
    if stated != ANY {
        return stated;
    }
    let hints: [(&[&str], Types); 4] = [
        (&["properties", "required", "additionalProperties"], OBJECT),
        (&["items", "prefixItems", "minItems"], ARRAY),
        (&["minimum", "maximum", "multipleOf"], NUMBER),
        (&["pattern", "format", "minLength", "maxLength"], STRING),
    ];
    let hinted = hints
        .iter()
        .find(|(keys, _)| keys.iter().any(|key| find(parts, key).is_some()));
    hinted.map_or(ANY, |&(_, kind)| kind)
}

fn named_type(name: &[u8]) -> Types {
    match name {
        b"\"null\"" => NULL,
        b"\"boolean\"" => BOOLEAN,
        b"\"integer\"" => INTEGER,
        b"\"number\"" => NUMBER | INTEGER,
        b"\"string\"" => STRING,
        b"\"array\"" => ARRAY,
        b"\"object\"" => OBJECT,
        _ => 0,
    }
}

fn type_of(value: &[u8]) -> Types {
    match value.first() {
        Some(b'"') => STRING,
        Some(b'{') => OBJECT,
        Some(b'[') => ARRAY,
        Some(b't' | b'f') => BOOLEAN,
        Some(b'n') => NULL,
        _ if parse(value).is_some_and(|n| n.fract() == 0.0) => INTEGER | NUMBER,
        _ => NUMBER,
    }
}
