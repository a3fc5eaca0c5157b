//! A checker of JSON against JSON Schema, written from the specification and not from the
//! generator that it judges. Only the keywords that the tests use; an unknown one is a panic.

use serde_json::Value;

/// Whether a value conforms to a schema; the reason if not.
pub(crate) fn conforms(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let no = |why: &str| Err(format!("{value} against {schema}: {why}"));
    let Some(schema_map) = schema.as_object() else {
        return if schema == &Value::Bool(true) {
            Ok(())
        } else {
            no("no schema fits")
        };
    };
    for (keyword, argument) in schema_map {
        let fine = match keyword.as_str() {
            "type" => match argument {
                Value::Array(kinds) => kinds.iter().any(|kind| is(value, kind.as_str().unwrap())),
                kind => is(value, kind.as_str().unwrap()),
            },
            "const" => value == argument,
            "enum" => argument.as_array().unwrap().contains(value),
            "$ref" => {
                let pointer = argument.as_str().unwrap().strip_prefix('#').unwrap();
                conforms(value, root.pointer(pointer).unwrap(), root)?;
                true
            }
            "allOf" => {
                for part in argument.as_array().unwrap() {
                    conforms(value, part, root)?;
                }
                true
            }
            "anyOf" => branches(value, argument, root) >= 1,
            "oneOf" => branches(value, argument, root) == 1,
            "properties" => {
                for (key, part) in argument.as_object().unwrap() {
                    if let Some(member) = value.get(key) {
                        conforms(member, part, root)?;
                    }
                }
                true
            }
            "required" => {
                let names = argument.as_array().unwrap();
                !value.is_object()
                    || names
                        .iter()
                        .all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                for (key, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(key)) {
                        conforms(member, argument, root)?;
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    conforms(item, argument, root)?;
                }
                true
            }
            "minItems" => length(value.as_array().map(Vec::len)) >= argument.as_u64().unwrap(),
            "maxItems" => value
                .as_array()
                .is_none_or(|a| a.len() as u64 <= argument.as_u64().unwrap()),
            "uniqueItems" => value
                .as_array()
                .is_none_or(|a| (1..a.len()).all(|i| !a[..i].contains(&a[i]))),
            "minimum" => number(value).is_none_or(|n| n >= argument.as_f64().unwrap()),
            "maximum" => number(value).is_none_or(|n| n <= argument.as_f64().unwrap()),
            "exclusiveMinimum" => number(value).is_none_or(|n| n > argument.as_f64().unwrap()),
            "exclusiveMaximum" => number(value).is_none_or(|n| n < argument.as_f64().unwrap()),
            "multipleOf" => number(value).is_none_or(|n| n % argument.as_f64().unwrap() == 0.0),
            "minLength" => {
                length(value.as_str().map(|s| s.chars().count())) >= argument.as_u64().unwrap()
            }
            "maxLength" => value
                .as_str()
                .is_none_or(|s| s.chars().count() as u64 <= argument.as_u64().unwrap()),
            "pattern" => {
                let regex = regex::Regex::new(argument.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| regex.is_match(text))
            }
            "format" => value
                .as_str()
                .is_none_or(|text| has_format(text, argument.as_str().unwrap())),
            "$defs" | "description" | "title" => true,
            other => panic!("the checker does not know {other}"),
        };
        if !fine {
            return no(keyword);
        }
    }
    Ok(())
}

fn branches(value: &Value, list: &Value, root: &Value) -> usize {
    let list = list.as_array().unwrap();
    list.iter()
        .filter(|branch| conforms(value, branch, root).is_ok())
        .count()
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type: {other}"),
    }
}

/// Of what is not counted: more than any minimum.
fn length(n: Option<usize>) -> u64 {
    n.map_or(u64::MAX, |n| n as u64)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn has_format(text: &str, format: &str) -> bool {
    let pattern = match format {
        "date" => return text.parse::<jiff::civil::Date>().is_ok(),
        "date-time" => return text.parse::<jiff::Timestamp>().is_ok(),
        "ipv4" => return text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => return text.parse::<std::net::Ipv6Addr>().is_ok(),
        "time" => r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-]\d\d:\d\d)$",
        "duration" => r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?$",
        "email" => r"^[a-z0-9.]+@[a-z0-9.]+\.[a-z]+$",
        "hostname" => r"^([a-z0-9]+\.)*[a-z]+$",
        "uri" => r"^https?://[^\s]+$",
        "uuid" => r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        other => panic!("no format: {other}"),
    };
    regex::Regex::new(pattern).unwrap().is_match(text)
}
