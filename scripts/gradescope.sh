#!/bin/sh
# `make gradescope`: offload-autograder.zip, to be uploaded as an assignment's autograder.
#
# Gradescope runs setup.sh once in a container of its own, then run_autograder for each submission. The
# program in the zip is the one built here, so build it on the distribution that the container has, or an
# older one.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh gradescope
scripts/build.sh suite

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp offload "$work/"
cat >"$work/setup.sh" <<'SETUP'
#!/bin/sh
# Gradescope runs this once: what submissions need to be built and shut in.
set -eu
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bubblewrap gcc g++ make util-linux
SETUP
cat >"$work/run_autograder" <<'RUN'
#!/bin/sh
# Gradescope runs this for each submission. GRADE_OPTIONS may hold more, such as --seed and --policy.
set -eu
root=${AUTOGRADER:-/autograder}
# shellcheck disable=SC2086
exec "$root/source/offload" grade "$root/submission" --runs 3 --out "$root/grades" \
    --gradescope "$root/results/results.json" ${GRADE_OPTIONS-}
RUN
chmod 755 "$work/setup.sh" "$work/run_autograder"
rm -f offload-autograder.zip
(cd "$work" && zip -q -r offload-autograder.zip .)
mv "$work/offload-autograder.zip" .
echo "offload-autograder.zip: upload it under Configure Autograder"
