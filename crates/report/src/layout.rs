//! Tables and paragraphs of a given width.
//!
//! Leaves out what they say. A table has a light rule under its header and nothing else, so that it
//! reads well in a log.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// Narrower than this nothing can be laid out; a smaller width is taken for this one.
const WIDTH_MIN: usize = 40;

/// How a column is set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

const RULED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Lays out a table. Cells of left columns wrap if the width demands it.
pub(crate) fn table(columns: &[(&str, Align)], rows: Vec<Vec<String>>, width: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(RULED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width.max(WIDTH_MIN)).unwrap_or(u16::MAX))
        .set_header(columns.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(row);
    }
    let last = columns.len().saturating_sub(1);
    for (index, (_, align)) in columns.iter().enumerate() {
        let Some(column) = table.column_mut(index) else {
            continue;
        };
        column.set_padding((0, if index == last { 0 } else { 1 }));
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Breaks a text at spaces; every line starts with `indent` spaces.
pub(crate) fn paragraph(text: &str, indent: usize, width: usize) -> String {
    listed("", text, indent, width)
}

/// The same with a `mark` before the first line; the others hang behind it.
pub(crate) fn listed(mark: &str, text: &str, indent: usize, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let hanging = indent + mark.chars().count();
    let mut out = format!("{}{mark}", " ".repeat(indent));
    let mut column = hanging;
    for word in text.split(' ') {
        let length = word.chars().count();
        let starts_line = column == hanging;
        if !starts_line && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(hanging));
            column = hanging;
        } else if !starts_line {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hanging_lines_stand_under_the_text() {
        let text = listed(
            "1. ",
            "one two three four five six seven eight nine ten",
            2,
            40,
        );
        assert_eq!(
            text,
            "  1. one two three four five six seven\n     eight nine ten\n"
        );
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_line_too_long(
            words in prop::collection::vec("[a-z]{1,12}", 1..40), indent in 0usize..8, width in 40usize..120,
        ) {
            let text = paragraph(&words.join(" "), indent, width);
            prop_assert!(text.lines().all(|line| line.len() <= width && !line.ends_with(' ')));
            prop_assert_eq!(text.split_whitespace().collect::<Vec<_>>(), words);
        }
    }
}
