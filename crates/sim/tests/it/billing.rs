//! The bill: its lines, its sum, and what it is priced at.

use offpeak_sim::{Config, Lane, OutputModel};
use serde_json::json;

use crate::harness::{Client, DAY, HOUR, START, params, row, rows, words};

fn client() -> Client {
    Client::new(Config {
        output: OutputModel::Fixed(10),
        ..Config::default()
    })
}

#[test]
fn a_line_per_answer_and_lines_add_up() {
    let mut client = client();
    let answer = client.message(&params("one two three"));
    let lines = client.run(&rows(4));
    let bill = client.world.bill();
    assert_eq!(
        (bill.calls(), bill.rows(), bill.batches(), bill.len()),
        (1, 4, 1, 5)
    );
    let billed: Vec<_> = bill.lines().collect();
    assert_eq!(
        billed.iter().map(|line| line.pico).sum::<i128>(),
        bill.total()
    );
    assert_eq!(bill.of(Lane::Sync) + bill.of(Lane::Batch), bill.total());

    let sync = &billed[0];
    assert_eq!(sync.id, answer["id"].as_str().unwrap());
    assert_eq!((sync.at, sync.row, sync.tally.output), (START, None, 10));
    assert_eq!(sync.pico, 3 * 3_000_000 + 10 * 15_000_000);
    for line in &billed[1..] {
        let (_, custom_id) = line.row.unwrap();
        let result = lines.iter().find(|l| l["custom_id"] == custom_id).unwrap();
        assert_eq!(result["result"]["message"]["id"], line.id.as_str());
        assert_eq!((line.lane, line.model), (Lane::Batch, "claude-sonnet-4-6"));
    }
}

#[test]
fn the_price_is_that_of_the_creation() {
    // Sonnet 5.5 reads became cheaper on 2026-10-07: a batch made on the 6th keeps its price.
    let mut client = client();
    client.now = START - 47 * DAY + 13 * HOUR; // 2026-10-06 23:00
    let row = |i: u32, mark: bool| {
        let mut params = params(&format!("Q{i}"));
        params["model"] = json!("claude-sonnet-5-5");
        params["system"] = json!([{"type": "text", "text": words(1_000)}]);
        if mark {
            params["system"][0]["cache_control"] = json!({"type": "ephemeral", "ttl": "1h"});
        }
        row(&format!("r{i}"), &params)
    };
    client.run(&[row(0, true)]);
    let before = client.create(&[row(1, true)]);
    client.wait(HOUR);
    client.batch(&before);
    let bill = client.world.bill();
    let line = bill.lines().last().unwrap();
    assert_eq!(line.tally.read, 1_300);
    let rest = i128::from(line.tally.input) * 1_000_000 + 10 * 5_000_000;
    assert_eq!(
        line.pico - rest,
        1_300 * 100_000,
        "half of $0.20, though it ran on the 7th"
    );
}

#[test]
fn geography_and_speed_are_billed_as_used() {
    let mut client = client();
    let mut us = params("one two three");
    us["inference_geo"] = json!("us");
    let answer = client.message(&us);
    assert_eq!(answer["usage"]["inference_geo"], "us");
    assert_eq!(
        client.world.bill().total(),
        (3 * 3_000_000 + 10 * 15_000_000) * 11 / 10
    );

    let mut fast = params("x");
    fast["model"] = json!("claude-opus-5-5");
    fast["speed"] = json!("fast");
    assert_eq!(client.message(&fast)["usage"]["speed"], "fast");
    let bill = client.world.bill();
    assert_eq!(
        bill.lines().last().unwrap().pico,
        8_000_000 + 10 * 40_000_000
    );

    let mut old = params("x");
    old["model"] = json!("claude-haiku-4-5");
    assert_eq!(
        client.message(&old)["usage"]["inference_geo"],
        "not_available"
    );
}

#[test]
fn refusals_are_billed_for_what_was_said() {
    let mut client = Client::new(Config {
        refusals: 1.0,
        ..Config::default()
    });
    let answer = client.message(&params("x"));
    assert_eq!(answer["stop_reason"], "refusal");
    assert_eq!(answer["stop_details"]["type"], "refusal");
    assert!(client.world.bill().total() > 0);
}
