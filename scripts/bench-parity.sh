#!/bin/sh
# `make bench-parity`: builds, installs what it is compared with, then measures checkpoints on this host. Arguments
# go to scripts/bench_parity: --quick for a first look, --only pauses,tasks, --help for the rest.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh bench-parity
. scripts/toolchain.sh
cargo build --release --locked --quiet --package offload-parity --examples
cargo build --release --locked --quiet --package offload-suite
target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec bench/work/peers/bin/python scripts/bench_parity --target "$target" "$@"
