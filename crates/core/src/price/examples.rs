//! Worked bills with figures computed elsewhere.

use offpeak_wire::request::Ttl;
use offpeak_wire::usage::Usage;

use crate::units::{Timestamp, Usd};

use super::{Bill, Book, Ceiling, Lane};

/// Opus 4.6, Sonnet 4.6, Haiku 4.5: the three price classes of the worked tables.
const CLASSES: [&str; 3] = ["claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5"];

fn today() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn bill(lane: Lane, model: &str, usage: &Usage) -> Bill {
    Book::embedded().bill(today(), lane, model, usage).unwrap()
}

/// Prompt tokens in their classes: input, 5m write, 1h write, read; and output.
fn usage([input, write_5m, write_1h, read, output]: [u64; 5]) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_creation_input_tokens: write_5m + write_1h,
        cache_read_input_tokens: read,
        write_5m,
        write_1h,
        ..Usage::default()
    }
}

/// Cost of a prefix as a multiple of sending it once uncached.
fn in_prefixes(lane: Lane, usage: &Usage, prefix: u64) -> f64 {
    let plain = bill(lane, CLASSES[0], &self::usage([prefix, 0, 0, 0, 0]));
    bill(lane, CLASSES[0], usage)
        .total()
        .ratio_to(plain.total())
        .unwrap()
}

#[test]
fn one_read_pays_a_5m_write_and_two_reads_pay_a_1h_write() {
    let p = 1_000;
    for (reads, five_minutes, one_hour) in [
        (0, 1.25, 2.0),
        (1, 1.35, 2.1),
        (2, 1.45, 2.2),
        (3, 1.55, 2.3),
        (5, 1.75, 2.5),
    ] {
        // The same in a batch, relative to a batch without cache.
        for lane in [Lane::Sync, Lane::Batch] {
            let short = in_prefixes(lane, &usage([0, p, 0, reads * p, 0]), p);
            let long = in_prefixes(lane, &usage([0, 0, p, reads * p, 0]), p);
            assert!(
                (short - five_minutes).abs() < 1e-12,
                "{reads} reads: {short}"
            );
            assert!((long - one_hour).abs() < 1e-12, "{reads} reads: {long}");
            let plain = in_prefixes(lane, &usage([(reads + 1) * p, 0, 0, 0, 0]), p);
            assert_eq!(short < plain, reads >= 1);
            assert_eq!(long < plain, reads >= 2);
        }
    }
}

/// A name, the parts of the work by lane, and the cost in each price class.
type Route = (&'static str, Vec<(Lane, Usage)>, [&'static str; 3]);

/// A nightly enrichment: 5,000 calls, 4,500 shared and 1,500 own prompt tokens, 400 output tokens.
#[test]
fn the_nightly_enrichment_costs_what_the_table_says() {
    const N: u64 = 5_000;
    // Parts of a route: lane, calls that write for 5m, for 1h, that read; pre-warms apart.
    let calls = |writes_5m: u64, writes_1h: u64| {
        let reads = N - writes_5m - writes_1h;
        usage([
            N * 1_500,
            writes_5m * 4_500,
            writes_1h * 4_500,
            reads * 4_500,
            N * 400,
        ])
    };
    let all_read = usage([N * 1_500, 0, 0, N * 4_500, N * 400]);
    let prewarm = usage([0, 0, 4_500, 0, 0]);
    let plain = usage([N * 6_000, 0, 0, 0, N * 400]);
    let routes: [Route; 11] = [
        (
            "naive",
            vec![(Lane::Sync, plain.clone())],
            ["200", "120", "40"],
        ),
        (
            "sync + 5m",
            vec![(Lane::Sync, calls(1, 0))],
            ["98.776", "59.266", "19.755"],
        ),
        ("batch", vec![(Lane::Batch, plain)], ["100", "60", "20"]),
        (
            "batch + 1h, 30 %",
            vec![(Lane::Batch, calls(0, 3_500))],
            ["124.188", "74.513", "24.838"],
        ),
        (
            "batch + 5m, 30 %",
            vec![(Lane::Batch, calls(3_500, 0))],
            ["94.656", "56.794", "18.931"],
        ),
        (
            "batch + 1h, 70 %",
            vec![(Lane::Batch, calls(0, 1_500))],
            ["81.438", "48.863", "16.288"],
        ),
        (
            "batch + 1h, 98 %",
            vec![(Lane::Batch, calls(0, 100))],
            ["51.513", "30.908", "10.303"],
        ),
        (
            "batch + 5m, 98 %",
            vec![(Lane::Batch, calls(100, 0))],
            ["50.669", "30.401", "10.134"],
        ),
        (
            "batch + 1h, pre-warm",
            vec![(Lane::Sync, prewarm), (Lane::Batch, all_read)],
            ["49.420", "29.652", "9.884"],
        ),
        (
            "batch + 1h, canary",
            vec![(Lane::Batch, calls(0, 1))],
            ["49.396", "29.638", "9.879"],
        ),
        (
            "optimum",
            vec![(Lane::Batch, calls(1, 0))],
            ["49.388", "29.633", "9.878"],
        ),
    ];
    for (route, parts, expected) in routes {
        for (model, expected) in CLASSES.iter().zip(expected) {
            let total: Usd = parts
                .iter()
                .map(|(lane, used)| bill(*lane, model, used).total())
                .sum();
            let off = (total - usd(expected)).pico().abs();
            assert!(off <= usd("0.0005").pico(), "{route} on {model}: {total}");
        }
    }
}

/// A published run with its own price list: 907,371 prompt tokens, most of them read.
#[test]
fn a_published_run_is_reproduced() {
    let run = usage([3_699, 150_612, 0, 753_060, 2_725]);
    let model = "claude-sonnet-4-6";
    assert_eq!(bill(Lane::Sync, model, &run).total(), usd("0.842685"));
    // Published as $0.84 against $2.77; the second is within a cent of the exact amount.
    let naive = Book::embedded().naive(today(), model, &run).unwrap();
    assert_eq!(naive, usd("2.762988"));
    // The same run on a model whose write and read prices are rounded: $0.07 against $0.23.
    let rounded = Book::parse(
        r#"
        as_of = "2024-08-14"
        [[model]]
        id = "rounded"
        min_cacheable_tokens = 2048
        batch = true
        us_geo = false
        [[model.price]]
        input = "0.25"
        write_5m = "0.30"
        write_1h = "0.50"
        read = "0.03"
        output = "1.25"
        "#,
        "test",
    )
    .unwrap();
    let cached = rounded
        .bill(today(), Lane::Sync, "rounded", &run)
        .unwrap()
        .total();
    assert_eq!(cached, usd("0.0721064"));
    assert_eq!(
        rounded.naive(today(), "rounded", &run).unwrap(),
        usd("0.230249")
    );
}

#[test]
fn a_search_costs_the_same_on_both_lanes() {
    let mut used = usage([1_000, 0, 0, 0, 100]);
    used.web_search_requests = 3;
    let (sync, batch) = (
        bill(Lane::Sync, CLASSES[2], &used),
        bill(Lane::Batch, CLASSES[2], &used),
    );
    assert_eq!(sync.tool_fees, usd("0.03"));
    assert_eq!(batch.tool_fees, usd("0.03"));
    assert_eq!(
        (batch.total() - batch.tool_fees).times(2),
        sync.total() - sync.tool_fees
    );
    assert_eq!(
        Book::embedded().plain_batch(today(), CLASSES[2], &used),
        Ok(batch.total())
    );
}

#[test]
fn us_inference_is_billed_from_the_answer() {
    let mut used = usage([0, 0, 0, 1_000_000, 0]);
    used.inference_geo = Some("us".to_owned());
    assert_eq!(
        bill(Lane::Batch, "claude-sonnet-4-6", &used).total(),
        usd("0.165")
    );
    // A model without the choice has no multiplier to apply.
    assert_eq!(
        bill(Lane::Batch, "claude-sonnet-4-5", &used).total(),
        usd("0.15")
    );
    used.inference_geo = Some("not_available".to_owned());
    assert_eq!(
        bill(Lane::Batch, "claude-sonnet-4-6", &used).total(),
        usd("0.15")
    );
}

#[test]
fn the_prompt_step_counts_every_prompt_token_and_reprices_all_of_them() {
    let model = "claude-haiku-5-5";
    let at_step = usage([40_000, 10_000, 10_000, 40_000, 1_000]);
    let above = usage([40_000, 10_000, 10_000, 40_001, 1_000]);
    assert_eq!(bill(Lane::Sync, model, &at_step).total(), usd("0.00815"));
    assert_eq!(bill(Lane::Sync, model, &above).total(), usd("0.04075005"));
    assert_eq!(bill(Lane::Batch, model, &above).output, usd("0.00125"));
    // The uncached comparison is on the same side of the step.
    assert_eq!(
        Book::embedded().naive(today(), model, &above),
        Ok(usd("0.0525005"))
    );
}

#[test]
fn the_tier_in_the_answer_does_not_choose_the_lane() {
    let mut used = usage([1_000_000, 0, 0, 0, 0]);
    used.service_tier = Some("batch".to_owned());
    assert_eq!(bill(Lane::Sync, CLASSES[0], &used).total(), usd("5"));
    assert_eq!(bill(Lane::Batch, CLASSES[0], &used).total(), usd("2.5"));
}

#[test]
fn fast_mode_is_billed_when_the_answer_says_so() {
    let mut used = usage([1_000_000, 0, 0, 1_000_000, 100_000]);
    used.speed = Some("fast".to_owned());
    assert_eq!(
        bill(Lane::Sync, "claude-opus-5-5", &used).total(),
        usd("12.4")
    );
    // What a batch would have cost has no fast mode in it.
    let batch = Book::embedded()
        .plain_batch(today(), "claude-opus-5-5", &used)
        .unwrap();
    assert_eq!(batch, usd("5"));
    used.speed = Some("standard".to_owned());
    assert_eq!(bill(Lane::Sync, "claude-opus-4-6", &used).total(), usd("8"));
}

#[test]
fn the_worst_case_is_worked_out_by_hand() {
    let ceiling = Ceiling {
        input_bytes: 10_000,
        max_tokens: 1_000,
        marked: None,
        has_tools: false,
        global_pinned: true,
        fast: false,
    };
    let worst = |model, lane, ceiling| {
        Book::embedded()
            .worst_case(today(), lane, model, &ceiling)
            .unwrap()
    };
    let opus = "claude-opus-4-6";
    assert_eq!(worst(opus, Lane::Sync, ceiling), usd("0.075"));
    assert_eq!(worst(opus, Lane::Batch, ceiling), usd("0.0375"));
    let floating = Ceiling {
        global_pinned: false,
        ..ceiling
    };
    assert_eq!(worst(opus, Lane::Sync, floating), usd("0.0825"));
    // A model without the choice of geography cannot be moved.
    assert_eq!(
        worst("claude-haiku-4-5", Lane::Sync, floating),
        usd("0.015")
    );
    let hour = Ceiling {
        marked: Some(Ttl::OneHour),
        ..ceiling
    };
    assert_eq!(worst(opus, Lane::Sync, hour), usd("0.125"));
    let five = Ceiling {
        marked: Some(Ttl::FiveMinutes),
        has_tools: true,
        ..ceiling
    };
    assert_eq!(worst(opus, Lane::Sync, five), usd("0.09118125"));
    // No published figure for its hidden prompt: a thousand tokens.
    let tools = Ceiling {
        has_tools: true,
        ..ceiling
    };
    assert_eq!(worst("claude-sonnet-5-5", Lane::Sync, tools), usd("0.032"));
    let fast = Ceiling {
        fast: true,
        ..ceiling
    };
    assert_eq!(worst("claude-opus-5-5", Lane::Sync, fast), usd("0.12"));
    // The step is crossed by the bound, hidden prompt included.
    let big = Ceiling {
        input_bytes: 99_500,
        ..ceiling
    };
    assert_eq!(worst("claude-haiku-5-5", Lane::Sync, big), usd("0.01045"));
    let crossing = Ceiling {
        has_tools: true,
        ..big
    };
    assert_eq!(
        worst("claude-haiku-5-5", Lane::Sync, crossing),
        usd("0.05275")
    );
}
