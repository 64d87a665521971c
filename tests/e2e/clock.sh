#!/usr/bin/env bash
# The wall clock jumps while vmrun works, a day ahead and two days back (lib/jump.c): deadlines, durations, locks and tokens do not
# mind, for they go by the clock that only goes forward.
. "$(dirname "$0")/lib/verbs.sh"
at_exit() { "$VMRUN" emulator stop --state-dir "$work/azure" >/dev/null 2>&1; }

cc -shared -fPIC -O2 -o jump.so "$root/tests/e2e/lib/jump.c" -ldl || exit 1
# jumping COMMAND...: its wall clock is off by the seconds in the file `clock`.
jumping() { JUMP_FILE=$work/clock LD_PRELOAD=$work/jump.so "$@"; }
day=86400
# jump SECONDS: from now on.
jump() { echo "$1" >clock.new && mv clock.new clock; }
# until_true COMMAND...: waits for a condition, for 20 s at most.
until_true() {
  for _ in $(seq 200); do
    if "$@"; then ok; return; fi
    sleep 0.1
  done
  not_ok "never: $*"
}
created() { [ "$(grep -c ': created' log 2>/dev/null)" -ge "$1" ]; }

# the tool does what it says
jump $day
is "$(jumping "$VMRUN" lua <(echo 'print(os.date("!%F", math.floor(require("task").time())))'))" "$(date -u -d '+1 day' +%F)"

# a chain of steps that take their time
printf 'a\nb a\nc b\nd c\ne d\nf e\n' >edges
jump 0
jumping "$VMRUN" apply "$root/examples/graph.lua" edges=edges seconds=0.5 --yes --state-dir graph >log 2>err &
run_of_graph=$!
until_true created 1
jump $day
until_true created 2
"$VMRUN" apply "$root/examples/graph.lua" edges=edges seconds=0.5 --yes --state-dir graph >out 2>err && not_ok "two at once"
has err "is in use by"
jump $((-2 * day))
if wait "$run_of_graph"; then ok; else not_ok "the apply under the jumping clock"; fi
has log "Done: 6 added"
cp log out
is "$(jq '[.. | numbers | select(. < 0)] | length' graph/stacks/graph/report.json)" 0
is "$(jq '[.. | objects | .seconds? // empty | select(. > 20)] | length' graph/stacks/graph/report.json)" 0
run 0 plan "$root/examples/graph.lua" edges=edges seconds=0.5 --state-dir graph --detailed-exitcode
jump $((400 * day))
jumping "$VMRUN" plan "$root/examples/graph.lua" edges=edges seconds=0.5 --state-dir graph --detailed-exitcode >out 2>err
is "$?" 0

# Azure's tokens: asked for once, whatever the clock says meanwhile
cat >azure.lua <<'LUA'
local azure = use "azure"
local group = azure.resource_group "main" { name = "clock-rg", location = "westeurope" }
local net = azure.virtual_network "main" { name = "net", group = group, cidr = "10.0.0.0/16" }
for i = 1, 6 do azure.subnet("s" .. i) { name = "s" .. i, vnet = net, cidr = ("10.0.%d.0/24"):format(i) } end
LUA
run 0 emulator start --state-dir azure
jump 0
VMRUN_LOG=debug jumping "$VMRUN" apply azure.lua --emulator --yes --state-dir azure >log 2>err &
run_of_azure=$!
until_true created 1
jump $day
until_true created 3
jump $((-2 * day))
if wait "$run_of_azure"; then ok; else cp log out; not_ok "Azure under the jumping clock"; fi
has log "Done: 8 added"
is "$(cat azure/stacks/azure/logs/* | grep -c 'a token for')" 1
run 0 plan azure.lua --emulator --state-dir azure --detailed-exitcode
finish
