#!/bin/sh
# `make all`: builds the five programs and puts them beside nums.csv; `make suite` builds `offload`, and
# `make static` the same as `offload-static`, which needs no library of the host that it is brought to.
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

case ${1-} in
suite) package=offload-suite programs=offload ;;
static) package=offload-suite programs=offload:offload-static ;;
*) package=offload programs="client aws servera:serverA serverb:serverB serverc:serverC" ;;
esac
release=release
if [ "${1-}" = static ]; then
    # With a target of its own, what is built along the way (build scripts, macros) stays dynamic.
    host=$(rustc -vV | sed -n 's/^host: //p')
    release=$host/release
    # It travels to every host: without line tables it has a fifth of the size.
    RUSTFLAGS="${RUSTFLAGS-} -C target-feature=+crt-static" cargo rustc --release --locked --quiet -p "$package" \
        --bin offload --target "$host" -- -C strip=debuginfo
else
    cargo build --release --locked --quiet -p "$package"
fi

# Cargo knows best where it builds: CARGO_TARGET_DIR, a configuration file, or target/.
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

for program in $programs; do
    name=${program#*:}
    cp -f "$target/$release/${program%:*}" ".$name.new"
    mv -f ".$name.new" "$name"
done
