# The commands of the assignment (all, serverA, serverB, serverC, aws) and of the project.
#
# Recipes are silent: a terminal shows a process's own messages and nothing else. `exec` makes the
# process take the recipe shell's place, so that a signal to make's group or child reaches it.
# Every target is phony: five of them are also the names of files that `make all` puts here.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.PHONY: all serverA serverB serverC aws checkpoint backup suite static gradescope demo test terminals bench bench-swarm bench-parity sim fuzz clean help

all:
	@scripts/build.sh

serverA serverB serverC aws:
	@test -x ./$@ || { echo "$@ is not built yet: run 'make all' first" >&2; exit 1; }; exec ./$@

checkpoint backup:
	@test -x ./offload || { echo "offload is not built yet: run 'make suite' first" >&2; exit 1; }; exec ./offload holder $@

suite:
	@scripts/build.sh suite

static:
	@scripts/build.sh static

gradescope:
	@exec scripts/gradescope.sh

demo:
	@exec scripts/demo.sh

terminals:
	@exec scripts/terminals.sh

test:
	@exec scripts/test.sh

sim:
	@exec cargo run --release --locked --quiet --example sim

bench:
	@exec scripts/bench.sh

bench-swarm:
	@exec scripts/bench-swarm.sh

bench-parity:
	@exec scripts/bench-parity.sh

fuzz:
	@exec scripts/fuzz.sh

clean:
	@cargo clean --quiet
	@rm -f client aws serverA serverB serverC offload offload-static offload-autograder.zip

help:
	@echo "make all                          build the five programs"
	@echo "make serverA|serverB|serverC|aws  run one of them in this terminal (after make all)"
	@echo "./client sum|min|max|sos          offload a reduction over nums.csv"
	@echo "make checkpoint|backup            hold parity of the backends' checkpoints (after make suite)"
	@echo "make suite                        build the offload command: ./offload grade|image ..."
	@echo "make static                       the same as offload-static, for hosts that have nothing"
	@echo "make gradescope                   a zip that makes Gradescope run ./offload grade"
	@echo "make demo                         all of the above in one terminal, from nothing"
	@echo "make terminals                    the same in five panes (tmux)"
	@echo "make test                         every test"
	@echo "make sim                          10,000 simulated jobs over bad links"
	@echo "make bench                        time it against Polars, DuckDB and others"
	@echo "make bench-swarm                  time a swarm of virtual hosts against other peers (root)"
	@echo "make bench-parity                 time checkpoints in memory against other ways to take them"
	@echo "make fuzz                         fuzz the parsers"
	@echo "make clean                        remove what was built"
