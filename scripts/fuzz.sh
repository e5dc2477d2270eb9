#!/bin/sh
# `make fuzz`: fuzzes the parsers of what comes from outside, one after the other.
#
# scripts/fuzz.sh [SECONDS [TARGET...]]: each target for that long, 60 s unless said. The corpora stay in
# fuzz/corpus, so that each run goes on where the last one ended; a finding is in fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

seconds=${1-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- frame datagram numbers bencode metainfo peer_wire tracker

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "No nightly toolchain here, which fuzzing needs. Get one: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --locked --quiet cargo-fuzz
fi

for target; do
    echo "fuzz: $target for $seconds s"
    words=
    [ ! -f "fuzz/$target.dict" ] || words=-dict=fuzz/$target.dict
    # An input of 8 KiB is worth no allocation of 16 MiB and no ten seconds.
    # shellcheck disable=SC2086 # no dictionary, no argument
    cargo +nightly fuzz run "$target" -- $words -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -malloc_limit_mb=16 -rss_limit_mb=2048 -print_final_stats=1
done
