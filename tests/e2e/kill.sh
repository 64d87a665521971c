#!/usr/bin/env bash
# An apply that is killed at any moment is finished by the next one: nothing twice, nothing orphaned, nothing lost.
. "$(dirname "$0")/lib/story.sh"

# What the emulator shows in Azure, and what the state remembers of it: by id, in small letters.
shown() { vmrun emulator list --json | jq -r '.arm[]' | tr '[:upper:]' '[:lower:]' | sort; }
remembered() {
  vmrun state list "$recipe" --json | jq -r '.[] | select(.kind | startswith("azure.")) | .identity // "" | select(startswith("/subscriptions/"))' |
    tr '[:upper:]' '[:lower:]' | grep -vE '/hostkeys$|/secrets/|/virtualmachinescalesets/[^/]+/virtualmachines/' | sort -u
}

# Creates of one thing with no delete between, by what the servers counted.
twice() {
  emulator writes | jq -r '.last[] | select(.service == "arm" or .service == "vault") | "\(.method) \(.status) \(.path)"' | sed 's/?.*//' |
    awk '$1 == "DELETE" { delete made[tolower($3)] } $1 == "PUT" && $2 == 201 && made[tolower($3)]++ { print }'
}

# story NAME CONTROL_PLANES WORKERS COUNT PATTERN
story() {
  local name=$1 planes=$2 workers=$3 count=$4 pattern=$5 commits
  state=$work/state-$((++number))
  set -- "control_planes=$planes" "workers=$workers"
  kill_after "$count" "$pattern" "$@"
  same "$name: killed" "$code" 137
  exits "$name: the next run ends well" 0 apply "$@"
  exits "$name: after it there are no changes" 0 plan "$@" --detailed-exitcode
  same "$name: nothing was made twice" "$(twice)" ""
  same "$name: what Azure shows is what the state remembers" "$(diff <(shown) <(remembered))" ""
  same "$name: as many machines as wanted" "$(machines | wc -l)" "$((planes + workers))"
  same "$name: one cluster, with a member and a Node for each" \
    "$(vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | length] + [[.kubernetes[] | select(.kind == "Node")] | length]')" \
    "[$planes,$((planes + workers))]"
  commits=$(git -C "$state"/emulator/machines/git-server/root/cluster.git log --format=%T main | sort | uniq -d)
  same "$name: no tree was committed twice" "$commits" ""
  vmrun emulator reset >/dev/null
}

number=0
story "at the beginning" 1 1 4 ': created \('
story "in the middle of Azure" 1 1 18 ': created \('
story "while hosts are prepared" 1 1 30 ': created \('
story "within kubeadm init" 1 1 1 'command kubeadm init$'
story "within kubeadm join" 3 1 1 'join\.cp-2: command kubeadm join$'
story "near the end" 3 1 48 ': created \('

# Who starts the emulator may be killed while it comes up: the next one waits for it instead of starting a second.
for moment in 0.02 0.04 0.06 0.08; do
  state=$work/state-start$moment
  timeout -s KILL "$moment" "$VMRUN" emulator start --state-dir "$state" >/dev/null 2>&1
  exits "an emulator whose starter was killed after $moment s" 0 timeout 60 "$VMRUN" emulator start --state-dir "$state"
  exits "it answers" 0 timeout 30 "$VMRUN" emulator status --state-dir "$state"
done
