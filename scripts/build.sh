#!/bin/sh
# `make all`: builds the five programs and puts them beside nums.csv.
#
# Copies, not links: the client looks for nums.csv beside its own file. Each copy is moved into place in
# one step, so that a running server keeps its old program and the build never meets "text file busy".
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

if ! command -v cc >/dev/null 2>&1; then
    echo "No C linker (cc) here, which Rust needs. Get one: scripts/setup.sh build" >&2
    exit 1
fi

cargo build --release --locked --quiet

# Cargo knows best where it builds: CARGO_TARGET_DIR, a configuration file, or target/.
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# place PROGRAM NAME
place() {
    cp -f "$target/release/$1" ".$2.new"
    mv -f ".$2.new" "$2"
}
place client client
place aws aws
place servera serverA
place serverb serverB
place serverc serverC
