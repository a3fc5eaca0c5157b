//! Every message about a bad input, as its reader sees it.

use std::fmt::Write;

use super::*;

const PARAMS: &str = r#""model":"claude-haiku-5-5","max_tokens":9,"messages":[]"#;

/// What a user reads; the temporary directory is left out.
fn told(dir: &Path, result: Result<Ingested, IngestError>) -> String {
    let text = match result {
        Ok(ingested) => format!("{} rows, {} invalid", ingested.rows, ingested.invalid),
        Err(error) => format!("{error}\nhint: {}", error.hint()),
    };
    text.replace(&format!("{}/", dir.display()), "")
        .replace(&dir.display().to_string(), "DIR")
}

fn read(name: &str, input: &[u8], shape: InputShape) -> String {
    let temp = tempfile::tempdir().unwrap();
    let spec = job(temp.path(), name, input, shape);
    told(temp.path(), run(&spec, None, Tuning::default()))
}

fn all(cases: &[(&str, Vec<u8>)], name: &str, shape: &InputShape) -> String {
    let mut text = String::new();
    for (title, input) in cases {
        writeln!(text, "# {title}\n{}\n", read(name, input, shape.clone())).unwrap();
    }
    text
}

fn params(members: &str) -> Vec<u8> {
    format!("{{\"custom_id\":\"a1\",\"params\":{{{members}}}}}\n").into_bytes()
}

#[test]
fn batch_rows() {
    let row = |text: &str| text.as_bytes().to_vec();
    let model = |model: &str| params(&PARAMS.replace("claude-haiku-5-5", model));
    let max_tokens = |value: &str| params(&PARAMS.replace(":9,", &format!(":{value},")));
    let and = |more: &str| params(&format!("{PARAMS},{more}"));
    let cases = [
        (
            "a comma missing",
            row("{\"custom_id\":\"é\" \"params\":{}}\n"),
        ),
        ("cut off", row("{\"custom_id\":\"a\",\n")),
        (
            "a JSON array",
            row("[{\"custom_id\":\"a\",\"params\":{}}]\n"),
        ),
        ("indented", row("{\n")),
        ("CSV", row("id,text\n")),
        ("Python", row("{'custom_id': 'a', 'params': {}}\n")),
        ("a whole body", row("{\"requests\":[]}\n")),
        (
            "another vendor",
            row("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/\"}\n"),
        ),
        (
            "a table without a job file",
            row("{\"id\":1,\"text\":\"x\"}\n"),
        ),
        ("a number", row("17\n")),
        ("no params", row("{\"custom_id\":\"a\"}\n")),
        ("no custom_id", row(&format!("{{\"params\":{{{PARAMS}}}}}"))),
        (
            "custom_id a number",
            row(&format!("{{\"custom_id\":17,\"params\":{{{PARAMS}}}}}")),
        ),
        ("a key twice", and("\"max_tokens\":8")),
        (
            "not UTF-8",
            b"{\"custom_id\":\"\xE9\",\"params\":{}}\n".to_vec(),
        ),
        (
            "too deep",
            and(&format!("\"x\":{}{}", "[".repeat(200), "]".repeat(200))),
        ),
        ("no model", params("\"max_tokens\":9,\"messages\":[]")),
        (
            "model a number",
            params("\"model\":5,\"max_tokens\":9,\"messages\":[]"),
        ),
        ("unknown model", model("claude-haiku-5.5")),
        ("retired model", model("claude-3-haiku-20240307")),
        (
            "no max_tokens",
            params("\"model\":\"claude-haiku-5-5\",\"messages\":[]"),
        ),
        ("max_tokens 0", max_tokens("0")),
        ("max_tokens a fraction", max_tokens("1.5")),
        ("max_tokens too large", max_tokens("128001")),
        (
            "no messages",
            params("\"model\":\"claude-haiku-5-5\",\"max_tokens\":9"),
        ),
        ("stream", and("\"stream\":true")),
        ("speed", and("\"speed\":\"fast\"")),
        ("fallbacks", and("\"fallbacks\":[]")),
        ("no rows", row("\n \r\n")),
        ("an empty file", Vec::new()),
    ];
    insta::assert_snapshot!(all(&cases, "rows.jsonl", &InputShape::Batch));
}

#[test]
fn csv_records() {
    let row = |text: &str| text.as_bytes().to_vec();
    let cases = [
        ("too few fields", row("id,text\na,x\r\nb\r\n")),
        ("too many", row("id,text\n\n\"a\nb\",x\nc,x,y\n")),
        ("not UTF-8", b"id,text\na,caf\xE9\n".to_vec()),
        ("a quote never closed", row("id,text\na,x\nb,\"y\nc,z\n")),
        ("a column twice", row("id,text,id\na,x,b\n")),
        ("no key column", row("name,text\na,x\n")),
        ("an empty key", row("id,text\n,x\n")),
        ("a missing column", row("id,Text\na,x\n")),
        ("no text", row("id,text\na,\" \"\n")),
        ("only a header", row("id,text\n")),
        ("an empty file", Vec::new()),
    ];
    insta::assert_snapshot!(all(
        &cases,
        "rows.csv",
        &table(TableFormat::Csv, "{{ text }}")
    ));
}

#[test]
fn jsonl_tables() {
    let row = |text: &str| text.as_bytes().to_vec();
    let cases = [
        ("no object", row("[1]\n")),
        ("malformed", row("{\"id\":1,}\n")),
        ("no key", row("{\"name\":1}\n")),
        ("a null key", row("{\"id\":null,\"a\":{\"b\":1}}\n")),
        (
            "a key that is no scalar",
            row("{\"id\":[1],\"a\":{\"b\":1}}\n"),
        ),
        ("a missing column", row("{\"id\":1}\n")),
        ("a missing member of a column", row("{\"id\":1,\"a\":{}}\n")),
    ];
    insta::assert_snapshot!(all(
        &cases,
        "rows.jsonl",
        &table(TableFormat::Jsonl, "{{ a.b }}")
    ));
}

#[test]
fn job_settings() {
    let shape = |change: &dyn Fn(&mut Template)| {
        let mut template = template("{{ text }}");
        change(&mut template);
        InputShape::Table {
            format: TableFormat::Jsonl,
            template,
        }
    };
    let cases = [
        (
            "template syntax",
            shape(&|t| t.user = "one\n{{ text".to_owned()),
        ),
        (
            "template fails",
            shape(&|t| t.user = "{{ text | nofilter }}".to_owned()),
        ),
        (
            "unknown model",
            shape(&|t| t.model = "claude-haiku-5-6".to_owned()),
        ),
        (
            "a parameter that has a place",
            shape(&|t| t.params = vec![("model".into(), 1.into())]),
        ),
        ("max_tokens 0", shape(&|t| t.max_tokens = 0)),
        (
            "stream",
            shape(&|t| t.params = vec![("stream".into(), true.into())]),
        ),
    ];
    let mut text = String::new();
    for (title, shape) in cases {
        let told = read("rows.jsonl", b"{\"id\":1,\"text\":\"x\"}\n", shape);
        writeln!(text, "# {title}\n{told}\n").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn many_problems_are_counted_and_the_first_are_named() {
    let mut input = Vec::new();
    for row in 0..30 {
        input.extend(params(PARAMS));
        input.extend(format!("{{\"custom_id\":\"b{row}\"}}\n").into_bytes());
    }
    insta::assert_snapshot!(read("rows.jsonl", &input, InputShape::Batch));
}

#[test]
fn duplicates_name_both_lines() {
    let csv = b"id,text\nx,1\n\"a\nb\",2\ny,3\nx,4\n\"a\nb\",5\n";
    let csv = read("rows.csv", csv, table(TableFormat::Csv, "{{ text }}"));
    let jsonl = b"{\"id\":1,\"t\":1}\n\n{\"id\":\"1\",\"t\":1}\n{\"id\":1,\"t\":1}\n";
    let jsonl = read("rows.jsonl", jsonl, table(TableFormat::Jsonl, "{{ t }}"));
    insta::assert_snapshot!(format!("{csv}\n\n{jsonl}"));
}

#[test]
fn files() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut spec = job(dir, "rows.jsonl", &params(PARAMS), InputShape::Batch);
    let mut text = String::new();
    let file = dir.join("file");
    fs::write(&file, "").unwrap();
    let into = SpoolDir::new(&file);
    let told_by = |result| told(dir, result);
    writeln!(text, "{}\n", told_by(run(&spec, Some(&into), TINY))).unwrap();
    spec.source.input = dir.join("none.jsonl");
    writeln!(text, "{}\n", told_by(run(&spec, None, TINY))).unwrap();
    spec.source.input = dir.to_owned();
    writeln!(text, "{}\n", told_by(run(&spec, None, TINY))).unwrap();
    // What cannot be brought about in a test.
    let write = |kind: std::io::ErrorKind, needed| IngestError::Write {
        dir: "jobs/abc".into(),
        needed,
        source: kind.into(),
    };
    let denied = std::io::ErrorKind::PermissionDenied;
    let read = IngestError::Read {
        path: "rows.jsonl".into(),
        source: denied.into(),
    };
    let full = write(std::io::ErrorKind::StorageFull, Some(12_345_678_901));
    for error in [read, full, write(denied, None)] {
        writeln!(text, "{}\n", told_by(Err(error))).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_only_a_batch_cannot_do_is_fine_when_somebody_waits() {
    let temp = tempfile::tempdir().unwrap();
    let input = params(&format!("{PARAMS},\"speed\":\"standard\""));
    let mut spec = job(temp.path(), "rows.jsonl", &input, InputShape::Batch);
    assert!(run(&spec, None, TINY).is_err());
    spec.need = Need::Seconds;
    assert_eq!(run(&spec, None, TINY).unwrap().rows, 1);
}

#[test]
fn longer_output_needs_its_beta() {
    let temp = tempfile::tempdir().unwrap();
    let input = params(&PARAMS.replace(":9,", ":300000,"));
    let mut spec = job(temp.path(), "rows.jsonl", &input, InputShape::Batch);
    assert!(run(&spec, None, TINY).is_err());
    spec.betas = vec!["output-300k-2026-03-24".to_owned()];
    assert_eq!(run(&spec, None, TINY).unwrap().rows, 1);
}

#[test]
fn a_row_that_is_too_long_is_passed_over() {
    use super::super::reader::{Broken, Ends, Pieces};
    let input = b"\xEF\xBB\xBFab\n0123456789\ncd\n";
    for piece_len in 4..20 {
        let mut pieces = Pieces::new(&input[..], Ends::Lines, piece_len, 8);
        let mut seen = Vec::new();
        while let Some(piece) = pieces.next(Vec::new()).unwrap() {
            for line in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
            }
            if let Some(Broken::TooLong { bytes }) = piece.broken {
                seen.push(format!("line {}: {bytes} bytes", piece.first_line));
            }
        }
        // In a large piece the long row is there, and refused by its length later.
        let whole = piece_len > 10;
        let long = if whole {
            "0123456789\n"
        } else {
            "line 2: 11 bytes"
        };
        assert_eq!(seen, ["ab\n", long, "cd\n"], "pieces of {piece_len}");
    }
}
