//! A day of a batch in a moment: the simulator as a library, without a server, a runtime or a clock. Most rows end within
//! hours, the rest is cut off by the 24-hour expiry, and the bill says what that cost.
//!
//! `cargo run -p offpeak-sim --example a_day`

use std::error::Error;

use offpeak_sim::{Config, Profile, Request, World};
use offpeak_wire::batch::{BatchObject, BatchStatus};
use offpeak_wire::result::{ResultLine, RowResult};

const HOUR: i64 = 3_600_000_000; // instants are microseconds since the Unix epoch
const MORNING: i64 = 1_795_341_600_000_000; // 2026-11-22 10:00 UTC
const ROWS: usize = 2_000;

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut world = World::new(Config {
        seed: 7,
        profile: Profile::SlowTail, // a day on which 5 % of the rows are never reached
        ..Config::default()
    });

    let rows: Vec<String> = (0..ROWS)
        .map(|n| {
            format!(
                r#"{{"custom_id":"row-{n}","params":{{"model":"claude-haiku-4-5","max_tokens":100,
                "messages":[{{"role":"user","content":"Label document {n}."}}]}}}}"#
            )
        })
        .collect();
    let create = Request::new("POST", "/v1/messages/batches")
        .signed("sk-example")
        .body(format!(r#"{{"requests":[{}]}}"#, rows.join(",")));
    let (created, _) = world.handle(MORNING, &create).body.collect();
    let batch = BatchObject::parse(&created)?;

    let path = format!("/v1/messages/batches/{}", batch.id);
    let look = Request::new("GET", &path).signed("sk-example");
    for hour in [0, 1, 6, 24] {
        let (body, _) = world.handle(MORNING + hour * HOUR, &look).body.collect();
        let seen = BatchObject::parse(&body)?;
        println!("after {hour:2} h: {}", seen.status.as_str());
        assert_eq!(seen.status == BatchStatus::Ended, hour == 24);
    }

    let download = Request::new("GET", &format!("{path}/results")).signed("sk-example");
    let (lines, complete) = world.handle(MORNING + 24 * HOUR, &download).body.collect();
    assert!(complete);
    let mut expired = 0;
    for line in lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match ResultLine::parse(line)?.result {
            RowResult::Expired => expired += 1,
            other => assert!(matches!(other, RowResult::Succeeded { .. })),
        }
    }
    let bill = world.bill();
    assert_eq!(
        u64::try_from(ROWS - expired)?,
        bill.rows(),
        "what expired is free"
    );
    println!("{} rows answered, {expired} expired", bill.rows());
    println!("billed {} picodollars", bill.total());
    Ok(())
}
