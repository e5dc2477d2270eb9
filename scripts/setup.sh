#!/bin/sh
# Installs what is missing for one purpose: setup.sh build|grade|gradescope|test|terminals|bench|bench-swarm|bench-parity
#
# Root is asked for only where a package is missing. A Rust toolchain is never installed behind one's
# back: toolchain.sh says in one line how to get one.
set -eu
cd "$(dirname "$0")/.."

# need PROGRAM PACKAGES: notes the packages where the program is missing.
missing=
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

need_venv() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
}

# What the swarm is tested and measured with and comes from PyPI, in an environment of its own.
peers=

case ${1-} in
build) need cc "gcc libc6-dev" ;;
test)
    need cc "gcc libc6-dev"
    need ip iproute2
    need unshare util-linux
    need make make && need g++ g++ && need bwrap bubblewrap && need zip zip && need unzip unzip
    need chromium chromium
    need age age && need zstd zstd
    need aria2c aria2 && need transmission-cli transmission-cli && need opentracker opentracker
    need_venv
    peers="libtorrent==2.1.1"
    ;;
grade) need bwrap bubblewrap && need make make && need gcc gcc && need g++ g++ && need setpriv util-linux ;;
gradescope) need cc "gcc libc6-dev" && need zip zip ;;
terminals) need cc "gcc libc6-dev" && need tmux tmux ;;
bench)
    need cc "gcc libc6-dev" && need datamash datamash && need mawk mawk
    need_venv
    ;;
bench-swarm)
    need cc "gcc libc6-dev" && need ip iproute2 && need unshare util-linux
    need age age && need zstd zstd
    need aria2c aria2 && need transmission-cli transmission-cli && need udp-sender udpcast
    need nginx nginx-light && need curl curl && need rsync rsync
    need_venv
    peers="libtorrent==2.1.1 matplotlib==3.11.2"
    ;;
bench-parity)
    need cc "gcc libc6-dev"
    # Not in every release of Debian: the bench says where it is missing, or does not run.
    if apt-cache show criu >/dev/null 2>&1; then need criu criu; fi
    need_venv
    peers="matplotlib==3.11.2"
    ;;
*)
    echo "usage: scripts/setup.sh build|grade|gradescope|test|terminals|bench|bench-swarm|bench-parity" >&2
    exit 2
    ;;
esac

# install_packages COMMAND...: apt-get, run by root or by "sudo -n".
install_packages() {
    echo "installing:$missing" >&2
    "$@" apt-get update -qq >/dev/null
    # Unquoted on purpose: a list of package names.
    # shellcheck disable=SC2086
    "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
        install_packages env
    elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        install_packages sudo -n
    else
        echo "Missing here:$missing. Install them, for example: sudo apt-get install$missing" >&2
        exit 1
    fi
fi

if [ -n "$peers" ]; then
    [ -x bench/work/peers/bin/python ] || python3 -m venv bench/work/peers
    # Unquoted on purpose: a list of packages. Where all of them are there, pip asks nobody.
    # shellcheck disable=SC2086
    bench/work/peers/bin/python -m pip install --quiet --disable-pip-version-check $peers
fi

. scripts/toolchain.sh
