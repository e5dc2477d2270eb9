#!/usr/bin/env bash
# `make demo`: builds, starts the four servers, runs all four functions on nums.csv, stops the servers.
#
# Every line on the screen is a process's own, behind the process's name. Nothing here sleeps: a named
# pipe carries a mark for each line that ends a phase, and the script waits for marks.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
scripts/build.sh

servers=(serverA serverB serverC aws)
patience_s=30
work=$(mktemp -d)
pids=()
# SIGKILL, since a process that has only been forked yet would lose a gentler signal to bash's own trap;
# to the kernel, which closes the sockets, and to the peers, one death is like another.
stop() {
    trap - INT TERM EXIT
    kill -KILL "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkfifo "$work/marks"
exec 3<>"$work/marks"

# paint NAME NUMBER: prints what comes in behind the name, and marks boots, ends of jobs, and its own end.
paint() {
    local line on='' off=''
    if [[ -t 1 && -z ${NO_COLOR-} ]]; then
        on=$'\e[1;3'$2m off=$'\e[0m'
    fi
    while IFS= read -r line; do
        printf '%s%-7s |%s %s\n' "$on" "$1" "$off" "$line"
        case $line in
        *' is up and running'* | *' has successfully finished sending '*) echo "$1" >&3 ;;
        esac
    done
    echo "ended $1" >&3
}

# A mark from each server: all are up, or all have ended their part of a job. Every mark is taken before
# a failure is told, so that the lines above are complete.
await_all() {
    local mark failed=
    for _ in "${servers[@]}"; do
        if ! read -r -t "$patience_s" -u 3 mark; then
            failed="a server has not answered for $patience_s s"
            break
        elif [[ $mark == ended* ]]; then
            failed="${mark#ended } has ended; its own line above says why"
        fi
    done
    if [[ $failed ]]; then
        echo "demo: $failed" >&2
        exit 1
    fi
}

colour=1
for name in "${servers[@]}"; do
    mkfifo "$work/$name"
    paint "$name" $colour <"$work/$name" &
    "./$name" >"$work/$name" 2>&1 3>&- &
    pids+=($!)
    colour=$((colour + 1))
done
await_all

for function in sum min max sos; do
    echo
    # The client's marks are not waited for: its end is.
    ./client "$function" 2>&1 3>&- | paint client 6 3>/dev/null
    await_all
done
