//! `{{ row }}` in a template, and the order of its fields.

use super::super::{FieldUse, Group};
use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn reordered(format: TableFormat, user: &str) -> InputShape {
    let template = Template {
        fields: FieldsIn::SharedOrder,
        ..template(user)
    };
    InputShape::Table { format, template }
}

/// The blocks of each row's message; a plain text is one.
fn messages(dir: &SpoolDir) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let blocks = |request: &str| {
        let request: Value = serde_json::from_str(request).unwrap();
        match &request["messages"][0]["content"] {
            Value::Array(blocks) => blocks.iter().map(|block| text(&block["text"])).collect(),
            content => vec![text(content)],
        }
    };
    let rows = spooled(dir).into_iter();
    rows.map(|(_, _, _, request)| blocks(&request)).collect()
}

fn rendered(name: &str, input: &str, shape: InputShape) -> (Vec<Vec<String>>, Ingested) {
    let temp = tempfile::tempdir().unwrap();
    let dir = SpoolDir::new(temp.path().join("spool"));
    let spec = job(temp.path(), name, input.as_bytes(), shape);
    let ingested = run(&spec, Some(&dir), Tuning::default()).unwrap();
    (messages(&dir), ingested)
}

#[test]
fn a_row_is_all_its_columns_in_their_order() {
    let csv = "id,name,a b\n1,\"x \"\"y\"\"\",\n";
    let (messages, _) = rendered(
        "rows.csv",
        csv,
        table(
            TableFormat::Csv,
            "<{{ row }}> {{ row.name }} {{ row['a b'] }}{{ row | length }}",
        ),
    );
    let expected = r#"<{"id":"1","name":"x \"y\"","a b":""}> x "y" 3"#;
    assert_eq!(messages, [[expected]]);

    // The bytes of JSON cells stay as they are.
    let jsonl = "{\"id\": 1, \"b\":  1.50 , \"a\":{\"y\": 1,\"x\":[]},\"t\":\"\\u0041\"}\n";
    let template =
        "{{ row }} {{ row.a.y }} {{ row.t }}{% for name in row %} {{ name }}{% endfor %}";
    let (messages, _) = rendered("rows.jsonl", jsonl, table(TableFormat::Jsonl, template));
    let expected = r#"{"id":1,"b":1.50,"a":{"y": 1,"x":[]},"t":"\u0041"} 1 A id b a t"#;
    assert_eq!(messages, [[expected]]);
}

#[test]
fn a_column_called_row_is_that_column() {
    let shape = table(TableFormat::Csv, "{{ row }}");
    assert_eq!(rendered("rows.csv", "id,row\n1,x\n", shape).0, [["x"]]);
}

/// Flights of two carriers and three aircraft, with a note that no two have.
fn flights() -> String {
    let mut csv = "id,note,aircraft,carrier,maker\n".to_owned();
    for row in 0..12 {
        let aircraft = row % 3;
        csv.push_str(&format!(
            "{row},note {row},N{aircraft},carrier {} of {},maker {aircraft} of {}\n",
            aircraft % 2,
            "c".repeat(60),
            "m".repeat(60),
        ));
    }
    csv
}

#[test]
fn what_rows_share_comes_first_and_ends_with_a_block() {
    let instructions = "Is this flight late? ".repeat(4);
    let user = format!("{instructions}{{{{ row }}}}\nAnswer yes or no.");
    let (messages, ingested) = rendered("rows.csv", &flights(), reordered(TableFormat::Csv, &user));
    let FieldUse::SharedOrder(shares) = ingested.fields else {
        panic!("{ingested:?}");
    };
    assert_eq!((shares.rows, shares.given), (12, 0));
    assert!(shares.shared * 3 > shares.bytes * 2, "{shares:?}");
    insta::assert_debug_snapshot!(&messages[..3]);
    // The requests are other bytes, and so it is another job.
    let (_, given) = rendered("rows.csv", &flights(), table(TableFormat::Csv, &user));
    assert_ne!(given.params_digest, ingested.params_digest);
    assert_eq!(given.input_digest, ingested.input_digest);
    for (row, blocks) in messages.iter().enumerate() {
        let same_aircraft = &messages[row % 3];
        let shared = blocks.len() - 1;
        assert_eq!(blocks[..shared], same_aircraft[..shared]);
        assert_ne!(blocks[shared], messages[(row + 3) % 12][shared]);
    }
}

/// Characters that JSON writes with a backslash more.
fn escapes(blocks: &[String]) -> usize {
    blocks.iter().map(|block| block.matches('"').count()).sum()
}

#[test]
fn groups_of_rows_stand_on_what_all_share() {
    let user = format!("{}{{{{ row }}}}", "Is this flight late? ".repeat(40));
    let (messages, ingested) = rendered("rows.csv", &flights(), reordered(TableFormat::Csv, &user));
    let length = |group: &Group| usize::try_from(group.prefix_bytes).unwrap();
    assert_eq!(
        length(&ingested.groups[0]),
        21 * 40,
        "the instructions, without their block"
    );
    assert_eq!(
        length(&ingested.groups[2]),
        messages[0][..3].concat().len() + escapes(&messages[0][..3])
    );
    // Two aircraft are of one carrier.
    let groups = ingested.groups.iter();
    let found: Vec<_> = groups
        .map(|group| (group.parent, group.sums.rows))
        .collect();
    assert_eq!(
        found,
        [
            (None, 0),
            (Some(0), 0),
            (Some(1), 4),
            (Some(1), 4),
            (Some(0), 4)
        ]
    );
}

#[test]
fn a_short_row_stays_one_text() {
    let csv = "id,a\n1,x\n2,x\n3,x\n";
    let (messages, _) = rendered("rows.csv", csv, reordered(TableFormat::Csv, "{{ row }}"));
    let expected: Vec<_> = (1..4)
        .map(|id| vec![format!("{{\"a\":\"x\",\"id\":\"{id}\"}}")])
        .collect();
    assert_eq!(messages, expected);
}

#[test]
fn a_changed_row_stays_one_text() {
    let user = "{{ row | upper }}";
    let (messages, _) = rendered("rows.csv", &flights(), reordered(TableFormat::Csv, user));
    assert!(messages.iter().all(|blocks| blocks.len() == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_ordered_row_has_the_same_cells_and_place(
        rows in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, "[a-cé\"\\\\]{0,2}"), 6), 1..40),
        long in any::<bool>(), piece_len in 4usize..300, workers in 1usize..4,
    ) {
        let mut input = String::new();
        let mut expected = Vec::new();
        for (id, cells) in rows.iter().enumerate() {
            let mut row = serde_json::Map::new();
            row.insert("id".to_owned(), id.into());
            for (field, cell) in cells.iter().enumerate() {
                let long = "z".repeat(if long { 70 } else { 0 });
                let cell = cell.as_ref().map(|cell| format!("{cell}{long}"));
                row.extend(cell.map(|cell| (format!("field {field}"), cell.into())));
            }
            let row = Value::Object(row);
            input.push_str(&format!("{row}\n"));
            expected.push(row);
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path().join("spool"));
        let shape = reordered(TableFormat::Jsonl, "{{ row }}");
        let spec = job(temp.path(), "rows.jsonl", input.as_bytes(), shape);
        let ingested = run(&spec, Some(&dir), Tuning { piece_len, workers }).unwrap();
        let mut found = Vec::new();
        for blocks in messages(&dir) {
            prop_assert!(blocks.len() <= 17);
            prop_assert!(blocks.iter().rev().skip(1).all(|block| block.len() >= 64));
            found.push(serde_json::from_str::<Value>(&blocks.concat()).unwrap());
        }
        prop_assert_eq!(found, expected);

        // As far as tokens are concerned it is as long as in the given order.
        let given = job(temp.path(), "rows.jsonl", input.as_bytes(), table(TableFormat::Jsonl, "{{ row }}"));
        let bytes = |ingested: &Ingested| {
            let groups = ingested.groups.iter().map(|group| group.sums.request_bytes);
            groups.sum::<u64>() + ingested.ungrouped.request_bytes
        };
        prop_assert_eq!(bytes(&run(&given, None, Tuning::default()).unwrap()), bytes(&ingested));

        // Neither pieces nor threads change a byte, and nor does another time.
        let again = run(&spec, None, Tuning { piece_len: 1 << 20, workers: 1 }).unwrap();
        let disk_bytes = ingested.disk_bytes;
        prop_assert_eq!(Ingested { disk_bytes, ..again }, ingested);
    }
}
