#!/usr/bin/env bash
# The engine beside Terraform: examples/graph.lua on graphs of 100 and 1,000 nodes, both from empty to there, no change, and gone; then
# alone: one durable commit, the makespan of nodes that take time, growth to 100,000 nodes, and the reading of 10,000.
#   script/bench engine [--edges FILE] [--shapes "wide tree layered chain"] [--nodes "100 1000"] [--seed N] [--runs N]
# Medians of --runs. Terraform needs minutes for a chain of 1,000: what it cannot do in 15 minutes has no line.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
recipe=$here/../../examples/graph.lua
shapes="wide tree layered chain" nodes="100 1000" seed=1 runs=3 edges='' scale="10000 100000"
while [ $# -gt 0 ]; do
  case $1 in
    --edges) edges=$(realpath "$2") shapes=edges nodes=$(grep -c . "$2") scale='' ;;
    --shapes) shapes=$2 ;;
    --nodes) nodes=$2 ;;
    --seed) seed=$2 ;;
    --runs) runs=$2 ;;
    *) echo "unknown option $1" >&2; exit 1 ;;
  esac
  shift 2
done
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
export CHECKPOINT_DISABLE=1 NO_COLOR=1

measure() { python3 -ISE "$here/measure.py" "$work/log" "$@"; }
# column FILE N: the median of a column.
column() { awk -v n="$2" '{ print $n }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
bench() { awk -v n="$1" -v v="$2" -v f="$3" -v u="$4" 'BEGIN { printf "bench %s " f " %s\n", n, v, u }'; }

# ours VERB FOLDER ARGUMENT...: one run of ours on the graph of a folder.
ours() {
  local verb=$1 folder=$2
  shift 2
  if [ "$verb" = plan ]; then measure "$VMRUN" plan "$recipe" "edges=$folder/edges" --state-dir "$folder/state" "$@"
  else measure "$VMRUN" "$verb" "$recipe" "edges=$folder/edges" --yes --state-dir "$folder/state" "$@"; fi
}
theirs() {
  local program=$1 verb=$2 folder=$3
  if [ "$verb" = plan ]; then (cd "$folder" && measure timeout 900 "$program" plan -input=false -no-color)
  else (cd "$folder" && measure timeout 900 "$program" "$verb" -input=false -no-color -auto-approve); fi
}
# ratio NAME COLUMN OURS THEIRS
ratio() {
  [ -s "$4" ] || return 0
  bench "$1" "$(awk -v a="$(column "$3" "$2")" -v b="$(column "$4" "$2")" 'BEGIN { print b / a }')" %.1f x
}

for shape in $shapes; do
  for n in $nodes; do
    folder=$work/$shape.$n
    mkdir "$folder"
    if [ -n "$edges" ]; then
      cp "$edges" "$folder/edges"
      "$VMRUN" lua "$here/graph.lua" "$edges" "$folder"
    else
      "$VMRUN" lua "$here/graph.lua" "$shape" "$n" "$seed" "$folder"
    fi
    # Each of theirs is followed by ours, so that both meet the machine in the same mood; ours is short: its plan runs five times.
    rivals=''
    for program in terraform tofu; do
      command -v "$program" >/dev/null 2>&1 || continue
      rivals="$rivals $program"
      rm -rf "$folder/$program"
      mkdir "$folder/$program"
      cp "$folder/main.tf" "$folder/$program"
      (cd "$folder/$program" && "$program" init -input=false >/dev/null)
    done
    for _ in $(seq "$runs"); do
      rm -rf "$folder/state"
      for verb in apply plan destroy; do
        for program in $rivals; do
          [ -e "$folder/$program.slow" ] && continue
          theirs "$program" "$verb" "$folder/$program" >>"$folder/$program.$verb" || touch "$folder/$program.slow"
        done
        ours "$verb" "$folder" >>"$folder/ours.$verb"
        [ "$verb" != plan ] || for _ in 1 2 3 4; do ours plan "$folder" >>"$folder/ours.plan"; done
      done
    done
    mv "$folder/ours.plan" "$folder/ours.noop"
    for verb in apply noop destroy; do bench "engine.$shape.$n.$verb.vmrun" "$(column "$folder/ours.$verb" 1)" %.3f s; done
    for program in $rivals; do
      [ ! -e "$folder/$program.plan" ] || mv "$folder/$program.plan" "$folder/$program.noop"
      prefix=engine.
      [ "$program" = terraform ] || prefix=engine.tofu.
      for verb in apply noop destroy; do ratio "$prefix$shape.$n.$verb" 1 "$folder/ours.$verb" "$folder/$program.$verb"; done
      ratio "$prefix$shape.$n.memory" 3 "$folder/ours.apply" "$folder/$program.apply"
    done
  done
done
[ -n "$scale" ] || exit 0

# One durable commit here: a chain's nodes each wait for the one before to be written down.
mkdir "$work/chain"
"$VMRUN" lua "$here/graph.lua" chain 500 1 "$work/chain"
for _ in $(seq "$runs"); do
  rm -rf "$work/chain/state"
  ours apply "$work/chain" >>"$work/chain/apply"
  ours plan "$work/chain" >>"$work/chain/noop"
done
commit=$(awk -v a="$(column "$work/chain/apply" 1)" -v b="$(column "$work/chain/noop" 1)" 'BEGIN { print (a - b) / 501 * 1000 }')
bench engine.commit "$commit" %.3f ms

# 400 nodes of 50 ms in 20 layers: the wall of the run, as its report has it, over 20 nodes and 21 commits.
mkdir "$work/timed"
"$VMRUN" lua "$here/graph.lua" layered 400 "$seed" "$work/timed"
for _ in $(seq "$runs"); do
  rm -rf "$work/timed/state"
  ours apply "$work/timed" seconds=0.05 >/dev/null
  "$VMRUN" lua "$here/makespan.lua" "$work/timed/state/stacks/graph/report.json" >>"$work/timed/wall"
done
bench engine.makespan "$(awk -v w="$(column "$work/timed/wall" 1)" -v c="$commit" 'BEGIN { print w / (20 * 0.05 + 21 * c / 1000) }')" %.3f x

for n in $scale; do
  mkdir "$work/$n"
  "$VMRUN" lua "$here/graph.lua" layered "$n" "$seed" "$work/$n"
  for _ in $(seq "$runs"); do
    rm -rf "$work/$n/state"
    ours apply "$work/$n" >>"$work/$n/apply"
    [ "$n" -gt 10000 ] || measure "$VMRUN" check "$recipe" "edges=$work/$n/edges" >>"$work/$n/check"
  done
  bench "engine.layered.$n.apply.vmrun" "$(column "$work/$n/apply" 1)" %.2f s
  bench "engine.layered.$n.memory.vmrun" "$(column "$work/$n/apply" 3)" %.0f MiB
done
bench engine.growth "$(awk -v a="$(column "$work/10000/apply" 1)" -v b="$(column "$work/100000/apply" 1)" 'BEGIN { print b / a }')" %.1f x
bench engine.evaluate "$(column "$work/10000/check" 2)" %.3f s
