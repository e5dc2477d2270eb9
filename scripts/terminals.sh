#!/usr/bin/env bash
# `make terminals`: the assignment's five terminals as panes of one tmux window.
#
# A tmux server of its own: no session, setting or key of the user's is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh terminals
scripts/build.sh
if [[ ! -t 0 || ! -t 1 ]]; then
    echo "make terminals needs a terminal; make demo shows the same in a pipe" >&2
    exit 1
fi

# The panes are terminals of their own: neither inside a tmux nor below a make.
unset TMUX MAKEFLAGS MFLAGS MAKELEVEL
mux=(tmux -f /dev/null -L "offload-$$")
stop() { "${mux[@]}" kill-server 2>/dev/null || true; }
trap stop EXIT
trap 'exit 130' INT TERM

"${mux[@]}" new-session -d -s offload -x "$(tput cols)" -y "$(tput lines)" "PS1='\$ ' exec sh"
"${mux[@]}" set -g mouse on
"${mux[@]}" set -g status-right ' Ctrl-b and an arrow: another pane · Ctrl-b d: stop all '
"${mux[@]}" set -g status-right-length 80
"${mux[@]}" set -g pane-border-status top
"${mux[@]}" set -g pane-border-format ' #T '
for _ in 1 2 3 4; do
    "${mux[@]}" split-window "PS1='\$ ' exec sh"
    "${mux[@]}" select-layout tiled
done

# run PANE TITLE COMMAND: types the command into the pane; returns once its process is up.
run() {
    "${mux[@]}" select-pane -t "$1" -T "$2"
    "${mux[@]}" pipe-pane -t "$1" "grep -q -m 1 'up and running' && ${mux[*]} wait-for -S up-$1"
    "${mux[@]}" send-keys -t "$1" "$3" Enter
    # A server that does not come up (its port is taken) says so in its pane: show it.
    timeout 10 "${mux[@]}" wait-for "up-$1" || true
}
run 0 'Backend-Server A' 'make serverA'
run 1 'Backend-Server B' 'make serverB'
run 2 'Backend-Server C' 'make serverC'
run 3 'AWS' 'make aws'
run 4 'client' './client sum'
"${mux[@]}" select-pane -t 4
"${mux[@]}" attach-session
