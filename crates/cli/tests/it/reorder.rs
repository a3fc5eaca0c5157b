//! `{{ row }}` and `--reorder fields`: what is offered, what it does, and where it is refused.

use serde_json::Value;

use crate::sandbox::{Said, Sandbox, assert_said, requests};

/// Reviews, each with all that is known about its product: the usual outcome of a join.
fn reviews(rows: usize, words: usize) -> String {
    let mut csv = "id,review,product,about\n".to_owned();
    for row in 0..rows {
        let product = row % 4;
        let about = format!("what there is to know about product {product} and its parts; ");
        let about = about.repeat(words);
        csv.push_str(&format!("r{row},review no. {row},p{product},{about}\n"));
    }
    csv
}

fn job(reorder: &str) -> String {
    format!(
        "input = \"reviews.csv\"\nkey = \"id\"\nmodel = \"claude-opus-5\"\nmax_tokens = 1000\n\
         user = \"Is the review fair? {{{{ row }}}}\"\n{reorder}\n[latency]\ndeadline = \"8h\"\n"
    )
}

fn sandbox(csv: String, job: String) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("reviews.csv", csv).write("job.toml", job);
    sandbox
}

fn order_of_fields(said: &Said) -> String {
    let text = said
        .stdout
        .split("The order of fields:")
        .nth(1)
        .unwrap_or("");
    text.split("\n\n").next().unwrap_or("").to_owned()
}

#[test]
fn plan_offers_what_it_saves_and_says_what_it_does() {
    let sandbox = sandbox(reviews(80, 40), job(""));
    let offer = order_of_fields(&sandbox.offpeak("plan job.toml --sim"));
    let taken = order_of_fields(&sandbox.offpeak("plan job.toml --sim --reorder fields"));
    let counted = sandbox.offpeak("plan job.toml --sim --reorder fields --count sample");
    let counted = order_of_fields(&counted);
    insta::assert_snapshot!(format!(
        "offered:{offer}\n\ntaken:{taken}\n\ncounted:{counted}"
    ));
}

#[test]
fn a_short_row_caches_nothing_and_plan_says_what_is_missing() {
    let sandbox = sandbox(reviews(80, 2), job("reorder = \"fields\""));
    insta::assert_snapshot!(order_of_fields(&sandbox.offpeak("plan job.toml --sim")));
    // Nobody is offered what saves nothing.
    sandbox.write("job.toml", job(""));
    assert_eq!(order_of_fields(&sandbox.offpeak("plan job.toml --sim")), "");
}

#[test]
fn no_plan_fails_for_an_offer_that_cannot_be_made() {
    let sandbox = Sandbox::new();
    let job = job("").replace("reviews.csv", "reviews.jsonl");
    sandbox.write("job.toml", job);
    sandbox.write(
        "reviews.jsonl",
        "{\"id\":1,\"row\":\"x\"}\n{\"id\":2,\"a\":\"y\"}\n",
    );
    for more in ["", " --on-invalid skip"] {
        let said = sandbox.offpeak(&format!("plan job.toml --sim --json{more}"));
        assert_eq!(said.exit, Some(0), "{said}");
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(
            (&answer["invalid"], &answer["fields"]),
            (&0.into(), &Value::Null)
        );
    }
}

#[test]
fn what_is_shared_is_read_from_the_cache_and_answers_keep_the_order_of_the_input() {
    let cost = |reorder: &str| {
        let sandbox = sandbox(reviews(80, 40), job(reorder));
        let said = sandbox.offpeak("run job.toml --sim --json");
        assert_eq!(said.exit, Some(0), "{said}");
        let output = sandbox.read("reviews.out.jsonl");
        let keys = output.lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["key"].as_str().unwrap().to_owned()
        });
        assert!(keys.eq((0..80).map(|row| format!("r{row}"))), "{output}");
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(answer["cost_picousd"], answer["upstream_bill_picousd"]);
        let cost: u64 = answer["cost_picousd"].as_str().unwrap().parse().unwrap();
        (cost, answer["cache_read_tokens"].as_u64().unwrap())
    };
    let (given, ordered) = (cost(""), cost("reorder = \"fields\""));
    assert_eq!(given.1, 0, "in the given order no two rows begin alike");
    assert!(ordered.1 > 50_000, "{ordered:?}");
    assert!(ordered.0 * 3 < given.0 * 2, "{ordered:?} of {given:?}");
}

#[test]
fn where_there_is_nothing_to_reorder_it_is_refused() {
    let refused = |name: &str, sandbox: &Sandbox, command: &str| {
        let said = sandbox.offpeak(command);
        assert_eq!(said.exit, Some(2), "{said}");
        assert_said(&format!("reorder_{name}"), &said);
    };
    let requests = {
        let sandbox = Sandbox::new();
        sandbox.write("rows.jsonl", requests(3));
        sandbox
    };
    refused(
        "of_requests",
        &requests,
        "run rows.jsonl --sim --reorder fields",
    );
    let batch = sandbox(
        String::new(),
        "input = \"rows.jsonl\"\nreorder = \"fields\"\n".to_owned(),
    );
    refused("without_template", &batch, "plan job.toml --sim");
    let columns = job("").replace("{{ row }}", "{{ review }}");
    let columns = sandbox(reviews(3, 1), columns);
    refused(
        "without_row",
        &columns,
        "plan job.toml --sim --reorder fields",
    );
    let hidden = reviews(3, 1).replace("about", "row");
    let hidden = sandbox(hidden, job("reorder = \"fields\""));
    refused("with_a_column_row", &hidden, "plan job.toml --sim");
    let rows = sandbox(reviews(3, 1), job("reorder = \"rows\""));
    refused("of_rows", &rows, "plan job.toml --sim");
}
