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
stop() {
    trap - INT TERM EXIT
    kill "${pids[@]}" 2>/dev/null || true
    wait
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

# A mark from each server: all are up, or all have ended their part of a job.
await_all() {
    local mark
    for _ in "${servers[@]}"; do
        if ! read -r -t "$patience_s" -u 3 mark; then
            echo "demo: a server has not answered for $patience_s s" >&2
            exit 1
        elif [[ $mark == ended* ]]; then
            echo "demo: ${mark#ended } has ended; its own line above says why" >&2
            exit 1
        fi
    done
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
