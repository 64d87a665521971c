#!/usr/bin/env bash
# No work per node grows with the number of nodes: what a node costs is counted, in instructions (valgrind), when a graph doubles
# and doubles again. Of many that wait for one, of layers and of a chain.
. "$(dirname "$0")/lib/verbs.sh"
recipe=$root/examples/graph.lua

# counted NAME VERB ARGUMENT...: the instructions of a run, of all its threads.
counted() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$VMRUN" "$1" "$recipe" "edges=$folder/edges" "${@:2}" >out 2>err ||
    { cat err >&2; echo 0; return; }
  sed -n 's/^==.*I *refs: *//p' err | tr -d ,
  rm -f out err
}

# steady WHAT A B C: what a node costs from n to 2 n (B - A), and from 2 n to 4 n (C - B, of twice as many).
steady() {
  local first=$(($3 - $2)) second=$((($4 - $3) / 2))
  if [ "$2" -gt 0 ] && [ "$second" -le $((first * 110 / 100)) ]; then ok
  else not_ok "$1: $((first / step)) instructions a node at first, then $((second / step)) (runs: $2, $3, $4)"; fi
}

step=250
for shape in wide layered chain; do
  declare -A runs=()
  for n in $step $((2 * step)) $((4 * step)); do
    folder=$work/$shape.$n
    mkdir "$folder"
    "$VMRUN" lua "$root/tests/bench/graph.lua" "$shape" "$n" 1 "$folder"
    for verb in apply plan destroy; do
      yes=--yes
      [ "$verb" != plan ] || yes=--no-color
      runs[$verb]+=" $(counted "$verb" --state-dir "$folder/state" "$yes")"
    done
  done
  # shellcheck disable=SC2086
  for verb in apply plan destroy; do steady "$shape $verb" ${runs[$verb]}; done
done
finish
