//! Owns what a schema may say where the answer has to conform to it: structured outputs and strict
//! tools (Anthropic docs, structured outputs; the words are those of live errors, as far as such
//! were seen).

use offpeak_wire::request::RequestView;

use super::Verdict;
use super::shape::{At, Kind, invalid, may, must, object, tag, unknown_tag};
use crate::http::Problem;
use crate::pick;

/// Limits over all strict schemas of a request.
const STRICT_TOOLS: usize = 20;
const OPTIONAL: usize = 24;
const UNIONS: usize = 16;

/// Keywords that need more than a grammar.
const BOUNDS: &[&str] = &[
    "additionalItems",
    "contains",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "uniqueItems",
];
const COMPOSITIONS: &[&str] = &["oneOf", "not", "if", "then", "else", "dependentSchemas"];
const FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "uri",
    "ipv4",
    "ipv6",
    "uuid",
];

pub(super) fn check(view: &RequestView<'_>) -> Verdict {
    let mut count = Count::default();
    let config = view.member("output_config").unwrap_or_default();
    let format = pick::member(config, "format").filter(|raw| *raw != b"null");
    let old = view.member("output_format").filter(|raw| *raw != b"null");
    for (path, format) in [("output_config.format", format), ("output_format", old)] {
        let Some(format) = format else { continue };
        let kind = tag(format, &path)?;
        if kind != "json_schema" {
            return Err(unknown_tag(&path, kind, &["json_schema"]));
        }
        let fields = [must("schema", Kind::Object), may("name", Kind::String)];
        let schema = object(format, &path, &fields)?[0].unwrap_or_default();
        Schema::new(schema, &At(&path, "schema").to_string(), &mut count).check()?;
        if has_citations(view) {
            return Err(invalid(&path, "not supported together with citations"));
        }
    }
    let tools = pick::elements(view.member("tools").unwrap_or_default());
    let mut strict = 0;
    for (nth, tool) in tools.enumerate() {
        if pick::member(tool, "strict") == Some(b"true") {
            strict += 1;
            let schema = pick::member(tool, "input_schema").unwrap_or_default();
            Schema::new(schema, &format!("tools.{nth}.custom"), &mut count).check()?;
        }
    }
    if strict > STRICT_TOOLS {
        return Err(Problem::invalid(format!(
            "Too many strict tools ({strict}). The maximum number of strict tools supported is \
             {STRICT_TOOLS}. Try reducing the number of tools marked as strict."
        )));
    }
    count.check()
}

fn has_citations(view: &RequestView<'_>) -> bool {
    let enabled = |block: &[u8]| {
        let citations = pick::member(block, "citations").unwrap_or_default();
        pick::member(citations, "enabled") == Some(b"true")
    };
    view.blocks()
        .iter()
        .any(|block| enabled(&view.bytes()[block.span.clone()]))
}

/// What makes a grammar large.
#[derive(Debug, Default)]
struct Count {
    optional: usize,
    unions: usize,
}

impl Count {
    fn check(&self) -> Verdict {
        if self.optional > OPTIONAL {
            return Err(Problem::invalid(format!(
                "Schemas contains too many optional parameters ({}), which would make grammar \
                 compilation inefficient. Reduce the number of optional parameters in your tool \
                 schemas (limit: {OPTIONAL}).",
                self.optional
            )));
        }
        if self.unions > UNIONS {
            return Err(Problem::invalid(format!(
                "Schemas contains too many parameters with union types ({} parameters with type \
                 arrays or anyOf). This causes exponential compilation cost. Reduce the number of \
                 nullable or union-typed parameters (limit: {UNIONS}).",
                self.unions
            )));
        }
        Ok(())
    }
}

/// One schema being walked.
struct Schema<'a, 'c> {
    root: &'a [u8],
    path: String,
    count: &'c mut Count,
    /// References on the way here, and those that were followed already.
    open: Vec<String>,
    done: Vec<String>,
}

impl<'a, 'c> Schema<'a, 'c> {
    fn new(root: &'a [u8], path: &str, count: &'c mut Count) -> Self {
        Self {
            root,
            path: path.to_owned(),
            count,
            open: Vec::new(),
            done: Vec::new(),
        }
    }

    fn check(mut self) -> Verdict {
        self.node(self.root)
    }

    fn wrong<T>(&self, words: &str) -> Verdict<T> {
        Err(invalid(&self.path, words))
    }

    fn node(&mut self, schema: &'a [u8]) -> Verdict {
        if schema.first() != Some(&b'{') {
            return self.wrong("Schema must be an object");
        }
        let mut typed = None;
        let mut described = false;
        for (key, value) in pick::members(schema) {
            let key = std::str::from_utf8(key).unwrap_or_default();
            match key {
                "type" => typed = Some(value),
                "$ref" => {
                    described = true;
                    self.reference(value)?;
                }
                "anyOf" | "allOf" => {
                    described = true;
                    for branch in pick::elements(value) {
                        self.node(branch)?;
                    }
                }
                "enum" => {
                    described = true;
                    if pick::elements(value).any(|item| matches!(item.first(), Some(b'{' | b'['))) {
                        return self
                            .wrong("Enum values must be strings, numbers, booleans or null");
                    }
                }
                "const" => described = true,
                _ if COMPOSITIONS.contains(&key) => {
                    return self.wrong(&format!("Schema type '{key}' is not supported"));
                }
                _ => {}
            }
        }
        match typed {
            Some(value) if value.first() == Some(&b'[') => {
                for name in pick::elements(value) {
                    self.of_type(schema, name)?;
                }
                Ok(())
            }
            Some(name) => self.of_type(schema, name),
            None if described => Ok(()),
            None => {
                let schema = String::from_utf8_lossy(schema);
                self.wrong(&format!("Schema type is missing for schema: {schema}"))
            }
        }
    }

    fn of_type(&mut self, schema: &'a [u8], name: &[u8]) -> Verdict {
        let name = pick::text(name).unwrap_or_default();
        let mut bounds: Vec<&str> = pick::members(schema)
            .filter_map(|(key, _)| BOUNDS.iter().find(|bound| bound.as_bytes() == key))
            .copied()
            .collect();
        bounds.sort_unstable();
        match bounds.as_slice() {
            [] => {}
            [one] => {
                return self.wrong(&format!(
                    "For '{name}' type, property '{one}' is not supported"
                ));
            }
            many => {
                let many = many.join(", ");
                return self.wrong(&format!(
                    "For '{name}' type, properties {many} are not supported"
                ));
            }
        }
        match &*name {
            "object" => self.object(schema),
            "array" => {
                if pick::member(schema, "minItems").is_some_and(|n| !matches!(n, b"0" | b"1")) {
                    return self.wrong(
                        "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
                    );
                }
                pick::member(schema, "items").map_or(Ok(()), |items| self.node(items))
            }
            "string" => match pick::member(schema, "format").and_then(pick::text) {
                Some(format) if !FORMATS.contains(&&*format) => self.wrong(&format!(
                    "For 'string' type, format '{format}' is not supported"
                )),
                _ => Ok(()),
            },
            "integer" | "number" | "boolean" | "null" => Ok(()),
            other => self.wrong(&format!("Schema type '{other}' is not supported")),
        }
    }

    fn object(&mut self, schema: &'a [u8]) -> Verdict {
        match pick::member(schema, "additionalProperties") {
            Some(b"false") => {}
            None => {
                return self.wrong(
                    "For 'object' type, 'additionalProperties' must be explicitly set to false",
                );
            }
            Some(other) => {
                let other = if other.first() == Some(&b'{') {
                    "object"
                } else {
                    "true"
                };
                return self.wrong(&format!(
                    "For 'object' type, 'additionalProperties: {other}' is not supported. Please \
                     set 'additionalProperties' to false"
                ));
            }
        }
        let required: Vec<_> = pick::elements(pick::member(schema, "required").unwrap_or_default())
            .filter_map(|name| name.strip_prefix(b"\"")?.strip_suffix(b"\""))
            .collect();
        for (key, value) in pick::members(pick::member(schema, "properties").unwrap_or_default()) {
            self.count.optional += usize::from(!required.contains(&key));
            let several =
                pick::member(value, "type").is_some_and(|kind| kind.first() == Some(&b'['));
            let union = several || pick::member(value, "anyOf").is_some();
            self.count.unions += usize::from(union);
            self.node(value)?;
        }
        Ok(())
    }

    fn reference(&mut self, pointer: &[u8]) -> Verdict {
        let pointer = pick::text(pointer).unwrap_or_default().into_owned();
        if !pointer.starts_with('#') {
            return self.wrong(&format!("External $ref '{pointer}' is not supported"));
        }
        if self.open.contains(&pointer) || pointer == "#" {
            return self.wrong(&format!(
                "Circular reference detected in schema definitions: {pointer}. Recursive schemas \
                 are not supported"
            ));
        }
        if self.done.contains(&pointer) {
            return Ok(());
        }
        let Some(target) = pick::pointer(self.root, &pointer) else {
            return self.wrong(&format!("$ref '{pointer}' could not be resolved"));
        };
        self.open.push(pointer);
        self.node(target)?;
        self.done.extend(self.open.pop());
        Ok(())
    }
}
