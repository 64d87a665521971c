#!/usr/bin/env bash
# Random canaries in every secret of a whole cluster, and the secrets that it makes itself: found in their homes, and nowhere else.
# Two stacks in two state folders run side by side; everything that vmrun writes is for its owner alone, whatever the umask.
. "$(dirname "$0")/lib/story.sh"
umask 000
sshd='' a=$work/state-a b=$work/state-b recipe=$work/recipe/cluster.lua
at_end() {
  rm -f "$work/watching"
  [ -z "$sshd" ] || kill "$sshd" 2>/dev/null
  finish
}
trap 'at_end; exit $?' EXIT

# A Git server of somebody else, whose key is a secret parameter.
net=127.85.$((RANDOM % 250)).1 port=$((20000 + RANDOM % 9000))
cd "$work" || exit
# With SHLVL bash takes itself for no first shell, and leaves the person's own ~/.bashrc alone.
[ "$(id -u)" -eq 0 ] && mkdir -p /run/sshd
(
  umask 077
  ssh-keygen -q -t ed25519 -N "" -C git -f "$work/git-key"
  ssh-keygen -q -t ed25519 -N "" -C host -f "$work/git-host"
  printf 'Port %s\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nUsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin yes\nSetEnv SHLVL=5\n' \
    "$port" "$net" "$work/git-host" "$work/git-key.pub" >"$work/sshd_config"
)
git init -q --bare -b main "$work/theirs.git"
"$(command -v sshd || echo /usr/sbin/sshd)" -D -f "$work/sshd_config" -E "$work/sshd.log" &
sshd=$!

# The canaries; a step that fails has one of its own, since it says something.
homes=(host vault object file input failing refused)
mkdir "$work/given"
for home in "${homes[@]}"; do
  declare "$home=canary-$home-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"
  (umask 077 && printf '%s\n' "${!home}" >"$work/given/$home")
done

# The cluster's recipe, and after its end one resource for each way that a secret can take.
mkdir -p "$work/recipe/canary"
cp -r "$root/recipes/." "$work/recipe"
cat >"$work/recipe/canary/role.lua" <<'LUA'
local field, role = require "field", require "role"

return role "canary.role" {
  doc = "Secrets on a host.",
  inputs = { file = field.secret {}, input = field.secret {}, failing = field.secret {} },
  tasks = function(host, f)
    host.file "/etc/canary" { content = f.file, secret = true, mode = "0600" }
    host.command "input" { run = "sleep 0.5; cat >/etc/canary-input", input = f.input, creates = "/etc/canary-input" }
    if f.failing then host.command "failing" { run = "read -r line; echo it was $line >&2; exit 3", input = f.failing } end
  end,
}
LUA
sed -i "s|^  kubernetes_repository = |$(printf '  canary_%s = param.secret {},\\n' "${homes[@]}")  folder = param.string {}, broken = param.boolean { default = false },\\n&|" \
  "$work/recipe/cluster.lua"
cat >>"$work/recipe/cluster.lua" <<'LUA'
local canary, here, kubernetes = use("canary", "local", "kubernetes")
azure.key_vault_secret "canary" { vault = vault, value = p.canary_vault, after = { writer } }
kubernetes.object "canary" {
  cluster = cluster, api_version = "v1", object_kind = "Secret", namespace = "default", body = { stringData = { password = p.canary_object } },
}
here.file "canary" { path = p.folder .. "/file", content = p.canary_file, mode = "0600" }
canary.role "one" {
  host = last.host, file = p.canary_host, input = p.canary_input, failing = p.broken and p.canary_failing or nil,
}
if p.broken then
  here.command "loud" { command = "sleep 0.5; echo it was " .. p.canary_failing .. " >&2; exit 3" }
  kubernetes.object "refused" {
    cluster = cluster, api_version = "v1", object_kind = "ConfigMap", namespace = "default",
    labels = { password = p.canary_refused .. " !" }, body = {},
  }
end
LUA

# Every process of the machine is looked at while they run.
touch "$work/watching"
(
  while [ -e "$work/watching" ]; do
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'
    sleep 0.05
  done | awk 'length > 7 && !seen[$0]++ { print; fflush() }' >"$work/arguments"
) &
given=()
for home in "${homes[@]}"; do given+=("canary_$home=@given/$home"); done
theirs=("git_url=ssh://$(id -un)@$net:$port$work/theirs.git" git_key=@git-key "git_hosts=[$net]:$port $(cut -d' ' -f1,2 git-host.pub)")
# one SAID STATE VERB ARGUMENT...: everything that it says, with the log at its most talkative.
one() {
  local said=$work/said/$1 code=0
  VMRUN_LOG=debug timeout 200 "$VMRUN" "$3" "${@:4}" --state-dir "$2" >"$said" 2>"$said.err" </dev/null || code=$?
  echo "$code" >"$said.code"
}
stack_a() { one "a-$1" "$a" "$2" "$recipe" folder="$work/out-a" control_planes=1 workers=1 "${given[@]}" "${@:3}"; }
stack_b() { one "b-$1" "$b" "$2" "$recipe" folder="$work/out-b" control_planes=1 workers=1 "${given[@]}" "${theirs[@]}" "${@:3}"; }
code() { cat "$work/said/$1.code"; }
mkdir "$work/said" "$work/out-a" "$work/out-b"

# Two stacks side by side; the second's plan is saved first, which keeps no secret: apply is given them again.
(stack_a plan plan --emulator && stack_a apply apply --emulator --yes) &
first=$!
stack_b plan plan --emulator --out "$work/said/b.plan"
one b-apply "$b" apply "$work/said/b.plan" --yes "${given[@]}" git_key=@git-key
wait "$first"
same "a plan" "$(code a-plan)" 0
same "a saved plan" "$(code b-plan)" 0
same "one stack is applied" "$(code a-apply)" 0
same "beside another, from its saved plan" "$(code b-apply)" 0
[ "$failed" -eq 0 ] || { tail -n 40 "$work"/said/*-apply.err; exit; }

# What they made themselves, from where it lives.
on_machine() { cat "$1"/emulator/machines/*/root/"$2" 2>/dev/null; }
k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
made() {
  local config=$1/config
  vmrun_in "$1" kubeconfig --out "$config" >/dev/null 2>&1
  on_machine "$1" etc/kubernetes/pki/ca.key | sed -n 2p
  on_machine "$1" etc/kubernetes/pki/sa.key | sed -n 3p
  on_machine "$1" etc/kubernetes/pki/etcd/ca.key | sed -n 2p
  on_machine "$1" etc/kubernetes/encryption.yaml | sed -n 's/^ *secret: //p'
  on_machine "$1" etc/kubernetes/admin.conf | sed -n 's/^ *client-key-data: //p'
  k get secret -n flux-system flux-system -o json | jq -r '.data.identity | @base64d' | sed -n 3p
  grep -aohE 'OPENSSH PRIVATE KEY-----\\n[A-Za-z0-9+/=]+\\n[A-Za-z0-9+/=]+' "$1"/emulator/world.db* | sed 's/.*\\n//' | sort -u
  rm -f "$config"
}
vmrun_in() { timeout 60 "$VMRUN" "$2" "$recipe" --state-dir "$1" "${given[@]}" git_key=@git-key "${@:3}"; }
same "the secrets of the given's homes: the host" "$(on_machine "$a" etc/canary)" "$host"
same "a command's input" "$(on_machine "$b" etc/canary-input)" "$input"
same "a file" "$(cat out-b/file)" "$file"
same "its mode" "$(stat -c %a out-b/file)" 600
check "the vault" grep -qaF "$vault" "$a"/emulator/world.db "$a"/emulator/world.db-wal
vmrun_in "$b" kubeconfig --out "$work/config" >/dev/null
same "an object" "$(config=$work/config k get secret canary -o json | jq -r '.data.password | @base64d')" "$object"
made "$a" >"$work/made-a"
made "$b" >"$work/made-b"
if [ "$(awk 'length > 15' made-a | wc -l)" -ge 7 ] && [ "$(awk 'length > 15' made-b | wc -l)" -ge 7 ]; then
  pass "$(wc -l <made-a) and $(wc -l <made-b) secrets that they made are found in their homes"
else
  fail "the secrets that they made are found in their homes" "$(wc made-a made-b)"
fi
same "the two stacks share none" "$(comm -12 <(sort made-a) <(sort made-b))" ""

# All that they say on the way, and in a run of which three steps fail.
export VMRUN_LOG=debug
stack_a broken apply broken=true --yes
unset VMRUN_LOG
same "a run of which steps fail" "$(code a-broken)" 1
for told in local.command.loud canary.role.one kubernetes.object.refused; do
  check "it says what came of $told" grep -qE "^[^ ]*:[0-9]+: $told.*failed" said/a-broken.err
done
check "with what was said in the place of the secret" grep -qF "it was (secret)" said/a-broken.err
stack_a again plan broken=true
stack_a json plan broken=true --json
stack_b json plan --json
for verb in output graph report inventory "state list"; do
  # shellcheck disable=SC2086
  timeout 60 "$VMRUN" $verb "$recipe" --state-dir "$a" >>said/verbs 2>>said/verbs.err
  # shellcheck disable=SC2086
  timeout 60 "$VMRUN" $verb "$recipe" --state-dir "$b" --json >>said/verbs 2>>said/verbs.err
done
while read -r address _; do
  timeout 60 "$VMRUN" state show "$recipe" "$address" --state-dir "$b"
done < <(timeout 60 "$VMRUN" state list "$recipe" --state-dir "$b") >>said/verbs 2>>said/verbs.err
check "the verbs said something" grep -q kubeadm.init.cluster said/verbs

# In clear, and in base64 wherever it begins.
{
  sed -n 3p git-key
  for home in "${homes[@]}"; do echo "${!home}"; done
  cat made-a made-b
} | while read -r secret; do
  echo "$secret"
  for skip in 0 1 2; do printf %s "${secret:skip}" | base64 -w0 | sed 's/.\{4\}$/\n/'; done
done | awk 'length > 7' | sort -u >"$work/patterns"
nowhere() {
  local name=$1 found
  shift
  found=$(grep -raoF -f "$work/patterns" "$@" | cut -c1-200 | sort | uniq -c)
  if [ -s "$work/patterns" ] && [ -z "$found" ]; then pass "no secret is in $name"; else fail "no secret is in $name" "$found"; fi
}
if [ "$(grep -coF -f patterns "$a"/emulator/machines/*/root/etc/canary)" -gt 0 ]; then pass "the patterns find"; else fail "the patterns find"; fi
nowhere "what they said" said
nowhere "the states" --exclude-dir=emulator "$a" "$b"
nowhere "the arguments of processes" arguments
nowhere "the emulators' logs" "$a"/emulator/emulator.log "$b"/emulator/emulator.log
check "processes were looked at" grep -q canary_host=@given/host arguments

# For their owner alone, under a umask of nothing.
for folder in "$a" "$b"; do
  name=${folder##*/}
  same "$name: modes" "$(find "$folder" -path "$folder/emulator/machines" -prune -o \( -type d ! -perm 700 -o -type f ! -perm 600 \) -printf '%m %P\n')" ""
  same "$name: kept out of Git" "$(cat "$folder/.gitignore")" "*"
done
same "a saved plan's mode" "$(stat -c %a said/b.plan)" 600

# Logs do not pile up.
echo 'local here = use "local"; here.value "v" { value = 1 }' >small.lua
for _ in $(seq 23); do timeout 30 "$VMRUN" apply small.lua --state-dir "$a" --yes >/dev/null 2>&1; done
same "the logs of the last 20 runs are kept" "$(find "$a"/stacks/small/logs -type f | wc -l)" 20
same "and the other stack's" "$(find "$a"/stacks/cluster/logs -type f | wc -l)" 2

# One goes; the other does not notice.
exits "the second stack is destroyed" 0 vmrun_in "$b" destroy --yes
stack_a last plan broken=false
check "the first has nothing to do" grep -q "^Plan: 0 to add, 0 to change, 0 to destroy" said/a-last
