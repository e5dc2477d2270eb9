#!/bin/sh
# `make bench`: builds, installs the peers under bench/work, then measures. Arguments go to bench.py:
# --quick for a fast look, --full for all of it, --runs N for another number of pairs.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh bench
. scripts/toolchain.sh
scripts/build.sh
cargo build --release --locked --quiet --examples

venv=bench/work/venv
if ! "$venv/bin/python" -c 'import polars' 2>/dev/null || ! "$venv/bin/duckdb" --version >/dev/null 2>&1; then
    echo "installing: polars duckdb-cli" >&2
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check polars duckdb-cli
fi
exec python3 scripts/bench.py "$@"
