//! The inputs of the benchmarks: rows of the API's batch shape, and a table.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::prose::{self, Dice};
use crate::sample::{MAX_TOKENS, MODEL, system};

#[derive(Serialize)]
struct Row<'a> {
    custom_id: &'a str,
    params: Params<'a>,
}

#[derive(Serialize)]
struct Params<'a> {
    model: &'a str,
    max_tokens: u32,
    system: &'a str,
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

/// Bytes of a row of the batch shape that are neither system prompt nor message, about.
const AROUND: usize = 160;

/// Writes rows of the batch shape.
pub(crate) fn batch(rows: u64, bytes: usize, path: &Path) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut dice = Dice::new(1);
    let system = system(bytes);
    let text_bytes = bytes.saturating_sub(system.len() + AROUND).max(16);
    let mut text = String::new();
    for row in 0..rows {
        text.clear();
        prose::write(&mut dice, varied(text_bytes, &mut dice_of(row)), &mut text);
        let row = Row {
            custom_id: &format!("row-{row:07}"),
            params: Params {
                model: MODEL,
                max_tokens: MAX_TOKENS,
                system: &system,
                messages: [Message {
                    role: "user",
                    content: &text,
                }],
            },
        };
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(out.into_inner()?.sync_all()?)
}

/// Writes a table of three columns: a key, a short one, a long one.
pub(crate) fn csv(rows: u64, bytes: usize, path: &Path) -> anyhow::Result<()> {
    let mut out = csv::WriterBuilder::new()
        .buffer_capacity(1 << 20)
        .from_path(path)?;
    out.write_record(["id", "topic", "text"])?;
    let mut dice = Dice::new(2);
    let (mut topic, mut text) = (String::new(), String::new());
    for row in 0..rows {
        topic.clear();
        text.clear();
        prose::write(&mut dice, 20, &mut topic);
        prose::write(
            &mut dice,
            varied(bytes.saturating_sub(60), &mut dice_of(row)),
            &mut text,
        );
        out.write_record([&format!("row-{row:07}"), &topic, &text])?;
    }
    Ok(out.into_inner()?.sync_all()?)
}

fn dice_of(row: u64) -> Dice {
    Dice::new(row.wrapping_mul(0x5851_F42D_4C95_7F2D))
}

/// Half to one and a half times as much.
fn varied(bytes: usize, dice: &mut Dice) -> usize {
    bytes / 2 + dice.below(bytes)
}
