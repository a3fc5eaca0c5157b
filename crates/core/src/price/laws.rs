//! What must hold for every usage and every model that has a price.

use offpeak_wire::request::Ttl;
use offpeak_wire::usage::Usage;
use proptest::prelude::*;

use crate::units::{Timestamp, Usd};

use super::{Bill, Book, Ceiling, Lane, Mode, Model};

fn at() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

fn model() -> impl Strategy<Value = &'static Model> {
    let priced = |model: &&Model| model.rates(at(), Mode::plain(Lane::Sync)).is_ok();
    let models: Vec<&Model> = Book::embedded().models().filter(priced).collect();
    prop::sample::select(models)
}

/// Any usage of up to a few hundred thousand prompt tokens, on both sides of the prompt step.
fn usage() -> impl Strategy<Value = Usage> {
    let tokens = || prop_oneof![Just(0_u64), 0_u64..60_000];
    let geo = prop::option::of(prop::sample::select(vec!["global", "us", "not_available"]));
    (
        tokens(),
        tokens(),
        tokens(),
        tokens(),
        tokens(),
        0_u64..3,
        geo,
    )
        .prop_map(
            |(input, write_5m, write_1h, read, output, web_search_requests, geo)| Usage {
                input_tokens: input,
                output_tokens: output,
                cache_creation_input_tokens: write_5m + write_1h,
                cache_read_input_tokens: read,
                write_5m,
                write_1h,
                web_search_requests,
                inference_geo: geo.map(str::to_owned),
                ..Usage::default()
            },
        )
}

fn bill(lane: Lane, model: &Model, usage: &Usage) -> Bill {
    Book::embedded().bill(at(), lane, &model.id, usage).unwrap()
}

/// The least ceiling a request with this usage can have had.
fn ceiling(usage: &Usage, hidden: u64, fast: bool) -> Ceiling {
    let marked = match (usage.write_5m, usage.write_1h) {
        (0, 0) => None,
        (_, 0) => Some(Ttl::FiveMinutes),
        _ => Some(Ttl::OneHour),
    };
    Ceiling {
        input_bytes: usage.prompt_tokens().saturating_sub(hidden),
        max_tokens: usage.output_tokens,
        marked,
        has_tools: hidden > 0,
        global_pinned: usage.inference_geo.as_deref() == Some("global"),
        fast,
    }
}

proptest! {
    #[test]
    fn no_bill_exceeds_the_worst_case(
        model in model(), mut used in usage(), tools in any::<bool>(), fast in any::<bool>(),
        slack_in in 0_u64..5_000, slack_out in 0_u64..5_000,
    ) {
        used.web_search_requests = 0;
        let hidden = if tools { model.hidden_tool_bound() } else { 0 };
        let has_fast = model.rates(at(), Mode { fast: true, ..Mode::plain(Lane::Sync) }).is_ok();
        for lane in [Lane::Sync, Lane::Batch] {
            let fast = fast && has_fast && lane == Lane::Sync;
            let mut ceiling = ceiling(&used, hidden, fast);
            ceiling.input_bytes += slack_in;
            ceiling.max_tokens += slack_out;
            let worst = Book::embedded().worst_case(at(), lane, &model.id, &ceiling).unwrap();
            for speed in ["standard", "fast"] {
                if speed == "standard" || fast {
                    used.speed = Some(speed.to_owned());
                    let paid = bill(lane, model, &used).total();
                    prop_assert!(paid <= worst, "{} {lane}: {paid} > {worst}", model.id);
                }
            }
        }
    }

    #[test]
    fn a_batch_halves_everything_but_the_tool_fees(model in model(), used in usage()) {
        let (sync, batch) = (bill(Lane::Sync, model, &used), bill(Lane::Batch, model, &used));
        prop_assert_eq!(sync.tool_fees, batch.tool_fees);
        prop_assert_eq!(
            (batch.total() - batch.tool_fees).times(2),
            sync.total() - sync.tool_fees
        );
    }

    #[test]
    fn classes_are_billed_apart_and_add_up(model in model(), used in usage()) {
        // Splitting a usage by class changes nothing, as long as the prompt stays on its side of
        // the step.
        prop_assume!(used.prompt_tokens() <= 100_000);
        let alone = |keep: fn(&mut Usage)| {
            let mut part = Usage { inference_geo: used.inference_geo.clone(), ..Usage::default() };
            part.input_tokens = used.input_tokens;
            part.output_tokens = used.output_tokens;
            keep(&mut part);
            bill(Lane::Batch, model, &part).total()
        };
        let prompt_and_output = alone(|_| {});
        let whole = bill(Lane::Batch, model, &used);
        prop_assert_eq!(whole.input + whole.output, prompt_and_output);
        let parts = [whole.write_5m, whole.write_1h, whole.read, whole.tool_fees];
        prop_assert_eq!(whole.total(), prompt_and_output + parts.iter().sum::<Usd>());
    }

    #[test]
    fn without_cache_the_bill_is_the_naive_cost(model in model(), mut used in usage()) {
        let book = Book::embedded();
        let naive = book.naive(at(), &model.id, &used).unwrap();
        let plain_batch = book.plain_batch(at(), &model.id, &used).unwrap();
        // Reads only ever save, writes only ever cost.
        let paid = bill(Lane::Sync, model, &used);
        if used.cache_creation_input_tokens == 0 {
            prop_assert!(paid.total() <= naive);
        }
        if used.cache_read_input_tokens == 0 {
            prop_assert!(paid.total() >= naive);
        }
        used.input_tokens = used.prompt_tokens();
        used.cache_creation_input_tokens = 0;
        used.cache_read_input_tokens = 0;
        (used.write_5m, used.write_1h) = (0, 0);
        prop_assert_eq!(bill(Lane::Sync, model, &used).total(), naive);
        prop_assert_eq!(bill(Lane::Batch, model, &used).total(), plain_batch);
    }

    #[test]
    fn used_tokens_are_never_free(model in model(), used in usage()) {
        let tokens = used.prompt_tokens() + used.output_tokens;
        let paid = bill(Lane::Batch, model, &used);
        prop_assert_eq!((paid.total() - paid.tool_fees) > Usd::ZERO, tokens > 0);
    }
}
