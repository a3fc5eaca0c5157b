#!/usr/bin/env bash
# Runs the benchmarks: builds in release, installs the Python peers into target/bench/venv, and compares.
#   benches/run.sh            ingest, results, durability, recovery, memory and the simulator at full size: about ten minutes, 10 GB of disk (`--only build` for the cold build)
#   benches/run.sh --quick    the same, small, to see that it runs
#   benches/run.sh --help     the other options
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case " $* " in
*" --help "* | *" -h "*) exec python3 benches/run.py --help ;;
esac

target=${CARGO_TARGET_DIR:-target}
venv=$target/bench/venv
cargo build --release --locked -p offpeak-bench -p offpeak-cli
if ! cmp -s benches/requirements.txt "$venv/installed.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement benches/requirements.txt
    cp benches/requirements.txt "$venv/installed.txt"
fi
exec python3 benches/run.py --target "$target" "$@"
