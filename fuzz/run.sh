#!/usr/bin/env bash
# Fuzzes on the stable toolchain: coverage from LLVM's own pass, libFuzzer from `libfuzzer-sys`, no sanitizer (there is no
# unsafe code to sanitize; overflow and debug assertions are on). Needs a C++ compiler.
#   fuzz/run.sh                      every target, 30 seconds each
#   fuzz/run.sh --seconds 600 sse    one target, longer; more names may follow
# New inputs collect in target/fuzz/corpus; what breaks a property is kept in target/fuzz/found and ends the run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=30
if [ "${1:-}" = --seconds ]; then
    seconds=$2
    shift 2
fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in fuzz/targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi

# The flags that `cargo fuzz` sets. `--target` keeps them off build scripts.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-target}/fuzz
RUSTFLAGS="${RUSTFLAGS:-} $coverage -Cdebug-assertions -Coverflow-checks --cfg fuzzing" cargo build --release --locked \
    --package offpeak-fuzz --features libfuzzer --bins --target "$host" --target-dir "$build"

for target in "${targets[@]}"; do
    mkdir -p "$build/corpus/$target" "$build/found"
    log=$build/$target.log
    printf '%-12s ' "$target"
    if "$build/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$build/found/$target-" "$build/corpus/$target" "fuzz/corpus/$target" 2>"$log"; then
        awk '/number_of_executed_units/ {runs = $2} /average_exec_per_sec/ {rate = $2} /DONE/ {for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1)}
             END {printf "%d inputs, %d a second, %d edges covered\n", runs, rate, cov}' "$log"
    else
        printf 'broken:\n'
        grep -a -A4 "panicked at\|ERROR: libFuzzer\|Test unit written" "$log" || tail -20 "$log"
        exit 1
    fi
done
