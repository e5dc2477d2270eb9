#!/bin/sh
# `make test`: installs what the tests need, then runs every test.
#
# Most tests spawn the programs of the test profile (optimised a little: see Cargo.toml), which cargo
# builds along with them. The tests of make and of these scripts use what `make all` has put at the root.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh test
. scripts/toolchain.sh
scripts/build.sh
# Tests that run make themselves are not below this one.
unset MAKEFLAGS MFLAGS MAKELEVEL
exec cargo test --workspace --locked --quiet
