#!/bin/sh
# scripts/kills-parity.sh [RUNS] [SEED]: `kill -9` of random processes of `offload parity run` at random moments,
# run after run (500 where no number is given), and a table of what came of it. Each run is a seed.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh
KILLS_RUNS=${1:-500} KILLS_SEED=${2:-1}
export KILLS_RUNS KILLS_SEED
exec cargo test --locked --quiet --package offload-suite --test kills -- --nocapture every_run
