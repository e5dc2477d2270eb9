#!/bin/sh
# `make bench-swarm`: installs the peers, builds, then measures on virtual hosts. Arguments go to
# scripts/bench_swarm: --quick for a first look, --clients 1,4,16, --only NAME,NAME, --help for the rest.
#
# It needs root, for network namespaces. All that it makes lives in namespaces of its own: whatever ends
# it, the kernel removes hosts, cables, processes and the RAM disk.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
    echo "make bench-swarm needs root: it makes virtual hosts with network namespaces. Try: sudo make bench-swarm" >&2
    exit 1
fi
scripts/setup.sh bench-swarm
. scripts/toolchain.sh
cargo build --release --locked --quiet --package offload-swarm --examples
target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec unshare --net --mount --pid --mount-proc --fork --kill-child \
    bench/work/peers/bin/python scripts/bench_swarm --target "$target" "$@"
