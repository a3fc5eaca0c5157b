//! The prompt cache as requests and batches see it.

use offpeak_sim::{CacheRules, Config, Lane, OutputModel, World};
use serde_json::{Value, json};

use crate::harness::{Client, HOUR, MINUTE, SECOND, client, marked, params, row, usage, words};

fn group(n: usize, prefix: usize, ttl: &str) -> Vec<Value> {
    let one = |i: usize| {
        row(
            &format!("row-{i}"),
            &marked(prefix, ttl, &format!("Item {i}")),
        )
    };
    (0..n).map(one).collect()
}

fn reads(lines: &[Value]) -> usize {
    lines.iter().filter(|line| usage(line).3 > 0).count()
}

#[test]
fn written_then_read_then_forgotten() {
    let mut client = client();
    let call = marked(2_000, "5m", "Hello");
    assert_eq!(usage(&client.message(&call)), (1, 2_000, 0, 0));
    client.wait(10 * SECOND);
    assert_eq!(usage(&client.message(&call)), (1, 0, 0, 2_000));
    client.wait(5 * MINUTE);
    assert_eq!(
        usage(&client.message(&call)),
        (1, 2_000, 0, 0),
        "five minutes after the hit"
    );
}

#[test]
fn parallel_calls_all_write() {
    let mut client = client();
    let call = marked(2_000, "1h", "Hello");
    for _ in 0..3 {
        assert_eq!(usage(&client.message(&call)), (1, 0, 2_000, 0));
    }
}

#[test]
fn below_the_minimum_nothing_is_cached_silently() {
    let mut client = client();
    let call = marked(1_000, "5m", "Hello");
    for _ in 0..2 {
        assert_eq!(usage(&client.message(&call)), (1_001, 0, 0, 0));
        client.wait(10 * SECOND);
    }
    assert_eq!(
        usage(&client.message(&marked(1_024, "5m", "Hello"))).1,
        1_024
    );
}

#[test]
fn workspaces_models_and_settings_have_their_own_entries() {
    let mut client = client();
    let call = marked(2_000, "1h", "Hello");
    client.message(&call);
    client.wait(10 * SECOND);
    let with = |key: &str, value: Value| {
        let mut call = call.clone();
        call[key] = value;
        call
    };
    assert_eq!(
        usage(&client.message(&with("model", json!("claude-sonnet-4-5")))).3,
        0
    );
    assert_eq!(
        usage(&client.message(&with("output_config", json!({"effort": "low"})))).3,
        0
    );
    let tools = json!([{"name": "t", "input_schema": {"type": "object"}}]);
    assert_eq!(usage(&client.message(&with("tools", tools))).3, 0);
    // A mark in the system prompt does not depend on how tools are chosen, nor on max_tokens.
    assert_eq!(
        usage(&client.message(&with("tool_choice", json!({"type": "none"})))).3,
        2_000
    );
    assert_eq!(
        usage(&client.message(&with("max_tokens", json!(5)))).3,
        2_000
    );
    let other = offpeak_sim::Request::new("POST", "/v1/messages").signed("other");
    let other = client.send(&other.body(call.to_string()));
    assert_eq!(usage(&crate::harness::value(other)).3, 0);
}

/// A conversation of `turns` finished turns and one more question, marked at its end.
fn conversation(turns: usize, automatic: bool) -> Value {
    let mut messages = Vec::new();
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("{} Q{turn}", words(600))}));
        messages.push(json!({"role": "assistant", "content": words(100)}));
    }
    let mut last = json!({"type": "text", "text": format!("{} Q{turns}", words(600))});
    if !automatic {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    messages.push(json!({"role": "user", "content": [last]}));
    let mut call = params("x");
    call["messages"] = json!(messages);
    if automatic {
        call["cache_control"] = json!({"type": "ephemeral"});
    }
    call
}

#[test]
fn a_moving_mark_follows_a_conversation() {
    for automatic in [false, true] {
        let mut client = client();
        let (_, written, _, read) = usage(&client.message(&conversation(3, automatic)));
        assert!(written > 2_000 && read == 0);
        client.wait(30 * SECOND);
        // The earlier mark is gone from the bytes, and a string became a block of the same text.
        let (input, more, _, read) = usage(&client.message(&conversation(4, automatic)));
        assert_eq!((input, read), (0, written));
        assert_eq!(more, 100 + 602);
    }
}

#[test]
fn the_look_back_ends_after_20_positions() {
    for (added, found) in [(19, true), (20, false)] {
        let mut client = client();
        let call = |extra: usize, mark_first: bool| {
            let mut content = vec![json!({"type": "text", "text": words(2_000)})];
            let extras = (0..extra).map(|i| json!({"type": "text", "text": format!("b{i}")}));
            content.extend(extras);
            let marked = if mark_first { 0 } else { content.len() - 1 };
            content[marked]["cache_control"] = json!({"type": "ephemeral"});
            let mut call = params("x");
            call["messages"] = json!([{"role": "user", "content": content}]);
            call
        };
        client.message(&call(0, true));
        client.wait(10 * SECOND);
        let (.., read) = usage(&client.message(&call(added, false)));
        assert_eq!(read > 0, found, "{added} blocks further on");
    }
}

#[test]
fn a_prewarm_is_read_afterwards() {
    let mut client = client();
    let mut warm = marked(2_000, "1h", "warm up");
    warm["max_tokens"] = json!(0);
    assert_eq!(usage(&client.message(&warm)), (2, 0, 2_000, 0));
    client.wait(10 * SECOND);
    assert_eq!(
        usage(&client.message(&marked(2_000, "1h", "Hello"))).3,
        2_000
    );
}

#[test]
fn a_cold_batch_hits_once_its_first_workers_have_begun() {
    let n = 138;
    let lines = client().run(&group(n, 2_000, "1h"));
    assert_eq!(reads(&lines), n - 50);
    let rules = CacheRules {
        within_batch: false,
        ..CacheRules::default()
    };
    let mut blind = Client::new(Config {
        cache: rules,
        ..Config::default()
    });
    assert_eq!(reads(&blind.run(&group(n, 2_000, "1h"))), 0);
}

#[test]
fn after_a_canary_every_row_reads() {
    for within_batch in [true, false] {
        let rules = CacheRules {
            within_batch,
            ..CacheRules::default()
        };
        let mut client = Client::new(Config {
            cache: rules,
            ..Config::default()
        });
        let rows = group(139, 2_000, "1h");
        assert_eq!(reads(&client.run(&rows[..1])), 0);
        assert_eq!(reads(&client.run(&rows[1..])), 138);
    }
}

#[test]
fn lanes_keep_their_caches_apart_unless_told_otherwise() {
    for lanes_share in [false, true] {
        let rules = CacheRules {
            lanes_share,
            ..CacheRules::default()
        };
        let mut client = Client::new(Config {
            cache: rules,
            ..Config::default()
        });
        client.message(&marked(2_000, "1h", "warm up"));
        client.wait(MINUTE);
        let expected = if lanes_share { 60 } else { 10 };
        assert_eq!(reads(&client.run(&group(60, 2_000, "1h"))), expected);
    }
}

#[test]
fn more_domains_mean_more_writes() {
    let rules = CacheRules {
        domains: 16,
        ..CacheRules::default()
    };
    let mut client = Client::new(Config {
        cache: rules,
        workers: 1,
        ..Config::default()
    });
    let hits = reads(&client.run(&group(200, 2_000, "1h")));
    assert_eq!(hits, 200 - 16);
}

/// The worked table's workload: P = 4,500, S = 1,500, O = 400.
fn enrichment(n: usize, ttl: Option<&str>) -> Vec<Value> {
    let one = |i: usize| {
        let own = format!("{} {i:03}", words(1_499));
        let mut params = marked(4_500, ttl.unwrap_or("5m"), &own);
        if ttl.is_none() {
            params["system"] = json!(words(4_500));
        }
        row(&format!("row-{i}"), &params)
    };
    (0..n).map(one).collect()
}

fn billed(play: impl FnOnce(&mut Client)) -> i128 {
    let config = Config {
        output: OutputModel::Fixed(400),
        ..Config::default()
    };
    let mut client = Client::new(config);
    play(&mut client);
    assert_eq!(client.world.bill().of(Lane::Sync), 0);
    total(&client.world)
}

fn total(world: &World) -> i128 {
    let bill = world.bill();
    assert_eq!(
        bill.total(),
        bill.lines().map(|line| line.pico).sum::<i128>()
    );
    bill.total()
}

/// 0.5 · {P [w W + r (n − W)] + n (S + 5 O)} at $3 per million, in picodollars, for whole
/// hundredths of w and r.
fn formula(n: i128, writes: i128, w: i128, r: i128) -> i128 {
    let prefix = 4_500 * (w * writes + r * (n - writes));
    3_000_000 * (prefix + 100 * n * (1_500 + 5 * 400)) / 200
}

#[test]
fn the_worked_table_is_reproduced_to_the_picodollar() {
    let n = 150;
    let plain = billed(|client| drop(client.run(&enrichment(150, None))));
    assert_eq!(plain, formula(n, 0, 0, 100));
    assert_eq!(
        plain * 5_000 / n,
        60_000_000_000_000,
        "$60.00 for 5,000 rows"
    );

    let canary = billed(|client| {
        let rows = enrichment(150, Some("1h"));
        client.run(&rows[..1]);
        client.run(&rows[1..]);
    });
    assert_eq!(canary, formula(n, 1, 200, 10));
    for (ttl, w) in [("5m", 125), ("1h", 200)] {
        let cold = billed(|client| drop(client.run(&enrichment(150, Some(ttl)))));
        assert_eq!(cold, formula(n, 50, w, 10));
    }
    // The table's own rows, from the same formula: 30 % and 98 % hits, canary, of 5,000.
    assert_eq!(formula(5_000, 3_500, 200, 10), 74_512_500_000_000);
    assert_eq!(formula(5_000, 100, 125, 10), 30_401_250_000_000);
    assert_eq!(formula(5_000, 1, 200, 10) / 1_000_000_000, 29_637);
}

#[test]
fn entries_written_by_a_batch_live_by_their_own_clock() {
    let mut client = client();
    client.run(&group(1, 2_000, "5m"));
    client.wait(10 * MINUTE);
    assert_eq!(
        reads(&client.run(&group(10, 2_000, "5m"))),
        0,
        "five minutes are over"
    );
    client.run(&group(1, 3_000, "1h"));
    client.wait(20 * MINUTE);
    assert_eq!(reads(&client.run(&group(10, 3_000, "1h"))), 10);
    client.wait(HOUR);
    assert_eq!(reads(&client.run(&group(10, 3_000, "1h"))), 0);
}
