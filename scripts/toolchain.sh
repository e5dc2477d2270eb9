#!/bin/sh
# Says in one line how to get a Rust toolchain where none, or too old a one, is found.
# Sourced, it also leaves PATH such that `cargo` is found where rustup has put it.

PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

toolchain_wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)

toolchain_refuse() {
    printf '%s\n' "$1" >&2
    exit 1
}

# toolchain_at_least WANTED FOUND: compares two versions number by number.
toolchain_at_least() {
    printf '%s\n%s\n' "$1" "$2" | sort -C -t. -k1,1n -k2,2n -k3,3n
}

if ! command -v cargo >/dev/null 2>&1; then
    toolchain_refuse "No Rust toolchain here. Get one (>= $toolchain_wanted): curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
fi

toolchain_found=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\.[0-9]*\).*/\1/p')
if ! toolchain_at_least "$toolchain_wanted" "${toolchain_found:-0}"; then
    if command -v rustup >/dev/null 2>&1; then
        toolchain_how="rustup toolchain install stable --profile minimal && rustup default stable"
    else
        toolchain_how="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
    fi
    toolchain_refuse "Rust ${toolchain_found:-of unknown version} is too old, offload needs $toolchain_wanted. Get one: $toolchain_how"
fi
