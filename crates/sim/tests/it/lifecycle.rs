//! A batch from creation to archival, in virtual time.

use offpeak_sim::{Config, OutputModel, Profile};
use serde_json::json;

use crate::harness::{BATCHES, Client, DAY, HOUR, MINUTE, SECOND, rows};

fn config(profile: Profile) -> Config {
    Config {
        profile,
        ..Config::default()
    }
}

#[test]
fn counters_stand_still_until_the_end_unless_live() {
    for live_counts in [false, true] {
        let mut client = Client::new(Config {
            live_counts,
            ..config(Profile::Normal)
        });
        let id = client.create(&rows(200));
        client.wait(20 * MINUTE);
        let batch = client.batch(&id);
        assert_eq!(batch["processing_status"], "in_progress");
        let counts = &batch["request_counts"];
        let sum: u64 = counts
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum();
        assert_eq!(sum, 200);
        assert_eq!(counts["processing"] == 200, !live_counts, "{counts}");
        client.wait(DAY);
        let counts = client.batch(&id)["request_counts"].clone();
        assert_eq!(counts["succeeded"], 200);
    }
}

#[test]
fn results_wait_for_the_end_and_do_not_outlive_29_days() {
    let mut client = Client::new(Config::default());
    let id = client.create(&rows(2));
    let target = format!("{BATCHES}/{id}/results");
    let missing = format!("Message Batch {id} has no available results.");
    let (status, body) = client.get(&target);
    assert_eq!((status, &body["error"]["message"]), (404, &json!(missing)));

    client.wait(29 * DAY - 1);
    assert_eq!(client.batch(&id)["archived_at"], json!(null));
    assert_eq!(client.results(&id).len(), 2);
    client.wait(1);
    assert_eq!(
        client.batch(&id)["archived_at"],
        "2026-12-21T10:00:00.000000Z"
    );
    let (status, body) = client.get(&target);
    assert_eq!((status, &body["error"]["message"]), (404, &json!(missing)));
}

#[test]
fn what_has_not_run_after_24_hours_expires_for_free() {
    let mut client = Client::new(config(Profile::Dead));
    let id = client.create(&rows(3));
    client.wait(DAY - 1);
    assert_eq!(client.batch(&id)["processing_status"], "in_progress");
    client.wait(1);
    let batch = client.batch(&id);
    assert_eq!(batch["processing_status"], "ended");
    assert_eq!(batch["ended_at"], batch["expires_at"]);
    assert_eq!(batch["request_counts"]["expired"], 3);
    let lines = client.results(&id);
    assert!(
        lines
            .iter()
            .all(|line| line["result"] == json!({ "type": "expired" }))
    );
    assert_eq!(client.world.bill().total(), 0);

    let mut client = Client::new(config(Profile::SlowTail));
    let id = client.create(&rows(1_000));
    client.wait(DAY);
    let counts = client.batch(&id)["request_counts"].clone();
    assert_eq!(
        (&counts["succeeded"], &counts["expired"]),
        (&json!(950), &json!(50))
    );
    assert_eq!(client.world.bill().rows(), 950);
}

#[test]
fn a_stuck_batch_makes_it_just_in_time() {
    let mut client = Client::new(config(Profile::Stuck));
    let id = client.create(&rows(100));
    client.wait(23 * HOUR);
    assert_eq!(client.batch(&id)["processing_status"], "in_progress");
    client.wait(30 * MINUTE);
    assert_eq!(client.batch(&id)["request_counts"]["succeeded"], 100);
}

#[test]
fn a_cancellation_settles_and_keeps_what_was_done() {
    let mut client = Client::new(config(Profile::Normal));
    let id = client.create(&rows(400));
    client.wait(20 * MINUTE);
    let cancel = format!("{BATCHES}/{id}/cancel");
    let (status, batch) = client.post(&cancel, "");
    assert_eq!(
        (status, &batch["processing_status"]),
        (200, &json!("canceling"))
    );
    let initiated = batch["cancel_initiated_at"].clone();
    assert_eq!(initiated, "2026-11-22T10:20:00.000000Z");

    client.wait(20 * SECOND);
    let (status, again) = client.post(&cancel, "");
    assert_eq!(
        (status, &again["cancel_initiated_at"]),
        (200, &initiated),
        "idempotent"
    );
    let (status, body) = client.get(&format!("{BATCHES}/{id}/results"));
    assert_eq!(status, 404, "{body}");

    client.wait(5 * SECOND);
    let batch = client.batch(&id);
    assert_eq!(batch["processing_status"], "ended");
    assert_eq!(batch["ended_at"], "2026-11-22T10:20:25.000000Z");
    let counts = &batch["request_counts"];
    let n = |key: &str| counts[key].as_u64().unwrap();
    assert_eq!(n("succeeded") + n("canceled"), 400);
    assert!(n("succeeded") > 100 && n("canceled") > 100, "{counts}");
    assert_eq!(
        client.world.bill().rows(),
        n("succeeded"),
        "canceled rows are free"
    );
    let lines = client.results(&id);
    let canceled = lines
        .iter()
        .filter(|l| l["result"]["type"] == "canceled")
        .count();
    assert_eq!(canceled as u64, n("canceled"));

    assert_eq!(client.post(&cancel, "").0, 400, "it has ended");
}

#[test]
fn a_batch_canceled_before_its_start_is_wholly_canceled() {
    let mut client = Client::new(Config::default());
    let id = client.create(&rows(5));
    client.post(&format!("{BATCHES}/{id}/cancel"), "");
    client.wait(HOUR);
    assert_eq!(client.batch(&id)["request_counts"]["canceled"], 5);
    assert_eq!(client.world.bill().total(), 0);
}

#[test]
fn only_ended_batches_can_be_deleted() {
    let mut client = Client::new(Config::default());
    let id = client.create(&rows(2));
    let delete = offpeak_sim::Request::new("DELETE", &format!("{BATCHES}/{id}")).signed("key");
    let reply = client.send(&delete);
    assert_eq!(reply.status, 400);
    let text = "In progress batches cannot be deleted. Consider canceling the batch instead.";
    assert_eq!(crate::harness::value(reply)["error"]["message"], text);

    client.wait(HOUR);
    let reply = client.send(&delete);
    let deleted = json!({ "id": id, "type": "message_batch_deleted" });
    assert_eq!((reply.status, crate::harness::value(reply)), (200, deleted));
    let (status, body) = client.get(&format!("{BATCHES}/{id}"));
    let text = format!("Message Batch {id} not found.");
    assert_eq!((status, &body["error"]["message"]), (404, &json!(text)));
    assert_eq!(client.get(BATCHES).1["data"], json!([]));
    assert_eq!(client.world.bill().rows(), 2, "the bill forgets nothing");
}

#[test]
fn rows_finish_while_nobody_looks() {
    let mut client = Client::new(Config {
        output: OutputModel::Fixed(100),
        ..Config::default()
    });
    client.create(&rows(10));
    client.wait(HOUR);
    assert_eq!(client.world.bill().rows(), 0);
    client.world.advance(client.now);
    assert_eq!(client.world.bill().rows(), 10);
}

#[test]
fn a_large_batch_is_taken_and_finished() {
    let mut client = Client::new(Config::default());
    let id = client.create(&rows(5_000));
    client.wait(30 * MINUTE);
    assert_eq!(client.batch(&id)["request_counts"]["succeeded"], 5_000);
    assert_eq!(client.results(&id).len(), 5_000);
}
