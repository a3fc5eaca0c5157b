//! A synchronous shard whose calls were answered: the journal that a run leaves, but for the time that the
//! calls would take.

use std::collections::BTreeSet;
use std::path::Path;

use offpeak_core::job::shard::{RowRange, ShardNo};
use offpeak_core::units::Usd;
use offpeak_engine::journal::{Journal, Record, replay};
use offpeak_engine::spool::{RefsReader, SpoolDir};

use crate::prose::{self, Dice};
use crate::sample::{MODEL, now};

/// Bytes of an answer's text, about.
const TEXT: usize = 700;

/// Rows that are left without an answer, so that the shard is still running.
const LEFT: usize = 100;

/// Records that are made to last together.
const GROUP: usize = 1_000;

/// Answers the rows of a shard that its journal does not know yet; the rows and bytes of the journal then.
pub(crate) fn answer(spool: &Path, shard: u32, rows: RowRange) -> anyhow::Result<(u64, u64)> {
    let (spool, no) = (SpoolDir::new(spool), ShardNo(shard));
    let mut known = BTreeSet::new();
    replay(&spool, no, |record| {
        known.insert(record.row());
    })?;
    let mut journal = Journal::open(&spool, no)?;
    let (mut dice, mut text, mut answered) = (Dice::new(5), String::new(), known.len());
    let mut group = Vec::new();
    for reference in RefsReader::open(&spool, rows)? {
        let reference = reference?;
        if known.contains(&reference.row) || answered + LEFT >= rows.len() as usize {
            continue;
        }
        answered += 1;
        let (row, at) = (reference.row, now()?);
        let held = Usd::from_pico(reference.worst.into());
        group.push(Record::Sent {
            row,
            attempt: 0,
            at,
            held,
        });
        text.clear();
        let bytes = TEXT / 2 + dice.below(TEXT);
        prose::write(&mut dice, bytes, &mut text);
        let body = format!(
            r#"{{"id":"msg_{:016x}","type":"message","role":"assistant","model":"{MODEL}","content":[{{"type":"text","text":{}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{},"service_tier":"standard"}}}}"#,
            dice.roll(),
            serde_json::to_string(&text)?,
            300 + dice.below(200),
            bytes / 4,
        );
        group.push(Record::Answered {
            row,
            at,
            status: 200,
            body: body.into_bytes(),
        });
        if group.len() >= GROUP {
            journal.append(&group)?;
            group.clear();
        }
    }
    journal.append(&group)?;
    Ok((answered as u64, journal.len()))
}
