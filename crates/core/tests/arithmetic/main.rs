//! `docs/arithmetic.md` is written by the code it describes: prose with named places (`page.md`), and the figures that go
//! there (`figures`).
//!
//! Leaves out laws of the arithmetic, which stand beside it. To write the page after a change:
//! `OFFPEAK_WRITE_DOCS=1 cargo test -p offpeak-core --test arithmetic`.

mod figures;
mod job;
mod tables;

use std::path::Path;

const PROSE: &str = include_str!("page.md");

/// What may hold digits in the prose: the names of the lifetimes, and the formula.
const NAMES: [&str; 3] = ["5 minutes", "1 hour", "b · (1 − s · (1 − φ))"];

/// The prose with its places filled in, and the names of figures that it does not use.
fn filled(prose: &str, figures: &[(&'static str, String)]) -> Result<String, String> {
    let mut page = prose.to_owned();
    for (name, figure) in figures {
        let place = format!("{{{{{name}}}}}");
        if !page.contains(&place) {
            return Err(format!("no place for {name}"));
        }
        page = page.replace(&place, figure);
    }
    match page.find("{{") {
        Some(at) => Err(format!(
            "no figure for {}",
            page[at..].lines().next().unwrap_or_default()
        )),
        None => Ok(page),
    }
}

#[test]
fn the_page_is_what_the_code_computes() {
    let page = filled(PROSE, &figures::all()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/arithmetic.md");
    if std::env::var_os("OFFPEAK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    for (number, (published, computed)) in (1..).zip(published.lines().zip(page.lines())) {
        assert_eq!(published, computed, "line {number} of docs/arithmetic.md");
    }
    assert_eq!(published.len(), page.len());
}

#[test]
fn no_figure_is_written_by_hand() {
    let places = PROSE
        .split("{{")
        .map(|part| part.split_once("}}").map_or(part, |(_, prose)| prose));
    let mut prose = places.collect::<String>();
    for name in NAMES {
        prose = prose.replace(name, "");
    }
    for line in prose.lines() {
        let digit = line.find(|c: char| c.is_ascii_digit());
        assert!(digit.is_none(), "a figure of its own: {line}");
    }
}

#[test]
fn a_place_without_figure_and_a_figure_without_place_are_noticed() {
    assert!(filled("{{a}} {{b}}", &[("a", "1".to_owned())]).is_err());
    assert!(filled("{{a}}", &[("a", "1".to_owned()), ("b", "2".to_owned())]).is_err());
    assert_eq!(filled("{{a}}", &[("a", "1".to_owned())]).unwrap(), "1");
}
