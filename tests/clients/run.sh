#!/usr/bin/env bash
# Real clients against `offpeak sim`: installs them below target/clients, builds offpeak, starts the simulator on a free
# port with a clock that is moved by hand, and runs their suites.
#   tests/clients/run.sh                 the official Python and TypeScript clients
#   tests/clients/run.sh python          one of: python, typescript, third-party, large
#   tests/clients/run.sh all             the official ones, the third parties', and results of nearly 2 GB
# `--release` builds in release; `--no-build` takes target/debug/offpeak as it is, which `cargo test --workspace` has made.
# `large` always builds in release. Needs bash, cargo, Python 3.11 with venv and Node 20 with npm; on Debian the latter two
# are installed if they are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

profile=debug
build=yes
suites=()
for argument in "$@"; do
    case $argument in
    --release) profile=release ;;
    --no-build) build=no ;;
    all) suites+=(python typescript third-party large) ;;
    python | typescript | third-party | large) suites+=("$argument") ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
    esac
done
if [ ${#suites[@]} -eq 0 ]; then suites=(python typescript); fi

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
room=$target/clients
mkdir -p "$room"

install_what_is_missing() {
    local packages=() root=()
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    if [ ${#packages[@]} -eq 0 ]; then return; fi
    if ! command -v apt-get >/dev/null; then
        printf 'please install: %s\n' "${packages[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then root=(sudo -n); fi
    "${root[@]}" apt-get update -q
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
}

python_with() { # NAME REQUIREMENTS: a virtual environment of that name, made anew when the requirements have changed
    local venv=$room/$1
    if ! cmp -s "$2" "$venv/installed.txt"; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
        cp "$2" "$venv/installed.txt"
    fi
}

node_in() { # NAME: a copy of tests/clients/NAME with its packages; its sources are outside the tree, where npm writes
    mkdir -p "$room/$1"
    find "$room/$1" -maxdepth 1 -type f ! -name installed.json -delete
    cp "tests/clients/$1"/* "tests/clients/$1/.npmrc" "$room/$1/"
    if ! cmp -s "$room/$1/package-lock.json" "$room/$1/installed.json"; then
        (cd "$room/$1" && npm ci --no-audit --no-fund --loglevel=error)
        cp "$room/$1/package-lock.json" "$room/$1/installed.json"
    fi
}

build() { # PROFILE
    local flags=()
    if [ "$1" = release ]; then flags=(--release); elif [ "$build" = no ]; then return; fi
    cargo build --locked -p offpeak-cli "${flags[@]}"
}

simulator=
stop() {
    if [ -n "$simulator" ]; then
        kill "$simulator" 2>/dev/null || true
        wait "$simulator" 2>/dev/null || true
        simulator=
    fi
}
trap stop EXIT

start() { # PROFILE [FLAG...]: a simulator on a free port; sets OFFPEAK_SIM_URL and OFFPEAK_SIM_PID
    stop
    local binary=$target/$1/offpeak said=$room/simulator.log
    shift
    "$binary" sim --listen 127.0.0.1:0 --clock virtual "$@" 2>"$said" &
    simulator=$!
    OFFPEAK_SIM_URL=
    while [ -z "$OFFPEAK_SIM_URL" ]; do
        sleep 0.05
        kill -0 "$simulator" 2>/dev/null || { cat "$said" >&2; exit 1; }
        OFFPEAK_SIM_URL=$(sed -n 's/^export ANTHROPIC_BASE_URL=//p' "$said")
    done
    export OFFPEAK_SIM_URL OFFPEAK_SIM_PID=$simulator
}

run_pytest() { # ENVIRONMENT FOLDER
    local cache=$room/pytest_cache
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/clients/python "$room/$1/bin/python" -m pytest -q --timeout 120 \
        -o cache_dir="$cache" --rootdir tests/clients/python "tests/clients/python/$2"
}

run_node() { # NAME
    (cd "$room/$1" && npm run --silent types && npm run --silent test)
}

# What stands in the caller's environment must not reach the clients.
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL ANTHROPIC_CUSTOM_HEADERS ANTHROPIC_PROFILE
export ANTHROPIC_CONFIG_DIR=$room/config NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

install_what_is_missing
for suite in "${suites[@]}"; do
    printf '\n--- %s\n' "$suite"
    case $suite in
    python)
        python_with python tests/clients/python/requirements.txt
        build "$profile"
        start "$profile"
        run_pytest python official
        ;;
    typescript)
        node_in typescript
        build "$profile"
        start "$profile"
        run_node typescript
        ;;
    third-party)
        python_with python-third-party tests/clients/python/third_party/requirements.txt
        node_in typescript
        node_in typescript-third-party
        build "$profile"
        start "$profile"
        run_pytest python-third-party third_party
        run_node typescript-third-party
        ;;
    large)
        python_with python tests/clients/python/requirements.txt
        node_in typescript
        build release
        start release --answers tests/clients/large.toml
        PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/clients/python "$room/python/bin/python" tests/clients/python/large.py
        (cd "$room/typescript" && node --import tsx large.ts)
        ;;
    esac
    stop
done
