//! Whatever is sent to the simulator, it answers in the documented shapes, and its bill stays whole.

use offpeak_sim::{Config, Request, World};
use offpeak_wire::batch::BatchObject;
use offpeak_wire::message::MessageView;
use offpeak_wire::result::ResultLine;
use serde_json::Value;

const NOON: i64 = 1_795_341_600_000_000; // 2026-11-22 10:00 UTC
const HOUR: i64 = 3_600_000_000;
const STATUSES: [u16; 8] = [200, 400, 401, 403, 404, 413, 429, 529];

/// One request to a fresh world. The first byte chooses where it goes and the version it speaks, the rest is its body.
///
/// # Panics
///
/// When the world does, or when an answer is none of the API's.
pub fn exchange(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let path = [
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
    ][usize::from(choice % 3)];
    let version = if choice & 0x80 == 0 {
        "2026-10-21"
    } else {
        "2023-06-01"
    };
    let mut world = World::new(Config::default());
    let request = Request::new("POST", path)
        .with("authorization", "Bearer sk-fuzz")
        .with("anthropic-version", version)
        .body(body);
    let reply = world.handle(NOON, &request);
    let status = reply.status;
    assert!(STATUSES.contains(&status), "{status}");
    assert!(reply.at >= NOON);
    let (answer, complete) = reply.body.collect();
    assert!(complete);
    match (status, choice % 3) {
        (413, _) => {}
        (200, 0) => {
            if let Ok(message) = MessageView::parse(&answer) {
                let _ = message.text();
            } else {
                assert!(answer.starts_with(b"event: message_start"));
            }
        }
        (200, 1) => assert!(tree(&answer)["input_tokens"].is_u64()),
        (200, _) => results(&mut world, &answer),
        _ => assert_eq!(tree(&answer)["type"], "error"),
    }
    let bill = world.bill();
    assert!(status == 200 || bill.total() == 0, "a refusal is free");
    assert_eq!(bill.duplicates(), 0);
}

fn tree(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("an answer is JSON")
}

/// Every row of an accepted batch has exactly one line.
fn results(world: &mut World, created: &[u8]) {
    let batch = BatchObject::parse(created).expect("a batch");
    let get = Request::new("GET", &format!("/v1/messages/batches/{}/results", batch.id))
        .with("authorization", "Bearer sk-fuzz")
        .with("anthropic-version", "2026-10-21");
    let reply = world.handle(NOON + 25 * HOUR, &get);
    assert_eq!(reply.status, 200, "all batches end within a day");
    let (lines, complete) = reply.body.collect();
    assert!(complete);
    let lines: Vec<_> = lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.len() as u64, batch.counts.total());
    let mut ids: Vec<_> = lines
        .iter()
        .map(|line| ResultLine::parse(line).expect("a result line").custom_id)
        .collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
}
