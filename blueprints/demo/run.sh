#!/bin/sh
# The main job, once through, on two throw-away hosts. Everything it runs is printed first. KEEP=1 leaves the hosts up.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
export VINFRA_CACHE="${VINFRA_CACHE:-$PWD/.cache}"
site=blueprints/demo/site.yaml
fleet=blueprints/demo/fleet.yaml
lab=demo

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() {
    printf '\033[1m$ %s\033[0m\n' "$*"
    code=0
    "$@" || code=$?
    [ "$code" -eq "${expect:-0}" ] || { echo "expected exit status ${expect:-0}, got $code" >&2; exit 1; }
    [ "$code" -eq 0 ] || echo "(exit status $code)"
}
finish() {
    [ "${KEEP:-}" = 1 ] && [ "${done:-}" = 1 ] || vinfra lab down --name $lab
}
trap finish EXIT

say "Two bare Debian hosts, reached over SSH, on this very machine"
run vinfra lab up --name $lab --hosts 2
home="${VINFRA_CACHE#"$PWD/"}/labs/$lab"
run cat "$home/inventory.yaml"
run export VINFRA_INVENTORY="$home/inventory.yaml"

say "What they should be"
run cat $site

say "What would change: nothing is touched"
expect=2 run vinfra plan $site

say "Make it so"
run vinfra apply $site --yes

say "The second plan is empty"
run vinfra plan $site

say "Somebody changes one thing by hand"
run ssh -F "$home/ssh_config" demo2 'echo "Out of order" >/srv/www/index.html'

say "Drift names it, and exits 2: this is the line for cron"
expect=2 run vinfra drift $site

say "Mend just that"
run vinfra apply $site --yes

say "The same hosts as hypervisors, with a fleet of four machines"
run cat $fleet
run vinfra lab image --name $lab --write "$home/vars.yaml"
run vinfra apply $fleet -f "$home/vars.yaml" --yes

say "Again the second plan is empty, and the machines are there"
run vinfra plan $fleet -f "$home/vars.yaml"
run vinfra status
run vinfra ssh app-01 cat /etc/motd

say "Somebody takes memory from a running machine"
run ssh -F "$home/ssh_config" demo1 virsh -q setmem app-01 96M --live --config
expect=2 run vinfra drift $fleet -f "$home/vars.yaml"
run vinfra apply $fleet -f "$home/vars.yaml" --max-impact live --yes

if [ "${KEEP:-}" = 1 ]; then
    done=1
    say "The hosts stay up"
    cat <<TEXT
export VINFRA_CACHE=$VINFRA_CACHE VINFRA_INVENTORY=$PWD/$VINFRA_INVENTORY
.venv/bin/vinfra plan YOUR-BLUEPRINT.yaml
.venv/bin/vinfra lab status --name $lab
.venv/bin/vinfra lab down --name $lab
TEXT
    exit 0
fi

say "And take it all away again: what vinfra made goes, what was there before stays"
run vinfra destroy $fleet -f "$home/vars.yaml" --max-impact data-loss --yes
run vinfra destroy $site --yes
