//! The batch lane: result lines in any order, complete or not.

use proptest::prelude::*;

use offpeak_wire::error::ErrorKind;
use offpeak_wire::message::MessageView;

use super::*;

/// What the results say of a row.
#[derive(Debug, Clone)]
enum Says {
    Message {
        stop_reason: &'static str,
        input: u64,
        output: u64,
    },
    Error(&'static str),
    Canceled,
    Expired,
    Garbage,
    Nothing,
    /// A line that cannot be read, then one that can, then another.
    Thrice(u64),
}

impl Says {
    fn results(&self) -> Vec<String> {
        let succeeded = |message: String| format!(r#"{{"type":"succeeded","message":{message}}}"#);
        match self {
            Self::Message {
                stop_reason,
                input,
                output,
            } => {
                vec![succeeded(message(stop_reason, *input, *output))]
            }
            Self::Error(kind) => vec![format!(r#"{{"type":"errored","error":{}}}"#, error(kind))],
            Self::Canceled => vec![r#"{"type":"canceled"}"#.to_owned()],
            Self::Expired => vec![r#"{"type":"expired"}"#.to_owned()],
            Self::Garbage => vec![r#"{"type":"succeeded","message":{"id":"#.to_owned()],
            Self::Nothing => vec![],
            Self::Thrice(output) => vec![
                succeeded("{}".to_owned()),
                succeeded(message("end_turn", 1, *output)),
                succeeded(message("end_turn", 1, *output)),
            ],
        }
    }
}

fn says() -> impl Strategy<Value = Says> {
    let stop_reason = prop::sample::select(vec!["end_turn", "max_tokens", "refusal", "pause_turn"]);
    let kind = prop::sample::select(vec![
        "invalid_request_error",
        "api_error",
        "overloaded_error",
        "billing_error",
    ]);
    prop_oneof![
        4 => (stop_reason, 0u64..200_000, 0u64..1000)
            .prop_map(|(stop_reason, input, output)| Says::Message { stop_reason, input, output }),
        2 => kind.prop_map(Says::Error),
        1 => Just(Says::Canceled),
        1 => Just(Says::Expired),
        1 => Just(Says::Garbage),
        1 => Just(Says::Nothing),
        1 => (0u64..1000).prop_map(Says::Thrice),
    ]
}

impl Job {
    fn lines_of(&self, shard: &Shard, says: &[Says]) -> Vec<String> {
        let rows = RefsReader::open(&self.spool, shard.rows)
            .unwrap()
            .map(Result::unwrap);
        rows.zip(says)
            .flat_map(|(row, says)| {
                let id = self.custom_id(shard.no.0, row.row);
                let line = move |result| format!(r#"{{"custom_id":"{id}","result":{result}}}"#);
                says.results().into_iter().map(line)
            })
            .collect()
    }

    fn download(&self, shard: &Shard, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.spool.results(shard.no), text).unwrap();
    }

    fn settle(&self, no: u32, rows: std::ops::Range<usize>, says: &[Says]) -> Settlement {
        let shard = self.shard(no, Lane::Batch, rows);
        self.download(&shard, &self.lines_of(&shard, says));
        self.settle_again(&shard).unwrap()
    }

    fn settle_again(&self, shard: &Shard) -> Result<Settlement, SettleError> {
        let results = read_results(&self.ctx(), shard, at())?;
        settle_batch(&self.ctx(), shard, &collection(), results)
    }

    fn segment(&self, no: u32) -> Vec<u8> {
        std::fs::read(self.spool.outcomes(ShardNo(no))).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_the_lines_shows_nowhere(
        says in prop::collection::vec(says(), 1..40),
        shuffled in any::<u64>(),
    ) {
        let says: Vec<_> =
            says.into_iter().filter(|says| !matches!(says, Says::Thrice(_))).collect();
        let mut job = Job::of(says.len() as u64);
        // Then no row is left over, and there is an output.
        job.canceled = true;
        let settlement = job.settle(3, 0..says.len(), &says);
        let (segment, output) = (job.segment(3), std::fs::read(job.output()).unwrap());
        let shard = job.shard(3, Lane::Batch, 0..says.len());
        prop_assert_eq!(&job.settle_again(&shard).unwrap(), &settlement);
        prop_assert_eq!(job.segment(3), segment);

        let mut lines = job.lines_of(&shard, &says);
        lines.push(r#"{"custom_id":"somebody-elses","result":{"type":"expired"}}"#.to_owned());
        lines.push(String::new());
        lines.sort_by_key(|line| blake3::hash(format!("{shuffled}{line}").as_bytes()).to_hex());
        job.download(&shard, &lines);
        prop_assert_eq!(job.settle_again(&shard).unwrap(), settlement);
        prop_assert_eq!(std::fs::read(job.output()).unwrap(), output);
    }

    #[test]
    fn cutting_a_shard_in_two_changes_no_sum_and_no_line(
        says in prop::collection::vec(says(), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut job = Job::of(says.len() as u64);
        job.canceled = true;
        let whole = job.settle(0, 0..says.len(), &says);
        let output = std::fs::read(job.output()).unwrap();
        prop_assert_eq!(sum_of_costs(&job.lines()), whole.tally.cost);
        prop_assert_eq!(whole.tally.outcomes.total(), says.len() as u64);
        prop_assert_eq!((whole.leftovers, whole.stop), (None, None));

        std::fs::remove_file(job.spool.outcomes(ShardNo(0))).unwrap();
        let cut = cut.index(says.len() + 1);
        let mut sum = Tally::default();
        sum.add(&job.settle(1, 0..cut, &says[..cut]).tally);
        sum.add(&job.settle(2, cut..says.len(), &says[cut..]).tally);
        prop_assert_eq!(sum, whole.tally);
        prop_assert_eq!(std::fs::read(job.output()).unwrap(), output);
    }

    #[test]
    fn every_row_is_final_or_left_over(says in prop::collection::vec(says(), 1..40)) {
        let job = Job::of(says.len() as u64);
        let settlement = job.settle(0, 0..says.len(), &says);
        let left = job.leftovers(&settlement);
        let tally = &settlement.tally;
        prop_assert_eq!(tally.outcomes.total() + tally.leftovers, says.len() as u64);
        prop_assert_eq!(tally.leftovers, left.len() as u64);
        prop_assert_eq!(tally.attempts, says.len() as u64);
        for row in left {
            let again = match says[usize::try_from(row.row).unwrap()] {
                Says::Error("api_error" | "overloaded_error") => (1, 0),
                Says::Expired => (0, 1),
                Says::Canceled | Says::Error("billing_error") => (0, 0),
                ref other => return Err(TestCaseError::fail(format!("left over: {other:?}"))),
            };
            prop_assert_eq!((row.attempts, row.round, row.worst), (again.0, again.1, WORST));
        }
    }
}

#[test]
fn what_is_left_over_is_summed_up_and_a_reached_cap_is_reported() {
    let mut job = Job::of(5);
    job.refs[2].round = 1;
    let says = [
        Says::Error("billing_error"),
        Says::Expired,
        Says::Expired,
        Says::Error("api_error"),
        Says::Message {
            stop_reason: "end_turn",
            input: 10,
            output: 0,
        },
    ];
    let settlement = job.settle(4, 0..5, &says);
    let leftovers = settlement.leftovers.unwrap();
    assert_eq!(
        leftovers.rows,
        RowRange {
            file: leftovers.rows.file,
            from: 0,
            to: 4
        }
    );
    assert_eq!((leftovers.expired, leftovers.round_max), (2, 2));
    assert_eq!(leftovers.worst, Usd::from_pico(4 * i128::from(WORST)));
    assert_eq!(leftovers.bytes, 4 * u64::from(job.refs[0].request_len));
    let message = "because of billing_error".to_owned();
    assert_eq!(settlement.stop, Some((ErrorKind::Billing, message)));
    assert_eq!(
        settlement.tally.cost,
        Usd::from_pico(500_000),
        "half the sync price"
    );
}

#[test]
fn a_row_without_a_readable_line_is_final_and_its_worst_case_is_held() {
    let mut job = Job::of(2);
    job.refs[1].attempts = 1;
    job.refs[1].round = 1;
    let settlement = job.settle(0, 0..2, &[Says::Nothing, Says::Garbage]);
    let tally = &settlement.tally;
    assert_eq!(
        (tally.unknown, tally.unknown_calls),
        (Usd::from_pico(1002), 2)
    );
    assert_eq!(tally.cost, Usd::ZERO);
    let lines = job.lines();
    assert_eq!(lines[0]["status"], "result_unreadable");
    assert_eq!(
        lines[0]["cost_picousd"],
        Value::Null,
        "nobody knows what it cost"
    );
    assert_eq!(lines[1]["attempts"], 3);
    assert_eq!(
        settlement.examples[0],
        "row 0 (key \"k0\"): its result line is missing"
    );
    assert!(settlement.examples[1].starts_with("row 1 (key \"k1\"): unreadable result line"));
}

#[test]
fn the_third_failure_exhausts_a_row() {
    let mut job = Job::of(1);
    job.refs[0].attempts = 2;
    let settlement = job.settle(0, 0..1, &[Says::Error("api_error")]);
    assert_eq!(settlement.leftovers, None);
    let line = &job.lines()[0];
    assert_eq!(
        (&line["status"], &line["attempts"]),
        (&"exhausted".into(), &3.into())
    );
    assert_eq!(line["error"]["request_id"], "req_1");
}

#[test]
fn an_answer_under_an_unknown_name_has_the_price_of_the_model_asked_for() {
    let mut job = Job::of(1);
    let shard = job.shard(0, Lane::Batch, 0..1);
    let says = Says::Message {
        stop_reason: "end_turn",
        input: 10,
        output: 0,
    };
    let lines = job.lines_of(&shard, &[says]);
    let dated = |line: &String| line.replace("claude-haiku-5-5", "claude-haiku-5-5-20261007");
    job.download(&shard, &lines.iter().map(dated).collect::<Vec<_>>());
    let settled = job.settle_again(&shard).unwrap();
    assert_eq!(settled.tally.cost, Usd::from_pico(500_000));

    job.models = vec!["claude-nobody".to_owned()];
    std::fs::remove_file(job.spool.outcomes(ShardNo(0))).unwrap();
    let error = job.settle_again(&shard).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("row 0 (key \"k0\"), answered by `claude-haiku-5-5-20261007`"),
        "{text}"
    );
    assert!(
        !job.spool.outcomes(ShardNo(0)).exists(),
        "nothing is settled at $0"
    );
}

#[test]
fn the_route_tells_whether_the_cache_was_in_play() {
    let job = Job::of(2);
    let mut shard = job.shard(0, Lane::Batch, 0..2);
    let says = [(); 2].map(|()| Says::Message {
        stop_reason: "end_turn",
        input: 1,
        output: 1,
    });
    let mut lines = job.lines_of(&shard, &says);
    lines[1] = lines[1].replace(
        "\"output_tokens\"",
        "\"cache_read_input_tokens\":1,\"output_tokens\"",
    );
    job.download(&shard, &lines);
    let routes = |shard: &Shard| {
        job.settle_again(shard).unwrap();
        job.lines()
            .iter()
            .map(|line| line["route"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(routes(&shard), ["batch", "batch+cache"]);
    shard.mark = Some(offpeak_wire::request::Ttl::OneHour);
    assert_eq!(routes(&shard), ["batch+cache", "batch+cache"]);
}

#[test]
fn a_census_tells_lost_lines_from_foreign_ones() {
    let job = Job::of(5);
    let shard = job.shard(0, Lane::Batch, 0..5);
    let answer = || Says::Message {
        stop_reason: "end_turn",
        input: 1,
        output: 1,
    };
    let whole = [(); 5].map(|()| answer());
    job.download(&shard, &job.lines_of(&shard, &whole));
    let counted = read_results(&job.ctx(), &shard, at()).unwrap().census();
    assert!(counted.is_complete() && counted.lines == 5, "{counted:?}");

    let says = [answer(), Says::Nothing, Says::Garbage, answer(), answer()];
    let mut lines = job.lines_of(&shard, &says);
    lines.push(lines[0].clone());
    lines.push(lines[0].replace("-0-0\"", "-1-0\""));
    lines.push("<html>".to_owned());
    job.download(&shard, &lines);
    let counted = read_results(&job.ctx(), &shard, at()).unwrap().census();
    let expected = Census {
        lines: 7,
        missing: 2,
        malformed: 2,
        duplicate: 1,
        foreign: 1,
    };
    assert_eq!(counted, expected);
}

/// Messages of the usual shape and of others.
const MESSAGES: [&str; 5] = [
    r#"{"id":"m","model":"claude-haiku-5-5","content":[{"type":"text","text":"\u00e9 \"é\""}],"usage":{"input_tokens":1,"output_tokens":2},"new":[{ }]}"#,
    r#"{ "usage" : {"input_tokens":1, "output_tokens":2}, "content":[{"type":"tool_use","input":{}}], "model":"claude-haiku-5-5","id":"m"}"#,
    r#"{"id":"m","model":"claude-haiku-5-5","content":[{"type":"text","text":"a"},{"text":"b","type":"text"}],"usage":{"input_tokens":1,"output_tokens":2}}"#,
    r#"{"id":"m","model":"claude-haiku-5-5","content":[{"type":"text","text":"\ud800"}],"usage":{"input_tokens":1,"output_tokens":2}}"#,
    r#"{"id":"\u006d","model":"claude-haiku-5-5","content":null,"usage":{"input_tokens":1,"output_tokens":2}}"#,
];

#[test]
fn what_was_answered_is_in_the_line_byte_for_byte() {
    let job = Job::of(MESSAGES.len() as u64);
    let shard = job.shard(0, Lane::Batch, 0..MESSAGES.len());
    let line = |(row, message): (u64, &&str)| {
        let id = job.custom_id(0, row);
        format!(r#"{{"custom_id":"{id}","result":{{"type":"succeeded","message":{message} }}}}"#)
    };
    let mut lines: Vec<_> = (0..).zip(&MESSAGES).map(line).collect();
    lines.reverse();
    job.download(&shard, &lines);
    let settled = job.settle_again(&shard).unwrap();
    assert_eq!(settled.tally.output_tokens, 2 * MESSAGES.len() as u64);
    let output = std::fs::read_to_string(job.output()).unwrap();
    for (line, message) in output.lines().zip(MESSAGES) {
        let told = format!(",\"message\":{message},\"usage\":{{\"input_tokens\":1,");
        assert!(line.contains(&told), "{line}");
        // The unpaired surrogate is the upstream's; what we add to it is sound.
        let ours: Value = serde_json::from_str(&line.replace(message, "null")).unwrap();
        let view = MessageView::parse(message.as_bytes()).unwrap();
        assert_eq!(ours["text"], view.text());
    }
}

#[test]
fn an_answer_that_is_no_longer_where_it_was_received_is_an_error() {
    let job = Job::of(3);
    let answer = || Says::Message {
        stop_reason: "end_turn",
        input: 1,
        output: 1,
    };
    job.settle(0, 0..3, &[answer(), answer(), answer()]);
    let path = job.spool.results(ShardNo(0));
    let results = std::fs::read(&path).unwrap();
    let out = job.dir.path().join("out.jsonl");
    for damaged in [&results[..results.len() - 10], &results[1..], b""] {
        std::fs::write(&path, damaged).unwrap();
        let error = write_output(&job.spool, 3, &out, false).unwrap_err();
        assert!(
            error.to_string().starts_with(path.to_str().unwrap()),
            "{error}"
        );
        assert!(!out.exists());
    }
    std::fs::write(&path, &results).unwrap();
    assert_eq!(write_output(&job.spool, 3, &out, false).unwrap().rows, 3);
}

#[test]
fn of_several_lines_the_first_that_can_be_read_counts() {
    let job = Job::of(2);
    let shard = job.shard(0, Lane::Batch, 0..2);
    let mut lines = job.lines_of(&shard, &[Says::Thrice(5), Says::Thrice(7)]);
    let second = lines[1].replace(r#""id":"msg_1""#, r#""id":"msg_2""#);
    lines.push(second.clone());
    lines.push("x".repeat(500));
    lines.push(second);
    job.download(&shard, &lines);
    let results = read_results(&job.ctx(), &shard, at()).unwrap();
    let census = results.census();
    assert_eq!(
        (census.missing, census.malformed, census.duplicate),
        (0, 1, 6)
    );
    let settled = settle_batch(&job.ctx(), &shard, &collection(), results).unwrap();
    assert_eq!(settled.tally.outcomes.of(OutcomeClass::Succeeded), 2);
    assert_eq!(settled.tally.output_tokens, 12);
    let ids: Vec<_> = job
        .lines()
        .iter()
        .map(|line| line["message"]["id"].clone())
        .collect();
    assert_eq!(ids, ["msg_1", "msg_1"]);
}
