//! What a job file says, and what it is told when it says it wrongly.

use super::*;

fn job(text: &str) -> Result<JobFile, String> {
    let path = Path::new("job.toml");
    understand(Document { path, text }).map_err(|error| error.to_string())
}

#[test]
fn a_template_knows_its_line() {
    let text = "input = 'a.csv'\nkey = 'id'\nmodel = 'm'\nmax_tokens = 5\nuser = \"\"\"\nHi {{ x }}\n\"\"\"\n";
    let InputShape::Table { format, template } = job(text).unwrap().source.shape else {
        panic!("a template makes a table");
    };
    assert_eq!(format, TableFormat::Csv);
    assert_eq!(template.user, "Hi {{ x }}\n");
    assert_eq!(template.user_origin, (PathBuf::from("job.toml"), 6));
    let InputShape::Table { template, .. } =
        job(&text.replace("\"\"\"\nHi {{ x }}\n\"\"\"", "'Hi'"))
            .unwrap()
            .source
            .shape
    else {
        panic!("a template makes a table");
    };
    assert_eq!(template.user_origin.1, 5);
}

#[test]
fn params_keep_their_order_and_types() {
    let text = "input = 'a.jsonl'\nkey = 'id'\nmodel = 'm'\nmax_tokens = 5\nuser = 'x'\n\
                [params]\ntemperature = 0.5\ntop_k = 3\nmetadata = { user_id = 'u' }\nstop_sequences = ['a']\n";
    let InputShape::Table { template, .. } = job(text).unwrap().source.shape else {
        panic!("a template makes a table");
    };
    let params = serde_json::to_string(&template.params).unwrap();
    assert_eq!(
        params,
        r#"[["temperature",0.5],["top_k",3],["metadata",{"user_id":"u"}],["stop_sequences",["a"]]]"#
    );
}

#[test]
fn rows_of_the_batch_shape_need_no_template() {
    let found =
        job("input = 'a.jsonl'\n[latency]\ndeadline = '8h'\n[limits]\nbudget_usd = 5\n").unwrap();
    assert_eq!(found.source.shape, InputShape::Batch);
    assert_eq!(found.need, Some(Need::Within(Span::from_secs(8 * 3600))));
    assert_eq!(found.budget, "5".parse().ok());
}

#[test]
fn every_refusal_names_the_place() {
    let table = "input = 'a.jsonl'\nkey = 'id'\nmodel = 'm'\nmax_tokens = 5\nuser = 'x'\n";
    for (text, wanted) in [
        (
            "input = 'a'\nmodle = 'x'\n",
            "line 2: unknown key `modle`\n\nhint: did you mean `model`?",
        ),
        (
            "input = 'a'\ndeadline = '8h'\n",
            "line 2: unknown key `deadline`\n\nhint: move `deadline` into the table [latency]",
        ),
        (
            "input = 'a'\n[limits]\non_invalid = 'skip'\n",
            "line 3: unknown key `limits.on_invalid`\n\nhint: move `on_invalid` to the top",
        ),
        (
            "input = 'a'\ntemperature = 1\n",
            "if it belongs to the request",
        ),
        (
            "input = 5\n",
            "line 1: `input` must be a string in quotes, not a whole number",
        ),
        ("input = 'a'\ninput = 'b'\n", "line 2: not valid TOML"),
        ("name = 'x'\n", "job.toml: `input` is missing"),
        (
            "input = 'a'\nkey = 'id'\n",
            "line 2: `key` needs a template",
        ),
        ("input = 'a'\nmodel = 'm'\n", "`user` is missing"),
        ("input = 'a'\nuser = 'm'\n", "`model` is missing"),
        (
            &table.replace("5", "0"),
            "line 4: `max_tokens` must be at least 1, not 0",
        ),
        (
            &table.replace("5", "'5'"),
            "line 4: `max_tokens` must be a whole number without quotes, not a string",
        ),
        (&table.replace("key = 'id'\n", ""), "`key` is missing"),
        (
            &table.replace("a.jsonl", "a.xlsx"),
            "cannot be told from its name",
        ),
        (
            &format!("{table}[params]\nstream = true\n"),
            "line 7: `params.stream` does not belong here",
        ),
        (
            &format!("{table}[latency]\nneeds = 'seconds'\ndeadline = '1h'\n"),
            "contradict each other",
        ),
        (
            &format!("{table}[latency]\nneeds = 'minutes'\n"),
            "line 7: `latency.needs` can only be",
        ),
        (
            &format!("{table}[latency]\ndeadline = 'soon'\n"),
            "line 7: `latency.deadline` cannot be read",
        ),
        (
            &format!("{table}[limits]\nzero_data_retention = 'yes'\n"),
            "line 7: `limits.zero_data_retention` must be true or false, not a string",
        ),
        (
            &format!("{table}[latency]\ndeadline = 2026-11-27T06:00:00Z\n"),
            "line 7: `latency.deadline` is a moment",
        ),
        (
            &format!("{table}[latency]\ndeadline = '-2h'\n"),
            "line 7: `latency.deadline`",
        ),
        (
            &format!("{table}[limits]\nbudget_usd = 5.0\n"),
            "line 7: `limits.budget_usd` must be an amount in quotes, not a number with a point",
        ),
        (
            &format!("{table}system = {{ file = 'a', b = 1 }}\n"),
            "line 6: `system` must be a string, or { file",
        ),
        (
            &format!("{table}system = {{ file = 'no-such-file.md' }}\n"),
            "line 6: no-such-file.md: no such file",
        ),
        (
            &format!("{table}on_invalid = 'maybe'\n"),
            "line 6: `on_invalid` must be",
        ),
        (
            &format!("{table}[reuse]\nidentical = 1\n"),
            "line 7: `reuse.identical` must be true or false, not a whole number",
        ),
        (
            &format!("{table}[reuse]\nidentic = true\n"),
            "line 7: unknown key `reuse.identic`\n\nhint: did you mean `identical`?",
        ),
        (
            &format!("{table}betas = 'one'\n"),
            "line 6: `betas` must be a list of strings",
        ),
    ] {
        let found = job(text).unwrap_err();
        assert!(found.contains(wanted), "{text}\n{found}\n{wanted}");
    }
}

#[test]
fn detours_are_left_out() {
    assert_eq!(
        shortened(Path::new("src/../src/../out/x.jsonl")),
        Path::new("out/x.jsonl")
    );
    assert_eq!(shortened(Path::new("./a.jsonl")), Path::new("a.jsonl"));
    assert_eq!(shortened(Path::new("../a.jsonl")), Path::new("../a.jsonl"));
    // Nobody knows where the `..` of a directory leads that does not exist.
    assert_eq!(
        shortened(Path::new("no/../a.jsonl")),
        Path::new("no/../a.jsonl")
    );
}
