# Lists the recipes
default:
    @just --list

# Everything quick to run before a commit: format, lints, house rules
check: lint tidy

# All tests
test:
    cargo test --workspace

# The official Python and TypeScript clients against `offpeak sim` (needs Python and Node)
clients:
    tests/clients/run.sh

# The same, third parties' clients, and results of nearly 2 GB
clients-all:
    tests/clients/run.sh all

# Format and clippy, warnings are errors
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The rules of the house that no compiler checks
tidy:
    cargo test --workspace --test it tidy:: -- --nocapture

# Licences, advisories and banned crates (needs cargo-deny)
deny:
    cargo deny check

# The benchmark of the decision: the tables and the picture of docs/economics.md (three minutes)
econ:
    cargo run --release -p offpeak-replay --example econ

# The same with one price row and two seeds, to the screen
econ-quick:
    cargo run --release -p offpeak-replay --example econ -- --quick

# Benchmarks, release build
bench:
    benches/run.sh

# The same, shorter, to see that they run
bench-quick:
    benches/run.sh --quick

# Fuzz every target for so many seconds (needs a C++ compiler); `cargo test` replays the corpus
fuzz seconds="30":
    fuzz/run.sh --seconds {{seconds}}

# Jobs, faults, crashes and clocks from so many seeds against the simulator in virtual time, each seed twice
dst seeds="10000" first="0":
    OFFPEAK_DST_SEEDS={{seeds}} OFFPEAK_DST_FIRST={{first}} cargo test --release -p offpeak-engine --test dst campaign::every_promise -- --nocapture

# Kill, stop, starve and cut off the release binary until so many kills; audits what comes out
torture kills="200":
    tests/torture/run.sh --kills {{kills}}

# Run the tests and review changed snapshots (needs cargo-insta)
snap:
    cargo insta test --workspace --review

# Exactly what continuous integration runs
ci:
    bash .ci/run
