#!/usr/bin/env bash
# Kills, stops, starves and cuts off the release binary while it runs jobs against `offpeak sim`, and audits what comes out.
#   tests/torture/run.sh               until 200 kills: some minutes
#   tests/torture/run.sh --kills 20    a look
#   tests/torture/run.sh --help        the other options
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --release --locked -p offpeak-cli
exec python3 tests/torture/run.py --offpeak "${CARGO_TARGET_DIR:-target}/release/offpeak" "$@"
