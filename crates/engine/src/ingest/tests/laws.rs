//! What holds for every input: bytes and order are kept, wherever pieces are cut and however many
//! threads parse.

use super::*;
use crate::settle::segment::{Outcome, SegmentReader};
use proptest::prelude::*;

/// A line of a batch input: none, blank, a good row, or a bad one.
#[derive(Debug, Clone)]
enum Given {
    Blank,
    Good { system: usize, text: String },
    Bad,
}

fn given() -> impl Strategy<Value = Given> {
    prop_oneof![
        1 => Just(Given::Blank),
        6 => (0usize..4, "[a-zé\\n\"{},]{0,20}").prop_map(|(system, text)| Given::Good { system, text }),
        1 => Just(Given::Bad),
    ]
}

fn request(system: usize, text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    let system = ["", "a", "b", "c"][system].repeat(300);
    format!(
        "{{ \"model\":\"claude-haiku-5-5\",\"max_tokens\":7,\"system\":\"{system}\",\
         \"messages\":[{{\"role\":\"user\",\"content\":{text}}}] }}"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batch_rows_are_kept_byte_for_byte_and_in_order(
        given in prop::collection::vec(given(), 1..30),
        bom in any::<bool>(), crlf in any::<bool>(), last_end in any::<bool>(),
        piece_len in 4usize..3000, workers in 1usize..4,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut input = if bom { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
        let (mut expected, mut bad, mut row) = (Vec::new(), Vec::new(), 0);
        for (line, given) in (1u64..).zip(&given) {
            let number = row;
            row += u64::from(!matches!(given, Given::Blank));
            match given {
                Given::Blank => {}
                Given::Good { system, text } => {
                    let request = request(*system, text);
                    let key = format!("\"k {line}\\\"\"");
                    let text = format!("{{\"params\": {request} , \"custom_id\":{key}}}");
                    input.extend_from_slice(text.as_bytes());
                    expected.push((number, line, key, request));
                }
                Given::Bad => {
                    input.extend_from_slice(b"{\"custom_id\":\"x\",,}");
                    bad.push(number);
                }
            }
            input.extend_from_slice(end.as_bytes());
        }
        if !last_end {
            input.truncate(input.len() - end.len());
        }
        prop_assume!(row > 0);

        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path().join("spool"));
        let mut spec = job(temp.path(), "rows.jsonl", &input, InputShape::Batch);
        spec.on_invalid = OnInvalid::Skip;
        let ingested = run(&spec, Some(&dir), Tuning { piece_len, workers }).unwrap();

        prop_assert_eq!(spooled(&dir), &expected[..]);
        prop_assert_eq!(ingested.rows, row);
        prop_assert_eq!(ingested.invalid, bad.len() as u64);
        prop_assert_eq!(ingested.input_bytes, input.len() as u64);
        prop_assert_eq!(ingested.input_digest, *blake3::hash(&input).as_bytes());
        let grouped: u64 = ingested.groups.iter().map(|group| group.sums.rows).sum();
        prop_assert_eq!(grouped + ingested.ungrouped.rows, expected.len() as u64);
        prop_assert_eq!(invalid_rows(&dir), bad);

        // A profile says the same and writes nothing; so do other threads and pieces.
        let profile = run(&spec, None, Tuning { piece_len: 1 << 20, workers: 1 }).unwrap();
        let disk_bytes = ingested.disk_bytes;
        prop_assert_eq!(Ingested { disk_bytes, ..profile }, ingested);
    }

    #[test]
    fn csv_renders_as_if_put_together_by_hand(
        rows in prop::collection::vec("[a-zé,\"\n ]{0,12}", 1..30),
        crlf in any::<bool>(), quote_all in any::<bool>(), framed in any::<bool>(),
        piece_len in 4usize..200, workers in 1usize..4,
    ) {
        let style = if quote_all { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let end = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().quote_style(style).terminator(end).from_writer(Vec::new());
        writer.write_record(["id", "text", "other"]).unwrap();
        // A long system prompt makes a frame of what is around the text, a short one does not.
        let system = if framed { "s".repeat(300) } else { "s".to_owned() };
        let mut expected = Vec::new();
        let mut line = 2;
        for (row, text) in (0u64..).zip(&rows) {
            writer.write_record([&row.to_string(), text, "-"]).unwrap();
            let content = serde_json::to_string(&format!("<{text}>")).unwrap();
            let request = format!(
                "{{\"model\":\"claude-haiku-5-5\",\"max_tokens\":100,\"system\":\"{system}\",\
                 \"messages\":[{{\"role\":\"user\",\"content\":{content}}}]}}"
            );
            expected.push((row, line, format!("\"{row}\""), request));
            line += 1 + text.matches('\n').count() as u64;
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path().join("spool"));
        let template = Template { system: Some(system), ..template("<{{ text }}>") };
        let shape = InputShape::Table { format: TableFormat::Csv, template };
        let spec = job(temp.path(), "rows.csv", &writer.into_inner().unwrap(), shape);
        run(&spec, Some(&dir), Tuning { piece_len, workers }).unwrap();
        prop_assert_eq!(spooled(&dir), expected);
    }

    #[test]
    fn of_rows_with_one_key_the_first_is_sent(
        keys in prop::collection::vec(0u32..8, 1..30), bad_every in 2usize..6,
    ) {
        let mut input = String::new();
        let (mut sent, mut invalid) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashSet::new();
        for (row, key) in keys.iter().enumerate() {
            let good = row % bad_every != 0;
            let text = if good { "\"x\"" } else { "\"\"" };
            input.push_str(&format!("{{\"id\":{key},\"t\":{text}}}\n"));
            if good && seen.insert(key) { sent.push(row as u64) } else { invalid.push(row as u64) }
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path().join("spool"));
        let shape = table(TableFormat::Jsonl, "{{ t }}");
        let mut spec = job(temp.path(), "rows.jsonl", input.as_bytes(), shape);
        spec.on_invalid = OnInvalid::Skip;
        let ingested = run(&spec, Some(&dir), TINY).unwrap();
        let rows: Vec<_> = spooled(&dir).into_iter().map(|(row, ..)| row).collect();
        prop_assert_eq!(&rows, &sent);
        prop_assert_eq!(invalid_rows(&dir), &invalid[..]);
        prop_assert_eq!(ingested.invalid, invalid.len() as u64);
        prop_assert_eq!(ingested.ungrouped.rows, sent.len() as u64);
    }
}

fn invalid_rows(dir: &SpoolDir) -> Vec<u64> {
    let path = dir.invalid_outcomes();
    if !path.exists() {
        return Vec::new();
    }
    let mut reader = SegmentReader::open(&path).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = reader.row() {
        let Outcome::Line(line) = reader.read().unwrap() else {
            panic!("row {row} was never sent");
        };
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["status"], "invalid");
        assert_eq!(line["error"]["type"], "invalid_row");
        rows.push(row);
    }
    rows
}

#[test]
fn columns_keep_their_types_and_requests_their_member_order() {
    let temp = tempfile::tempdir().unwrap();
    let dir = SpoolDir::new(temp.path().join("spool"));
    let mut template =
        template("{{ n + 1 }} {{ who.name }}{% for tag in tags %} #{{ tag }}{% endfor %}\n{{ s }}");
    template.system = Some("be \"brief\"".to_owned());
    template.params = vec![("temperature".into(), 0.5.into()), ("a".into(), "b".into())];
    let input =
        br#"{"id":17,"n":1,"who":{"name":"A&B"},"tags":["x","y"],"s":"\u0001\t\"\\ \u00e9 </b>"}"#;
    let shape = InputShape::Table {
        format: TableFormat::Jsonl,
        template,
    };
    let spec = job(temp.path(), "rows.jsonl", input, shape);
    let ingested = run(&spec, Some(&dir), TINY).unwrap();
    let request = r#"{"model":"claude-haiku-5-5","max_tokens":100,"system":"be \"brief\"","temperature":0.5,"a":"b","messages":[{"role":"user","content":"2 A&B #x #y\n\u0001\t\"\\ é </b>"}]}"#;
    assert_eq!(spooled(&dir), [(0, 1, "17".to_owned(), request.to_owned())]);
    assert_eq!(ingested.models, ["claude-haiku-5-5"]);
    let group = &ingested.groups[0];
    assert_eq!((group.prefix_bytes, group.sums.rows), (12, 1));
    assert_eq!(group.sums.request_bytes, request.len() as u64);
}

#[test]
fn marks_go_behind_tools_system_prompt_and_message_and_never_beside_the_callers() {
    let rest =
        r#""model":"claude-haiku-5-5","max_tokens":7,"messages":[{"role":"user","content":"x"}]"#;
    let tool = r#"{"name":"t","description":"d","input_schema":{"type":"object"}}"#;
    let text = r#"{"type":"text","text":"s"}"#;
    let marked = r#"{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}"#;
    let cases = [
        (String::new(), vec!["\"x\""]),
        ("\"system\":\"s\",".to_owned(), vec!["\"s\"", "\"x\""]),
        (
            format!("\"system\":[{text},{text}],\"tools\":[{tool},{tool}],"),
            vec![tool, text, text, "\"x\""],
        ),
        (format!("\"tools\":[{tool}],"), vec![tool, "\"x\""]),
        (format!("\"system\":[{marked}],"), vec![]),
        (
            "\"cache_control\":{\"type\":\"ephemeral\"},\"system\":\"s\",".to_owned(),
            vec![],
        ),
    ];
    let mut input = String::new();
    for (row, (members, _)) in cases.iter().enumerate() {
        input.push_str(&format!(
            "{{\"custom_id\":\"{row}\",\"params\":{{{members}{rest}}}}}\n"
        ));
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = SpoolDir::new(temp.path().join("spool"));
    let spec = job(
        temp.path(),
        "rows.jsonl",
        input.as_bytes(),
        InputShape::Batch,
    );
    let ingested = run(&spec, Some(&dir), TINY).unwrap();
    let mut reader = SpoolReader::open(&dir).unwrap();
    for (entry, (_, expected)) in IndexReader::open(&dir).unwrap().zip(&cases) {
        let row = reader.read(entry.unwrap().at).unwrap();
        let mut request = Vec::new();
        row.write_request(RowMarks::NONE, &mut request);
        let points = (0..).map_while(|level| row.point(level));
        let at = points.map(|point| &request[point.start as usize..point.end as usize]);
        let at: Vec<_> = at.map(|at| std::str::from_utf8(at).unwrap()).collect();
        assert_eq!(&at, expected);
    }
    let flags: Vec<_> = ingested
        .groups
        .iter()
        .map(|group| (group.caller_marked, group.has_tools))
        .collect();
    assert_eq!(ingested.ungrouped.rows, 1);
    assert_eq!(flags.iter().filter(|(caller, _)| *caller).count(), 2);
    assert_eq!(flags.iter().filter(|(_, tools)| *tools).count(), 2);
}

#[test]
fn what_has_no_bound_is_named_with_its_line() {
    let source = r#"{"type":"image","source":{"type":"url","url":"https://example.org/a.png"}}"#;
    let input = format!(
        "\n{{\"custom_id\":\"a\",\"params\":{{\"model\":\"claude-haiku-5-5\",\"max_tokens\":7,\
         \"messages\":[{{\"role\":\"user\",\"content\":[{source}]}}]}}}}\n"
    );
    let temp = tempfile::tempdir().unwrap();
    let spec = job(
        temp.path(),
        "rows.jsonl",
        input.as_bytes(),
        InputShape::Batch,
    );
    assert_eq!(
        run(&spec, None, TINY).unwrap().first_unbounded,
        Some((2, "url source"))
    );
}
