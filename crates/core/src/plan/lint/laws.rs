//! What lints must find and must leave alone.

use proptest::prelude::*;

use crate::price::Rates;

use super::{LintRates, Looks, Part, SampleBlock, SampleRow, Warning, lint};

const KNOWN: LintRates = LintRates {
    rates: Rates {
        input: 3_000_000,
        write_5m: 3_750_000,
        write_1h: 6_000_000,
        read: 300_000,
        output: 15_000_000,
    },
    minimum: 1_024,
    step: Some(100_000),
    rows: 1_000,
};

const MODEL: &str = "claude-sonnet-4-6";

/// A prompt as it is written: system prompt and last message.
struct Written {
    tools: Vec<String>,
    system: String,
    user: String,
    marked: bool,
}

fn written(system: String, user: String) -> Written {
    Written {
        tools: Vec::new(),
        system: format!("\"{system}\""),
        user: format!("\"{user}\""),
        marked: false,
    }
}

fn block(part: Part, text: &str, marked: bool) -> SampleBlock<'_> {
    SampleBlock {
        part,
        bytes: text.as_bytes(),
        marked,
    }
}

fn linted(rows: &[Written]) -> Vec<Warning> {
    let rows: Vec<SampleRow<'_>> = rows
        .iter()
        .zip(1..)
        .map(|(row, line)| {
            let mut blocks: Vec<SampleBlock<'_>> = row
                .tools
                .iter()
                .map(|tool| block(Part::Tools, tool, false))
                .collect();
            blocks.push(block(Part::System, &row.system, false));
            blocks.push(block(Part::Messages, &row.user, row.marked));
            SampleRow {
                line,
                model: MODEL,
                blocks,
            }
        })
        .collect();
    lint(&rows, |_| Some(KNOWN))
}

fn boilerplate() -> String {
    "Answer in one word, and only with one of the labels that are listed here. ".repeat(100)
}

#[test]
fn a_clock_in_front_of_the_instructions() {
    let row = |n: u32| {
        let system = format!("It is 2026-11-26T08:{n:02}:00Z. {}", boilerplate());
        written(system, format!("ticket {n}"))
    };
    let rows: Vec<Written> = (0..8).map(row).collect();
    let found = linted(&rows);
    let [
        Warning::ChangingBeforeStable {
            part,
            looks,
            at,
            stable_tokens,
            saves,
        },
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!((*part, *looks), (Part::System, Looks::Time));
    assert_eq!(at[0].byte, "\"It is 2026-11-26T08:0".len() as u64);
    assert_eq!((at[0].line, at[1].line), (1, 2));
    assert!(at[1].excerpt.contains("08:01:00Z"), "{}", at[1].excerpt);
    // 7,400 bytes, four to a token.
    assert!((1_800..1_900).contains(stable_tokens), "{stable_tokens}");
    let by_hand = *stable_tokens as f64 * 1_000.0 * 2.7e-6;
    assert!((saves - by_hand).abs() < 1e-9);
}

#[test]
fn instructions_behind_the_text_they_are_about() {
    let row = |n: u32| {
        let text = format!(
            "Ticket {}: {}",
            n * 7,
            "the printer is on fire ".repeat(n as usize)
        );
        written(
            "Be brief.".to_owned(),
            format!("{text}\\n\\n{}", boilerplate()),
        )
    };
    let rows: Vec<Written> = (1..8).map(row).collect();
    let found = linted(&rows);
    assert!(
        matches!(
            &found[..],
            [Warning::ChangingBeforeStable {
                part: Part::Messages,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[test]
fn a_handful_of_tenants_is_not_noise() {
    let row = |n: u32| {
        let system = format!("You work for tenant {}. {}", n % 2, boilerplate());
        written(system, format!("ticket {n}"))
    };
    let rows: Vec<Written> = (0..12).map(row).collect();
    assert_eq!(linted(&rows), []);
}

#[test]
fn tools_in_another_order_and_keys_in_another_order() {
    let tool = |name: &str| format!("{{\"name\":\"{name}\",\"input_schema\":{{}}}}");
    let with = |tools: Vec<String>| Written {
        tools,
        ..written(boilerplate(), "x".to_owned())
    };
    let found = linted(&[
        with(vec![tool("a"), tool("b")]),
        with(vec![tool("b"), tool("a")]),
        with(vec![tool("a"), tool("b")]),
    ]);
    assert_eq!(
        found,
        [Warning::ToolOrder {
            lines: [1, 2],
            tools: 2
        }]
    );
    let turned = "{\"input_schema\":{},\"name\":\"a\"}".to_owned();
    let found = linted(&[
        with(vec![tool("a")]),
        with(vec![turned]),
        with(vec![tool("a")]),
    ]);
    assert!(
        matches!(
            &found[..],
            [Warning::JsonWrittenOtherwise {
                part: Part::Tools,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[test]
fn a_mark_behind_each_rows_own_text() {
    let row = |n: u32| Written {
        marked: true,
        ..written(boilerplate(), format!("ticket {n}"))
    };
    let rows: Vec<Written> = (0..6).map(row).collect();
    let found = linted(&rows);
    let [
        Warning::MarkOnChanging {
            part: Part::Messages,
            lines: [1, 2],
            costs,
        },
    ] = found[..]
    else {
        panic!("{found:?}");
    };
    // A quarter of some 1,850 tokens' input price, a thousand times.
    assert!((1.2..1.5).contains(&costs), "{costs}");
}

#[test]
fn prompts_just_above_a_price_step() {
    // 100,000 tokens are 400,000 bytes.
    let long = |bytes: usize| written("x".repeat(bytes), "q".to_owned());
    let found = linted(&[long(380_000), long(410_000), long(500_000)]);
    let step = found
        .iter()
        .find(|warning| warning.kind() == "just_over_step");
    assert!(
        matches!(
            step,
            Some(Warning::JustOverStep {
                rows: 1,
                sampled: 3,
                line: 2,
                ..
            })
        ),
        "{found:?}"
    );
}

proptest! {
    /// One preamble for all, everybody's own text at the end: nothing to say.
    #[test]
    fn a_clean_workload_has_no_warnings(
        preamble in "[a-z ]{0,6000}", own in prop::collection::vec("[a-z0-9 ]{1,300}", 1..20),
    ) {
        let rows: Vec<Written> = own.into_iter().map(|own| written(preamble.clone(), own)).collect();
        prop_assert_eq!(linted(&rows), vec![]);
    }

    /// Something that differs in every row, anywhere in a long preamble, is found where it is.
    #[test]
    fn what_changes_in_the_preamble_is_found_at_its_byte(at in 0usize..2_000, rows in 4u32..20) {
        let text = boilerplate();
        let row = |n: u32| {
            let own = char::from_u32(0x3b1 + n).unwrap();
            written(format!("{}{own}{}", &text[..at], &text[at..]), "q".to_owned())
        };
        let found = linted(&(0..rows).map(row).collect::<Vec<_>>());
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        // The two letters share their first byte in UTF-8.
        prop_assert_eq!(found[0].places()[0].byte, at as u64 + 2);
    }
}
