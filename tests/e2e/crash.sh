#!/usr/bin/env bash
# Over 200 kills: at every journal boundary (right before and right after each commit) and at random moments, of applies that create,
# change and destroy. The next run finishes: nothing is made twice, nothing is orphaned, nothing is lost.
. "$(dirname "$0")/lib/story.sh"
NODES=36 RANDOMS=${VMRUN_CRASH_RANDOMS:-180}
seed=${VMRUN_CRASH_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "seed $seed"
RANDOM=$seed

# A kind whose things are files, and a journal of what was done to each; making one that is there already is told.
mkdir -p "$work/recipe/counted"
cat >"$work/recipe/counted/thing.lua" <<'LUA'
local field, fs, kind, task = require "field", require "fs", require "kind", require "task"

local function path(f) return f.world .. "/things/" .. f.name end
local function note(f, what)
  assert(fs.write(f.world .. "/journal", what .. " " .. f.name .. "\n", { append = true }))
end

return kind "counted.thing" {
  doc = "A file that takes a moment.",
  fields = {
    name = field.string { default_name = true, replace = true }, world = field.string { required = true, ignore = true },
    value = field.integer { default = 1 }, needs = field.list { field.string {}, default = {} },
  },
  outputs = { id = field.string {} },
  identity = function(f) return f.name end,
  read = function(ctx)
    local text = fs.read(path(ctx.fields))
    return text and { fields = { value = math.tointeger(tonumber(text)), needs = ctx.fields.needs }, outputs = { id = ctx.fields.name } } or nil
  end,
  create = function(ctx)
    note(ctx.fields, fs.stat(path(ctx.fields)) and "again" or "create")
    assert(fs.write(path(ctx.fields), tostring(ctx.fields.value)))
    task.sleep(0.001)
    return { outputs = { id = ctx.fields.name } }
  end,
  update = function(ctx)
    note(ctx.fields, "update")
    assert(fs.write(path(ctx.fields), tostring(ctx.fields.value)))
    task.sleep(0.001)
    return { outputs = { id = ctx.fields.name } }
  end,
  delete = function(ctx)
    note(ctx.fields, "delete")
    fs.remove(path(ctx.fields))
    task.sleep(0.001)
  end,
}
LUA
cat >"$work/recipe/world.lua" <<LUA
local counted = use "counted"
local p = params { world = param.string {}, value = param.integer { default = 1 } }
local made = {}
for i = 1, $NODES do
  local needs = {}
  for _, step in ipairs { 3, 5, 9 } do
    if i > 9 then needs[#needs + 1] = made[i - step].id end
  end
  made[i] = counted.thing(("n%d"):format(i)) { world = p.world, value = p.value + i % 3, needs = needs }
end
LUA
recipe=$work/recipe/world.lua
kills=0 wrong=''

fresh() {
  rm -rf "$state" "$work/world"
  mkdir -p "$work/world/things"
}
run() { timeout 60 "$VMRUN" "$1" "$recipe" --state-dir "$state" --yes --lock-timeout 20s world="$work/world" "${@:2}" >"$work/out" 2>&1 </dev/null; }
# What is wrong after the run that followed a kill; `what` says where it was.
judge() {
  local what=$1 count=$2 list there
  there=$(find "$work/world/things" -type f ! -name '*.*' | wc -l) # a dot: a write that was cut off
  [ "$code" -eq 0 ] || wrong+="$what: the next run ended with $code: $(tail -n 3 "$work/out")"$'\n'
  list=$(grep -h '^again' "$work/world/journal" 2>/dev/null)
  [ -z "$list" ] || wrong+="$what: made twice: $list"$'\n'
  [ "$there" -eq "$count" ] || wrong+="$what: $there things, not $count"$'\n'
  [ "$(timeout 30 "$VMRUN" state list "$recipe" --state-dir "$state" | wc -l)" -eq "$count" ] || wrong+="$what: the state has another number"$'\n'
}
# story NAME VERB COUNT PREPARE ARGUMENT...: kills VERB at each commit, until one run gets to its end.
boundaries() {
  local name=$1 verb=$2 count=$3 prepare=$4 n when
  shift 4
  for when in BEFORE AT; do
    for n in $(seq 200); do
      fresh
      $prepare
      code=0
      env "VMRUN_CRASH_${when}_COMMIT=$n" timeout 60 "$VMRUN" "$verb" "$recipe" --state-dir "$state" --yes world="$work/world" "$@" >"$work/out" 2>&1 </dev/null || code=$?
      [ "$code" -eq 137 ] || break
      kills=$((kills + 1))
      code=0
      run "$verb" "$@" || code=$?
      judge "$name, killed ${when,,} commit $n" "$count"
    done
    [ "$code" -eq 0 ] || wrong+="$name: without a kill it ended with $code: $(tail -n 3 "$work/out")"$'\n'
    if [ "$n" -gt 3 ]; then pass "$name: $((n - 1)) boundaries, $([ $when = AT ] && echo behind || echo before) the commit"; else fail "$name: only $((n - 1)) commits"; fi
  done
  same "$name: after each kill all is as it should be" "$wrong" ""
  wrong=''
}
made() { run apply; }
boundaries "made" apply "$NODES" true
boundaries "changed" apply "$NODES" made value=2
boundaries "destroyed" destroy 0 made

# Random moments of one run of each: how long it takes is measured first.
randomly() {
  local name=$1 verb=$2 count=$3 prepare=$4 n pid took began
  shift 4
  fresh
  $prepare
  began=$(date +%s%N)
  run "$verb" "$@"
  took=$((($(date +%s%N) - began) / 1000))
  for n in $(seq $((RANDOMS / 3))); do
    fresh
    $prepare
    # timeout's own child is vmrun, which it kills.
    { timeout -s KILL "$(awk -v t="$took" -v r="$RANDOM" 'BEGIN { printf "%.6f", t / 1e6 * (0.1 + 0.9 * r / 32768) }')" \
      "$VMRUN" "$verb" "$recipe" --state-dir "$state" --yes world="$work/world" "$@" >"$work/out" 2>&1 </dev/null; } 2>/dev/null
    [ $? -ne 137 ] || kills=$((kills + 1))
    code=0
    run "$verb" "$@" || code=$?
    judge "$name, killed at random $n" "$count"
  done
  same "$name: killed at random moments, all is as it should be" "$wrong" ""
  wrong=''
}
randomly "made" apply "$NODES" true
randomly "changed" apply "$NODES" made value=2
randomly "destroyed" destroy 0 made
if [ "$kills" -ge 200 ] || [ "$RANDOMS" -lt 180 ]; then pass "$kills kills"; else fail "only $kills kills"; fi
