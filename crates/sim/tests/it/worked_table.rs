//! The worked table of a nightly enrichment (5,000 calls of 4,500 shared tokens, 1,500 of their own
//! and 400 of answer) in three price classes, row by row out of the simulator's bill.
//!
//! Every figure is exact to the picodollar; the table itself is rounded to a tenth of a cent.

use std::ops::Range;

use offpeak_sim::{CacheRules, Config, OutputModel, Request};
use serde_json::{Value, json};

use crate::harness::{BATCHES, Client, HOUR, SECOND};

const N: usize = 5_000;
/// An image by reference is 1,500 tokens: three are the prefix, one is a call's own part.
const IMAGE_TOKENS: i128 = 1_500;
const PREFIX: i128 = 3 * IMAGE_TOKENS;
const OWN: i128 = IMAGE_TOKENS;
const ANSWER: u32 = 400;

/// Models of the three classes, with their price of an input token in picodollars; output is five
/// times as much.
const CLASSES: [(&str, i128); 3] = [
    ("claude-opus-4-6", 5_000_000),
    ("claude-sonnet-4-6", 3_000_000),
    ("claude-haiku-4-5", 1_000_000),
];

/// How the calls travel.
#[derive(Clone, Copy)]
enum Route {
    Sync,
    SyncCached,
    Batch,
    /// All at once; the rows that start before the first answer begins write, the others read.
    Cold {
        ttl: &'static str,
        writes: u32,
    },
    Prewarmed,
    Canary,
}

/// The table: its name, route, dollars by class as printed, share of the naive cost in
/// ten-thousandths, and how often the prefix is written and read, in hundredths of its price.
struct Line {
    name: &'static str,
    route: Route,
    printed: [&'static str; 3],
    of_naive: i128,
    prefix: i128,
}

const fn cached(write: i128, writes: i128) -> i128 {
    write * writes + 10 * (N as i128 - writes)
}

const TABLE: [Line; 11] = [
    Line {
        name: "naive sync",
        route: Route::Sync,
        printed: ["200.000", "120.000", "40.000"],
        of_naive: 10_000,
        prefix: 100 * N as i128,
    },
    Line {
        name: "sync + 5m, single-flight",
        route: Route::SyncCached,
        printed: ["98.776", "59.266", "19.755"],
        of_naive: 4_939,
        prefix: cached(125, 1),
    },
    Line {
        name: "batch",
        route: Route::Batch,
        printed: ["100.000", "60.000", "20.000"],
        of_naive: 5_000,
        prefix: 100 * N as i128,
    },
    Line {
        name: "batch + 1h, h = 30 %",
        route: Route::Cold {
            ttl: "1h",
            writes: 3_500,
        },
        printed: ["124.188", "74.513", "24.838"],
        of_naive: 6_209,
        prefix: cached(200, 3_500),
    },
    Line {
        name: "batch + 5m, h = 30 %",
        route: Route::Cold {
            ttl: "5m",
            writes: 3_500,
        },
        printed: ["94.656", "56.794", "18.931"],
        of_naive: 4_733,
        prefix: cached(125, 3_500),
    },
    Line {
        name: "batch + 1h, h = 70 %",
        route: Route::Cold {
            ttl: "1h",
            writes: 1_500,
        },
        printed: ["81.438", "48.863", "16.288"],
        of_naive: 4_072,
        prefix: cached(200, 1_500),
    },
    Line {
        name: "batch + 1h, h = 98 %",
        route: Route::Cold {
            ttl: "1h",
            writes: 100,
        },
        printed: ["51.513", "30.908", "10.303"],
        of_naive: 2_576,
        prefix: cached(200, 100),
    },
    Line {
        name: "batch + 5m, h = 98 %",
        route: Route::Cold {
            ttl: "5m",
            writes: 100,
        },
        printed: ["50.669", "30.401", "10.134"],
        of_naive: 2_533,
        prefix: cached(125, 100),
    },
    Line {
        name: "batch + 1h, sync pre-warm, all hit",
        route: Route::Prewarmed,
        printed: ["49.420", "29.652", "9.884"],
        of_naive: 2_471,
        // The pre-warm is at twice the price of the rest.
        prefix: cached(200, 0) + 400,
    },
    Line {
        name: "batch + 1h, canary, all hit",
        route: Route::Canary,
        printed: ["49.396", "29.638", "9.879"],
        of_naive: 2_470,
        prefix: cached(200, 1),
    },
    Line {
        name: "offline optimum (1 write, 5m, batch)",
        route: Route::Cold {
            ttl: "5m",
            writes: 1,
        },
        printed: ["49.388", "29.633", "9.878"],
        of_naive: 2_469,
        prefix: cached(125, 1),
    },
];

fn call(model: &str, ttl: Option<&str>, own: bool) -> Value {
    let image = |n: usize| {
        let url = format!("https://example.com/{n}.png");
        json!({ "type": "image", "source": { "type": "url", "url": url } })
    };
    let mut content: Vec<Value> = (0..if own { 4 } else { 3 }).map(image).collect();
    if let Some(ttl) = ttl {
        content[2]["cache_control"] = json!({ "type": "ephemeral", "ttl": ttl });
    }
    json!({
        "model": model,
        "max_tokens": if own { 1_000 } else { 0 },
        "messages": [{ "role": "user", "content": content }],
    })
}

/// What the simulator billed for one line of the table.
fn billed(model: &str, route: Route) -> i128 {
    let workers = match route {
        Route::Cold { writes, .. } => writes,
        _ => 50,
    };
    let mut client = Client::new(Config {
        output: OutputModel::Fixed(ANSWER),
        workers,
        cache: CacheRules {
            lanes_share: matches!(route, Route::Prewarmed),
            ..CacheRules::default()
        },
        ..Config::default()
    });
    // Written by hand: 5,000 rows as JSON values would take longer than the simulation.
    let rows = |ttl, range: Range<usize>| {
        let params = call(model, ttl, true);
        let row = |i| format!(r#"{{"custom_id":"row-{i}","params":{params}}}"#);
        let rows: Vec<String> = range.map(row).collect();
        format!(r#"{{"requests":[{}]}}"#, rows.join(","))
    };
    let send = |client: &mut Client, target: &str, body: String| {
        let request = Request::new("POST", target).signed("key").body(body);
        assert_eq!(client.send(&request).status, 200);
    };
    match route {
        Route::Sync | Route::SyncCached => {
            let ttl = matches!(route, Route::SyncCached).then_some("5m");
            let body = call(model, ttl, true).to_string();
            for _ in 0..N {
                send(&mut client, "/v1/messages", body.clone());
                client.wait(2 * SECOND);
            }
        }
        Route::Batch => send(&mut client, BATCHES, rows(None, 0..N)),
        Route::Cold { ttl, .. } => send(&mut client, BATCHES, rows(Some(ttl), 0..N)),
        Route::Prewarmed => {
            let warm = call(model, Some("1h"), false).to_string();
            send(&mut client, "/v1/messages", warm);
            client.wait(10 * SECOND);
            send(&mut client, BATCHES, rows(Some("1h"), 0..N));
        }
        Route::Canary => {
            send(&mut client, BATCHES, rows(Some("1h"), 0..1));
            client.wait(HOUR / 2);
            send(&mut client, BATCHES, rows(Some("1h"), 1..N));
        }
    }
    client.wait(HOUR);
    client.world.advance(client.now);
    let bill = client.world.bill();
    assert_eq!(
        bill.len(),
        N as u64 + u64::from(matches!(route, Route::Prewarmed))
    );
    bill.total()
}

/// What the formulas say: 0.5 in a batch, of prefix, own part and five times the answer.
fn formula(line: &Line, price: i128) -> i128 {
    let own = 100 * N as i128 * (OWN + 5 * i128::from(ANSWER));
    let whole = price * (PREFIX * line.prefix + own) / 100;
    match line.route {
        Route::Sync | Route::SyncCached => whole,
        _ => whole / 2,
    }
}

/// Rounded half up to so many decimals, as the table prints.
fn rounded(pico: i128) -> String {
    let mills = (pico + 500_000_000) / 1_000_000_000;
    format!("{}.{:03}", mills / 1_000, mills % 1_000)
}

fn check(class: usize) {
    let (model, price) = CLASSES[class];
    let naive = formula(&TABLE[0], price);
    for line in &TABLE {
        let bill = billed(model, line.route);
        assert_eq!(bill, formula(line, price), "{model}: {}", line.name);
        assert_eq!(rounded(bill), line.printed[class], "{model}: {}", line.name);
        let share = (bill * 20_000 / naive + 1) / 2;
        assert_eq!(share, line.of_naive, "{model}: {}", line.name);
    }
}

#[test]
fn opus() {
    check(0);
}

#[test]
fn sonnet() {
    check(1);
}

#[test]
fn haiku() {
    check(2);
}
