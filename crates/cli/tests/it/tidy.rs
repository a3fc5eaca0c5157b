//! The rules of the house that neither the compiler nor clippy checks: file headers, which crate may use which, what
//! the pure crates must not pull in, and leftovers that should not be committed.
//!
//! Reads files and asks cargo, offline. Formatting and lints are left to rustfmt and clippy, licences to cargo-deny.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which workspace crates a crate may depend on: the arrows of ARCHITECTURE.md, which only go down.
const HOUSE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("core", &["wire"]),
    ("client", &["wire"]),
    ("store", &["wire", "core"]),
    ("engine", &["wire", "core", "client", "store"]),
    ("sim", &["wire"]),
    ("replay", &["wire", "core", "sim"]),
    ("report", &["wire", "core"]),
    (
        "cli",
        &[
            "wire", "core", "client", "store", "engine", "sim", "replay", "report",
        ],
    ),
    ("bench", &["wire", "core", "engine"]),
    ("fuzz", &["wire", "sim"]),
];

/// The crates without I/O, each with the flags that leave its drivers out.
const PURE: &[(&str, &[&str])] = &[
    ("offpeak-wire", &[]),
    ("offpeak-core", &[]),
    ("offpeak-replay", &[]),
    ("offpeak-report", &[]),
    ("offpeak-sim", &["--no-default-features"]),
];
const IMPURE: &[&str] = &["tokio", "hyper", "rusqlite"];

/// Notes to oneself, talk about how a text came about, and paths of one machine. Split, so that this file passes.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("as ", "instructed"),
    concat!("as ", "discussed"),
    concat!("the ", "brief says"),
    concat!("per the ", "brief"),
    concat!("/ro", "ot/"),
    concat!("/Use", "rs/"),
];
const UNWRITTEN: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];
/// Whatever the engine makes last goes through one place, so that a test can know what a power cut would leave.
const SYNCS: &[&str] = &["sync_all()", "sync_data()"];
const SYNCED_IN: &str = "crates/engine/src/disk.rs";

const SLEEP: &str = concat!("thread::", "sleep");

/// Above this a file is named in the output for a reviewer to look at; no test fails for it.
const LONG_FILE: usize = 600;

const SKIPPED_DIRECTORIES: &[&str] = &[".git", ".venv", "node_modules", "out", "target"];
const TEXT: &[&str] = &[
    "rs", "md", "toml", "sql", "sh", "py", "js", "html", "css", "yml",
];
const TEXT_WITHOUT_EXTENSION: &[&str] = &["justfile", "run"];

struct Source {
    /// Relative to the workspace, with `/` between its parts.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// What is compiled for tests only: files below `tests/`, modules that are called `tests` or `laws`, and all that
    /// follows a file's first `cfg(test)`.
    fn test_code(&self) -> &str {
        let for_tests = |part: &str| ["tests", "tests.rs", "laws.rs"].contains(&part);
        if self.path.split('/').any(for_tests) {
            return &self.text;
        }
        self.text
            .find("#[cfg(test)]")
            .map_or("", |start| &self.text[start..])
    }
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the package is two levels below the workspace")
        .to_owned()
}

/// The workspace's own text files, sorted by path.
fn sources() -> Vec<Source> {
    let root = workspace();
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("a folder's entry can be read").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let extension = path
                .extension()
                .map(|extension| extension.to_string_lossy());
            let is_text = extension.map_or_else(
                || TEXT_WITHOUT_EXTENSION.contains(&name.as_str()),
                |extension| TEXT.contains(&&*extension),
            );
            if path.is_dir() {
                if !SKIPPED_DIRECTORIES.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if is_text {
                let text =
                    fs::read_to_string(&path).expect("a text file of the workspace is UTF-8");
                let relative = path
                    .strip_prefix(&root)
                    .expect("the walk starts at the root");
                found.push(Source {
                    path: relative.to_string_lossy().replace('\\', "/"),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found
            .iter()
            .any(|source| source.path == "crates/cli/tests/it/tidy.rs")
    );
    found
}

/// Every `(file, word)` where a file has a word it must not have.
fn leftovers(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let mut note = |word: &str| found.push(format!("{}: {word}", source.path));
        LEFTOVERS
            .iter()
            .filter(|word| source.text.contains(**word))
            .for_each(|word| note(word));
        if source.is_rust() {
            UNWRITTEN
                .iter()
                .filter(|word| source.text.contains(**word))
                .for_each(|word| note(word));
            if source.test_code().contains(SLEEP) {
                note(SLEEP);
            }
            if source.path.starts_with("crates/engine/src/") && source.path != SYNCED_IN {
                SYNCS
                    .iter()
                    .filter(|word| source.text.contains(**word))
                    .for_each(|word| note(word));
            }
        }
    }
    found
}

/// Cargo's answer to `arguments`. It is the cargo that runs this test, and it must not reach for the network: all that
/// these questions need was downloaded to build the test.
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// The arrows that `metadata` draws and [`HOUSE`] does not allow. What only tests use may point anywhere, except that
/// the simulator never sees the core: two arithmetics that check each other must not share one.
fn forbidden_arrows(metadata: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let short = |name: &str| name.strip_prefix("offpeak-").map(ToOwned::to_owned);
    let mut found = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        let place = HOUSE
            .iter()
            .find(|(of, _)| short(&name).as_deref() == Some(of));
        let Some((from, allowed)) = place else {
            found.push(format!(
                "{name} has no place in the house: give it one in HOUSE"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let Some(to) = short(&text(&dependency["name"])) else {
                continue;
            };
            let for_tests = dependency["kind"] == "dev";
            let unseen = *from == "sim" && to == "core";
            if unseen || (!for_tests && !allowed.contains(&to.as_str())) {
                found.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    found
}

#[test]
fn every_rust_file_opens_with_what_it_owns() {
    let bare: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.is_rust() && !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(
        bare.is_empty(),
        "these files do not start with `//!`: {bare:#?}"
    );
}

#[test]
fn nothing_unfinished_or_private_is_left_behind() {
    let found = leftovers(&sources());
    assert!(found.is_empty(), "{found:#?}");
}

/// What does not hold of the page about traps: every trap is held by tests that exist, or says why not, and none of
/// the numbered ones is left out.
fn loose_traps(page: &str, sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let rust: Vec<_> = rust.map(|source| source.text.as_str()).collect();
    let exists = |name: &str| {
        let head = format!("fn {name}(");
        // What stands before a function belongs to it, up to an empty line.
        let is_test = |before: &str| {
            let own = before.rsplit("\n\n").next();
            own.is_some_and(|own| own.contains("#[test]") || own.contains("#[tokio::test"))
        };
        rust.iter().any(|text| {
            text.match_indices(&head)
                .any(|(at, _)| is_test(&text[..at]))
        })
    };
    let mut found = Vec::new();
    let mut numbered = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(first), Some(held)) = (cells.first(), cells.last()) else {
            continue;
        };
        if *held == "held by" {
            continue;
        }
        if cells.len() == 3 {
            numbered += 1;
            if *first != numbered.to_string() {
                found.push(format!("trap {first} stands where {numbered} should"));
            }
        }
        let names: Vec<_> = held.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !held.starts_with("none of ") {
            found.push(format!("nothing holds {first}"));
        }
        let gone = names.iter().filter(|name| !exists(name));
        found.extend(gone.map(|name| format!("there is no test {name}")));
    }
    if numbered == 0 {
        found.push("no trap is numbered".to_owned());
    }
    found
}

#[test]
fn every_trap_is_held_by_tests_that_exist() {
    let sources = sources();
    let page = sources.iter().find(|source| source.path == "docs/traps.md");
    let page = page.expect("the page about traps is there");
    let found = loose_traps(&page.text, &sources);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn arrows_only_go_down() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let found = forbidden_arrows(&metadata);
    assert!(found.is_empty(), "{found:#?}");
}

/// Asked of `cargo tree`, not of `cargo metadata`: metadata always resolves the whole workspace as one, in which the
/// command line turns the simulator's `server` feature on, and would so find tokio below the simulator for ever. Only
/// `tree -p` resolves a package by itself.
#[test]
fn pure_crates_pull_in_no_runtime_and_no_database() {
    for (package, flags) in PURE {
        let mut arguments = vec![
            "tree", "-p", package, "--edges", "normal", "--prefix", "none",
        ];
        arguments.extend(*flags);
        let tree = cargo(&arguments);
        let names: Vec<_> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(names.first(), Some(package), "the tree starts at its root");
        let found: Vec<_> = names.iter().filter(|name| IMPURE.contains(name)).collect();
        assert!(
            found.is_empty(),
            "{package} is pure but pulls in {found:?}:\n{tree}"
        );
    }
}

#[test]
fn long_files_are_named() {
    for source in sources().iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        if lines > LONG_FILE {
            eprintln!("{} has {lines} lines, more than {LONG_FILE}", source.path);
        }
    }
}

/// A check that cannot fail checks nothing.
#[test]
fn the_checks_can_fail() {
    let source = |path: &str, text: String| Source {
        path: path.to_owned(),
        text,
    };
    let sources = [
        source("a.md", format!("{} later", LEFTOVERS[0])),
        source("a.rs", format!("{})", UNWRITTEN[0])),
        source(
            "src/b.rs",
            format!("{SLEEP}(d); #[cfg(test)] mod tests {{}}"),
        ),
        source(
            "src/c.rs",
            format!("#[cfg(test)] mod tests {{ {SLEEP}(d) }}"),
        ),
        source("src/c/tests.rs", format!("{SLEEP}(d)")),
        source("tests/it/d.rs", format!("{SLEEP}(d)")),
        source("crates/engine/src/e.rs", format!("file.{}", SYNCS[0])),
        source(SYNCED_IN, format!("file.{}", SYNCS[0])),
    ];
    let files: Vec<_> = leftovers(&sources)
        .iter()
        .map(|line| line.split(':').next().map(str::to_owned))
        .collect();
    let expected = [
        "a.md",
        "a.rs",
        "src/c.rs",
        "src/c/tests.rs",
        "tests/it/d.rs",
        "crates/engine/src/e.rs",
    ];
    assert_eq!(files, expected.map(|path| Some(path.to_owned())));

    let page = "| trap | held by |\n|---|---|\n| one | `here` |\n| two | `gone` |\n| three | perhaps |\n\
                | 1 | four | none of ours |\n| 3 | five | `here`, `gone` |\n";
    let tests = "#[test]\nfn here() {}\n\nfn gone() {}";
    let tests = [source("tests/it/d.rs", tests.to_owned())];
    assert_eq!(
        loose_traps(page, &tests),
        [
            "there is no test gone",
            "nothing holds three",
            "trap 3 stands where 2 should",
            "there is no test gone",
        ]
    );

    let metadata = serde_json::json!({"packages": [
        {"name": "offpeak-sim", "dependencies": [{"name": "offpeak-core", "kind": "dev"}]},
        {"name": "offpeak-wire", "dependencies": [{"name": "offpeak-core", "kind": null}, {"name": "serde", "kind": null}]},
        {"name": "offpeak-core", "dependencies": [{"name": "offpeak-wire", "kind": null}]},
        {"name": "offpeak-attic", "dependencies": []},
    ]});
    assert_eq!(
        forbidden_arrows(&metadata),
        [
            "sim must not depend on core",
            "wire must not depend on core",
            "offpeak-attic has no place in the house: give it one in HOUSE",
        ]
    );
}
