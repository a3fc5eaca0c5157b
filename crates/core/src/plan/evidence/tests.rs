//! Laws of what is learnt: it narrows with data and never without, fades with age, and does not
//! depend on the order.

use proptest::prelude::*;

use super::*;
use crate::plan::cost::hit_threshold;
use crate::price::Rates;

const MODEL: &str = "claude-haiku-5-5";
const DAY: Span = Span::from_secs(86_400);

const RATES: Rates = Rates {
    input: 1_000,
    write_5m: 1_250,
    write_1h: 2_000,
    read: 100,
    output: 5_000,
};

fn rounded(tokens: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and small"
    )]
    let tokens = tokens.round() as u64;
    tokens
}

fn sums(calls: impl IntoIterator<Item = (u64, u64)>) -> TokenSums {
    let mut sums = TokenSums::default();
    for (bytes, tokens) in calls {
        sums.note(bytes, tokens);
    }
    sums
}

fn observed(calls: &[(u64, u64)], answers: &[(u64, u64)]) -> Observed {
    let mut outputs = OutputSums::default();
    for &(tokens, most) in answers {
        outputs.note(tokens, most);
    }
    Observed {
        model: MODEL.to_owned(),
        tokens: sums(calls.iter().copied()),
        outputs,
        hits: Vec::new(),
    }
}

fn hits(start: Start, hits: u64, misses: u64) -> Observed {
    let (ttl, class) = (Ttl::OneHour, size_class(hits + misses));
    Observed {
        model: MODEL.to_owned(),
        hits: vec![HitCount {
            ttl,
            class,
            start,
            groups: 1,
            hits,
            misses,
        }],
        ..Observed::default()
    }
}

#[test]
fn nothing_known_is_what_the_planner_assumes() {
    let nothing = Evidence::default();
    for bytes in [0, 1, 3_100, 4_000_000_000] {
        let assumed = Tokenizer::of(MODEL).estimate(bytes);
        assert_eq!(nothing.tokens(MODEL, bytes), assumed);
    }
    assert_eq!(nothing.output_shares(MODEL), OUTPUT_SHARES);
    assert_eq!(nothing.method(MODEL).to_string(), "uncalibrated");
    assert_eq!(
        nothing.hit_rate(MODEL, Ttl::OneHour, 50),
        HitPosterior::cold()
    );
    assert_eq!(
        nothing.hit_rate_behind_canary(MODEL, Ttl::OneHour, 50),
        None
    );
}

#[test]
fn billed_calls_are_said_to_be_and_counts_of_the_rows_outweigh_them() {
    let mut evidence = Evidence::default();
    evidence.learn(&observed(&[(3_000, 1_000); 40], &[(100, 400); 40]), DAY);
    assert_eq!(
        evidence.method(MODEL).to_string(),
        "measured in 40 earlier calls"
    );
    assert_eq!(evidence.tokens(MODEL, 300).mid, 100);
    let [low, expected, high] = evidence.output_shares(MODEL);
    assert!((0.24..0.26).contains(&expected), "{expected}");
    assert!(
        (0.15..=0.25).contains(&low) && (0.25..0.4).contains(&high),
        "{low} {high}"
    );
    evidence.count(MODEL, &sums([(3_000, 1_500); 10]), false);
    evidence.learn(&observed(&[(3_000, 1_000); 40], &[]), Span::ZERO);
    assert_eq!(evidence.method(MODEL).to_string(), "10 rows counted");
    assert_eq!(evidence.tokens(MODEL, 300).mid, 150);
    let sampled = evidence.token_spread(MODEL);
    evidence.count(MODEL, &sums([(3_000, 1_500); 10]), true);
    assert!(evidence.token_spread(MODEL) < sampled);
}

#[test]
fn hits_are_learnt_apart_for_cold_starts_and_behind_canaries() {
    let mut evidence = Evidence::default();
    evidence.learn_hits(&hits(Start::Led, 0, 1_000), Span::ZERO);
    assert_eq!(
        evidence.hit_rate(MODEL, Ttl::OneHour, 1_000),
        HitPosterior::cold()
    );
    let belief = |ttl, rows| evidence.hit_rate_behind_canary(MODEL, ttl, rows);
    let learnt = belief(Ttl::OneHour, 1_000).unwrap();
    assert!(learnt.loses(hit_threshold(&RATES, Ttl::OneHour)));
    assert_eq!(belief(Ttl::OneHour, 100_000), None, "other sizes");
    assert_eq!(belief(Ttl::FiveMinutes, 1_000), None, "other lifetimes");
    let mut evidence = Evidence::default();
    evidence.learn_hits(&hits(Start::Cold, 999, 1), Span::ZERO);
    assert!(
        evidence
            .hit_rate(MODEL, Ttl::OneHour, 1_000)
            .pays(&RATES, Ttl::OneHour)
    );
    assert_eq!(
        evidence.hit_rate_behind_canary(MODEL, Ttl::OneHour, 1_000),
        None
    );
}

#[test]
fn a_large_group_says_no_more_than_a_hundred_rows() {
    let mut evidence = Evidence::default();
    evidence.learn_hits(&hits(Start::Led, 0, 100_000), Span::ZERO);
    let mut few = Evidence::default();
    few.learn_hits(&hits(Start::Led, 0, 65_536), Span::ZERO);
    let belief = |e: &Evidence| e.hit_rate_behind_canary(MODEL, Ttl::OneHour, 1 << 16);
    assert_eq!(belief(&evidence), belief(&few));
    assert!((belief(&evidence).unwrap().mean() - 1.0 / 102.0).abs() < 1e-9);
}

proptest! {
    #[test]
    fn the_spread_holds_the_true_ratio_and_is_no_narrower_than_the_number_of_calls_allows(
        ratio in 0.1f64..1.0,
        calls in prop::collection::vec((200u64..50_000, -0.2f64..0.2), 1..200),
    ) {
        let noted = calls.iter().map(|&(bytes, noise)| {
            (bytes, rounded(bytes as f64 * ratio * (1.0 + noise)))
        });
        let sums = sums(noted);
        let n = calls.len() as f64;
        let spread = sums.spread();
        prop_assert!(spread <= SPREAD);
        prop_assert!(spread >= (SPREAD * (2.0 / (n + 1.0) / n).sqrt()).clamp(0.01, SPREAD) - 1e-9);
        // Four standard errors of what the noise can be: a bound that chance does not pass.
        let off = (sums.per_byte().unwrap() / ratio - 1.0).abs();
        prop_assert!(off <= 0.2 + 0.01);
        prop_assert!(sums.floor() <= spread);
    }

    #[test]
    fn more_of_the_same_calls_narrow_the_spread(bytes in 200u64..50_000, n in 2u64..50) {
        let of = |n: u64| sums((0..n).map(|k| (bytes + k % 2, bytes / 3))).spread();
        prop_assert!(of(2 * n) <= of(n));
    }

    #[test]
    fn shares_are_in_order_and_hold_what_was_seen(
        answers in prop::collection::vec((0u64..=4_096, 1u64..=4_096), 1..200),
    ) {
        let mut outputs = OutputSums::default();
        for &(tokens, most) in &answers {
            outputs.note(tokens.min(most), most);
        }
        let [low, expected, high] = outputs.shares();
        prop_assert!(0.0 <= low && low <= expected && expected <= high && high <= 1.0);
    }

    #[test]
    fn what_is_learnt_does_not_depend_on_the_order_and_fades(
        counts in prop::collection::vec((0u64..500, 0u64..500, 0i64..90), 1..8),
    ) {
        let learn = |counts: &[(u64, u64, i64)]| {
            let mut evidence = Evidence::default();
            for &(h, m, days) in counts {
                evidence.learn_hits(&hits(Start::Led, h, m), Span::from_secs(days * 86_400));
            }
            evidence
        };
        let mut reversed = counts.clone();
        reversed.reverse();
        let (one, other) = (learn(&counts), learn(&reversed));
        for rows in [1u64, 10, 100, 900] {
            let mean = |e: &Evidence| {
                e.hit_rate_behind_canary(MODEL, Ttl::OneHour, rows).map_or(0.0, |b| b.mean())
            };
            prop_assert!((mean(&one) - mean(&other)).abs() < 1e-9);
        }
        // A month later everything that was seen weighs half.
        let (h, m, days) = counts[0];
        if h + m > 0 {
            let of = |age: i64| {
                let mut evidence = Evidence::default();
                evidence.learn_hits(&hits(Start::Cold, h, m), Span::from_secs(age * 86_400));
                evidence.hits.of(MODEL, Ttl::OneHour, h + m, Start::Cold)
            };
            let (now, later) = (of(days), of(days + 30));
            prop_assert!((now.0 / 2.0 - later.0).abs() < 1e-6);
            prop_assert!((now.1 / 2.0 - later.1).abs() < 1e-6);
        }
    }
}
