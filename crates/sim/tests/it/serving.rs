//! What only a served world has: a clock, a file, and clients that behave badly.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use offpeak_sim::server::{Keeper, Time, Upstream, serve};
use offpeak_sim::{Config, Profile, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{BATCHES, HOUR, SECOND, START, envelope, marked, params, row, rows};

/// A server on a free port, on time that stands still, and its world.
async fn still(config: Config) -> (String, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World::new(config)));
    let upstream = Upstream::on(Arc::clone(&world), Time::by_hand(START));
    (listen(upstream).await, world)
}

async fn listen(upstream: Upstream) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, upstream));
    address
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes as they are, and returns the status and the body of what comes back.
async fn raw(address: &str, bytes: &[u8]) -> (u16, String) {
    let mut stream = connect(address).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

async fn ask(address: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nx-api-key: key\r\nanthropic-version: \
         2023-06-01\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = raw(address, request.as_bytes()).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test measures how long a simulated day takes"
)]
fn wall() -> std::time::Instant {
    std::time::Instant::now()
}

#[tokio::test]
async fn a_day_passes_in_a_moment() {
    let begun = wall();
    let config = Config {
        profile: Profile::SlowTail,
        ..Config::default()
    };
    let (address, world) = still(config).await;
    let move_on = |seconds: i64| {
        let address = address.clone();
        let body = json!({ "advance_s": seconds }).to_string();
        async move { ask(&address, "POST", "/_sim/clock", &body).await }
    };
    // An hour's cache entry: alive after 59 minutes, dead after another 61.
    let call = marked(2_000, "1h", "Hello.").to_string();
    let mut reads = Vec::new();
    for seconds in [59 * 60, 61 * 60, 1] {
        let (_, message) = ask(&address, "POST", "/v1/messages", &call).await;
        reads.push(
            message["usage"]["cache_read_input_tokens"]
                .as_u64()
                .unwrap(),
        );
        assert_eq!(move_on(seconds).await.0, 200);
    }
    assert_eq!(reads, [0, 2_000, 0]);
    // A day's batch: what has not run by then has expired.
    let (_, batch) = ask(&address, "POST", BATCHES, &envelope(&rows(200))).await;
    let target = format!("{BATCHES}/{}", batch["id"].as_str().unwrap());
    for _ in 0..23 {
        assert_eq!(move_on(3_600).await.0, 200);
        let (_, batch) = ask(&address, "GET", &target, "").await;
        assert_eq!(batch["processing_status"], "in_progress");
    }
    let (status, clock) = move_on(3_600).await;
    assert_eq!((status, &clock["mode"]), (200, &json!("virtual")));
    let (_, batch) = ask(&address, "GET", &target, "").await;
    assert_eq!(batch["processing_status"], "ended");
    assert_eq!(batch["request_counts"]["expired"], 10);
    let to = json!({ "to": "2026-12-24T00:00:00Z" }).to_string();
    let (_, clock) = ask(&address, "POST", "/_sim/clock", &to).await;
    assert_eq!(clock["now"], "2026-12-24T00:00:00.000000Z");
    let (_, batch) = ask(&address, "GET", &target, "").await;
    assert!(batch["archived_at"].is_string());
    assert_eq!(world.lock().unwrap().bill().rows(), 190);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn the_clock_is_moved_by_hand_or_not_at_all() {
    let (address, _) = still(Config::default()).await;
    for (body, status) in [
        (r#"{"advance_s":0}"#, 200),
        (r#"{"to":"2026-11-22T09:00:00Z"}"#, 409),
        (r#"{"advance_s":-1}"#, 400),
        (r#"{"advance_s":1,"to":"2026-11-23T00:00:00Z"}"#, 400),
        ("{", 400),
    ] {
        assert_eq!(
            ask(&address, "POST", "/_sim/clock", body).await.0,
            status,
            "{body}"
        );
    }
    let world = Arc::new(Mutex::new(World::new(Config::default())));
    let real = listen(Upstream::new(world, Arc::new(|| START))).await;
    let (status, error) = ask(&real, "POST", "/_sim/clock", r#"{"advance_s":1}"#).await;
    assert_eq!(status, 409);
    assert!(error["error"].as_str().unwrap().contains("--clock virtual"));
    let (_, clock) = ask(&real, "GET", "/_sim/clock", "").await;
    assert_eq!(
        (&clock["mode"], &clock["now"]),
        (&json!("real"), &json!("2026-11-22T10:00:00.000000Z"))
    );
}

#[tokio::test]
async fn a_kept_world_survives_its_server() {
    let file = std::env::temp_dir().join(format!("offpeak-sim-{}.state", std::process::id()));
    let keeper = Keeper::new(file.clone());
    assert_eq!(keeper.read().unwrap(), None);
    let world = Arc::new(Mutex::new(World::new(Config::default())));
    let upstream = Upstream::on(Arc::clone(&world), Time::by_hand(START)).kept(keeper.clone());
    let address = listen(upstream).await;
    let (_, batch) = ask(&address, "POST", BATCHES, &envelope(&rows(3))).await;
    let (status, saved) = ask(&address, "POST", "/_sim/save", "").await;
    assert_eq!(status, 200, "{saved}");
    let bytes = keeper.read().unwrap().unwrap();
    std::fs::remove_file(&file).unwrap();
    let again = World::load(&bytes, Config::default()).unwrap();
    assert_eq!(again.now(), world.lock().unwrap().now());
    let upstream = Upstream::on(Arc::new(Mutex::new(again)), Time::by_hand(START + HOUR));
    let address = listen(upstream).await;
    let target = format!("{BATCHES}/{}", batch["id"].as_str().unwrap());
    let (_, ended) = ask(&address, "GET", &target, "").await;
    assert_eq!(ended["request_counts"]["succeeded"], 3);
    let (status, _) = ask(&address, "POST", "/_sim/save", "").await;
    assert_eq!(status, 409, "this one has no file");
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_unread() {
    let (address, world) = still(Config::default()).await;
    let head = |target: &str, length: usize, more: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\nanthropic-version: \
             2023-06-01\r\n{more}content-length: {length}\r\n\r\n"
        )
    };
    // A client that waits for a word before it sends.
    let polite = head(
        BATCHES,
        257_000_000,
        "expect: 100-continue\r\nconnection: close\r\n",
    );
    let (status, body) = raw(&address, polite.as_bytes()).await;
    assert_eq!(status, 413);
    assert!(body.contains("413 Request Entity Too Large"));
    // One that does not.
    let mut rude = head("/v1/messages", 33_000_000, "connection: close\r\n").into_bytes();
    rude.resize(rude.len() + 33_000_000, b' ');
    assert_eq!(raw(&address, &rude).await.0, 413);
    let log = world
        .lock()
        .unwrap()
        .handle(START, &offpeak_sim::Request::new("GET", "/_sim/requests"));
    let log: Value = serde_json::from_slice(&log.body.collect().0).unwrap();
    assert_eq!(
        (&log["requests"][0]["status"], &log["requests"][1]["status"]),
        (&json!(413), &json!(413))
    );
}

#[tokio::test]
async fn broken_bodies_and_heads_get_an_error_and_change_nothing() {
    let (address, world) = still(Config::default()).await;
    let chunked = format!(
        "POST {BATCHES} HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\nanthropic-version: 2023-06-01\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\nnonsense\r\n"
    );
    let (status, body) = raw(&address, chunked.as_bytes()).await;
    assert_eq!(status, 400);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(raw(&address, b"nonsense\r\n\r\n").await.0, 400);
    // Half a body, and gone.
    let mut stream = connect(&address).await;
    let half =
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(half.as_bytes()).await.unwrap();
    drop(stream);
    for (body, message) in [("{", "is not valid JSON"), ("[]", "")] {
        let (status, answer) = ask(&address, "POST", "/v1/messages", body).await;
        assert_eq!(status, 400);
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains(message)
        );
    }
    let (status, answer) = ask(
        &address,
        "POST",
        "/v1/messages",
        &params("Still there.").to_string(),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.lock().unwrap().bill().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_and_slow_clients_are_let_go() {
    let (address, _) = still(Config::default()).await;
    let started: [&[u8]; 3] = [
        b"",
        b"POST /v1/messages HTTP/1.1\r\nhost:",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\ncontent-length: 9\r\n\r\n{",
    ];
    for bytes in started {
        let mut stream = connect(&address).await;
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let gone = stream.read_to_end(&mut rest);
        let gone = tokio::time::timeout(Duration::from_secs(180), gone).await;
        assert!(gone.is_ok(), "after {bytes:?} the connection stays");
    }
}

#[tokio::test]
async fn more_clients_than_there_is_room_for_wait_their_turn() {
    let world = Arc::new(Mutex::new(World::new(Config::default())));
    let upstream = Upstream::on(world, Time::by_hand(START)).with_room(8);
    let address = listen(upstream).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(connect(&address).await);
    }
    let waiting = tokio::spawn({
        let address = address.clone();
        async move { ask(&address, "GET", "/_sim/clock", "").await.0 }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(idle.pop());
    assert_eq!(waiting.await.unwrap(), 200);
}

#[test]
fn cold_batches_hit_by_their_size_and_a_canary_always() {
    let hits = |n: usize, canary: bool| {
        let mut client = crate::harness::Client::new(Config::default());
        let call = |i| row(&format!("r{i}"), &marked(2_000, "1h", &format!("Row {i}")));
        let rows: Vec<Value> = (0..n).map(call).collect();
        let lines = if canary {
            client.run(&rows[..1]);
            client.run(&rows[1..])
        } else {
            client.run(&rows)
        };
        client.wait(SECOND);
        let read = lines
            .iter()
            .filter(|line| crate::harness::usage(line).3 > 0);
        read.count() * 100 / lines.len()
    };
    assert_eq!([10, 50, 71, 2_500].map(|n| hits(n, false)), [0, 0, 29, 98]);
    assert_eq!([11, 51, 71].map(|n| hits(n, true)), [100; 3]);
}
