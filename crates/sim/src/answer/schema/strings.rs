//! Owns made-up strings: of a format, of a pattern, or some words within length bounds.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::{find, largest, smallest};
use crate::dice::Sequence;
use crate::pick;
use crate::text;

/// Repetitions beyond what a pattern demands.
const MORE: u32 = 3;

/// Writes a JSON string that conforms to the parts.
pub(super) fn write(parts: &[&[u8]], dice: &mut Sequence, out: &mut Vec<u8>) {
    let text = find(parts, "format").and_then(pick::text);
    let made = text.and_then(|format| of_format(&format, dice));
    let made = made.or_else(|| {
        let pattern = find(parts, "pattern").and_then(pick::text)?;
        of_pattern(&pattern, dice)
    });
    let made = made.unwrap_or_else(|| {
        let least = largest(parts, "minLength").unwrap_or(0);
        let most = smallest(parts, "maxLength").unwrap_or(usize::MAX);
        words(least, most, dice)
    });
    super::super::string(&made, out);
}

/// Some words of plain ASCII, from `least` to `most` characters.
fn words(least: usize, most: usize, dice: &mut Sequence) -> String {
    let seed = dice.draw();
    let wish = 2 + u32::try_from(dice.below(6)).unwrap_or(0);
    let mut text = text::prose(seed, wish);
    while text.len() < least {
        text.push(' ');
        text.push_str(text::noun(dice));
    }
    if text.len() > most.max(least) {
        text.truncate(most.max(least));
    }
    text
}

fn of_format(format: &str, dice: &mut Sequence) -> Option<String> {
    let mut below = |n| dice.below(n);
    let date = |day, month, year| format!("{:04}-{:02}-{:02}", 2020 + year, 1 + month, 1 + day);
    Some(match format {
        "date" => date(below(28), below(12), below(7)),
        "time" => format!("{:02}:{:02}:{:02}Z", below(24), below(60), below(60)),
        "date-time" => {
            let date = date(below(28), below(12), below(7));
            format!("{date}T{:02}:{:02}:{:02}Z", below(24), below(60), below(60))
        }
        "duration" => format!("P{}DT{}H", 1 + below(20), 1 + below(23)),
        "email" | "idn-email" => format!("{}.{}@example.com", text::noun(dice), dice.below(100)),
        "hostname" | "idn-hostname" => format!("{}.example.com", text::noun(dice)),
        "uri" | "iri" | "url" | "uri-reference" => {
            format!(
                "https://example.com/{}/{}",
                text::noun(dice),
                dice.below(1_000)
            )
        }
        "ipv4" => format!("192.0.2.{}", 1 + below(254)),
        "ipv6" => format!("2001:db8::{:x}", 1 + below(0xfffe)),
        "uuid" => {
            let (a, b) = (dice.draw(), dice.draw());
            let (ends, mid) = (b & 0xffff_ffff_ffff, (b >> 48) & 0xfff);
            format!(
                "{:08x}-{:04x}-4{:03x}-8{mid:03x}-{ends:012x}",
                a >> 32,
                (a >> 16) & 0xffff,
                a & 0xfff
            )
        }
        _ => return None,
    })
}

/// A string that a regular expression matches as a whole; `None` if it is not one we can read.
fn of_pattern(pattern: &str, dice: &mut Sequence) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut out = Vec::new();
    grow(&hir, dice, &mut out);
    String::from_utf8(out).ok()
}

fn grow(hir: &Hir, dice: &mut Sequence, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => character(class, dice, out),
        HirKind::Repetition(repetition) => {
            let most = repetition
                .max
                .unwrap_or(u32::MAX)
                .min(repetition.min.saturating_add(MORE));
            let extra = usize::try_from(most - repetition.min).unwrap_or(0);
            let times = usize::try_from(repetition.min).unwrap_or(0) + dice.below(extra + 1);
            for _ in 0..times {
                grow(&repetition.sub, dice, out);
            }
        }
        HirKind::Capture(capture) => grow(&capture.sub, dice, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| grow(part, dice, out)),
        HirKind::Alternation(branches) => grow(&branches[dice.below(branches.len())], dice, out),
    }
}

/// A character of a class: a letter or digit if it has one.
fn character(class: &Class, dice: &mut Sequence, out: &mut Vec<u8>) {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start(), r.end())).collect(),
        Class::Bytes(class) => class
            .iter()
            .map(|r| (char::from(r.start()), char::from(r.end())))
            .collect(),
    };
    let within = |c: &char| ranges.iter().any(|&(low, high)| low <= *c && *c <= high);
    let plain: Vec<char> = ('0'..='9')
        .chain('a'..='z')
        .chain('A'..='Z')
        .filter(within)
        .collect();
    let chosen = match (plain.as_slice(), ranges.first()) {
        ([], Some(&(_, last))) => last,
        ([], None) => return,
        (plain, _) => plain[dice.below(plain.len())],
    };
    out.extend_from_slice(chosen.encode_utf8(&mut [0; 4]).as_bytes());
}
