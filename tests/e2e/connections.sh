#!/usr/bin/env bash
# Connections through the command line, over real sshds: one jump host and two hosts behind it, and one that is so hardened that
# only ssh itself gets in. Roles, exec and ssh by both transports; the person's configuration; Ansible over the inventory; and
# what is left when a run is stopped or killed: nothing.
. "$(dirname "$0")/lib/verbs.sh"
. "$root/tests/e2e/lib/sshd.sh"
export XDG_RUNTIME_DIR=$work/run ANSIBLE_HOME=$work/ansible ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_SSH_ARGS="-o ControlMaster=no"
mkdir -m 700 run

sshd_of plain "ListenAddress $net.1" "ListenAddress $net.2" "ListenAddress $net.3"
sshd_of hardened "ListenAddress $net.4" "Ciphers aes256-gcm@openssh.com" "MACs hmac-sha2-256-etm@openssh.com"

mkdir demo
cat >demo/note.lua <<'LUA'
local role, field = require "role", require "field"
return role "demo.note" {
  doc = "A line in a file.",
  inputs = { path = field.string { required = true }, text = field.string { required = true } },
  tasks = function(host, f)
    host.file(f.path) { content = f.text .. "\n" }
  end,
}
LUA
cat >hosts.lua <<'LUA'
local ssh, demo = use("ssh", "demo")
local p = params {
  net = param.string {}, port = param.integer {}, user = param.string {}, host_key = param.string {}, key = param.secret {},
  note = param.string {},
}
local function host(name, groups, number, via, transport)
  return ssh.host(name) { address = p.net .. "." .. number, port = p.port, user = p.user, key = p.key, host_keys = { p.host_key },
    groups = groups, via = via, transport = transport }
end
local jump = host("jump", { "jumps" }, 1)
host("web-1", { "web" }, 2, jump)
host("web-2", { "web" }, 3, jump, "openssh")
local hard = host("hard", { "hard" }, 4, nil, "openssh")
demo.note "note" { host = hard, path = p.note, text = "hardened" }
LUA
given=(net="$net" port="$port" user="$user" host_key="$host_key" key=@client note="$work/note")

# the hardened one: libssh2 names the way in
sed 's/, "openssh")$/)/' hosts.lua >soft.lua
run 1 apply soft.lua "${given[@]}" --yes
has err "no cipher in common"
has err 'transport = "openssh"'

# a role over the second transport: there, and no change after that
run 0 apply hosts.lua "${given[@]}" --yes
is "$(cat note)" "hardened"
run 0 plan hosts.lua "${given[@]}" --detailed-exitcode
echo drifted >note
run 2 plan hosts.lua "${given[@]}" --detailed-exitcode
has out "hardened"
run 0 apply hosts.lua "${given[@]}" --yes
is "$(cat note)" "hardened"

# exec over both at once: alike is told once
run 0 exec hosts.lua all "${given[@]}" -- echo hi there
is "$(cat out)" "hard, jump, web-1, web-2:
  hi there"
run 1 exec hosts.lua hard,jump "${given[@]}" -- 'echo out; exit 3'
has out "hard, jump: exit code 3"
run 1 exec hosts.lua hard "${given[@]}" --json -- 'echo out; echo err >&2; exit 3'
is "$(jq -c '[.host, .code, .stdout, .stderr]' out)" '["hard",3,"out\n","err\n"]'
run 0 exec hosts.lua hard "${given[@]}" -- cat </dev/null
run 1 exec hosts.lua hard "${given[@]}" --timeout 1 -- sleep 20
has out "did not end within 1 s"
run 5 ssh hosts.lua web-2 "${given[@]}" -- 'echo "hello from $(whoami)"; exit 5'
is "$(cat out)" "hello from $user"

# Ansible finds its way by the inventory alone: jump host, key and host keys
if command -v ansible >/dev/null; then
  run 0 inventory hosts.lua --identity "$work/client"
  cp out inventory.yaml
  ansible-inventory -i inventory.yaml --list >listed 2>err
  is "$(jq -c '[.web.hosts, ._meta.hostvars["web-1"].ansible_port]' listed)" "[[\"web-1\",\"web-2\"],$port]"
  ANSIBLE_HOST_KEY_CHECKING=True ansible -i inventory.yaml all -m ping -e ansible_python_interpreter=/usr/bin/python3 >out 2>err
  is "$(grep -c SUCCESS out)" 4
  # It is our host key that counts: another one is refused.
  ssh-keygen -q -t ed25519 -N "" -f other
  sed "s|$(cut -d' ' -f2 host.pub)|$(cut -d' ' -f2 other.pub)|g" inventory.yaml >wrong.yaml
  ansible -i wrong.yaml jump,web-1 -m ping >out 2>err
  is "$(grep -c UNREACHABLE out)" 2
else
  echo "skip: no ansible here"
fi
run 0 inventory hosts.lua --format ssh --identity "$work/client"
cp out inventory.ssh
is "$(ssh -F inventory.ssh web-1 echo by ssh 2>err </dev/null)" "by ssh"

# the configuration of a person: where, as whom, with what, through what
cat >config <<CONFIG
Host web !web-9
  HostName $net.2
  ProxyJump jump
Host jump
  HostName $net.1
Host *
  User $user
  Port $port
  IdentityFile $work/client
  UserKnownHostsFile $work/known
CONFIG
printf '[%s]:%s %s\n' "$net.1" "$port" "$host_key" "$net.2" "$port" "$host_key" "$net.4" "$port" "$host_key" >known
cat >person.lua <<'LUA'
local ssh, demo = use("ssh", "demo")
local p = params { note = param.string {} }
local web = ssh.host "web" { address = "web", config = "config" }
demo.note "note" { host = web, path = p.note, text = "by " .. web.user }
LUA
run 0 apply person.lua note="$work/note" --yes
is "$(cat note)" "by $user"
run 0 plan person.lua note="$work/note" --detailed-exitcode
run 0 exec person.lua web note="$work/note" -- echo in
run 0 inventory person.lua
is "$(jq -c '.all.hosts.web | [.ansible_host, .ansible_port, .ansible_ssh_common_args]' out)" '["web",null,"-F config"]'
PATH=$work run 1 exec person.lua web note="$work/note" -- echo in
has out "no ssh is installed here"
ssh-keygen -q -R "[$net.2]:$port" -f known >/dev/null 2>&1
run 1 exec person.lua web note="$work/note" -- echo in
has out "is not known in $work/known"

# an agent signs; an encrypted key needs its passphrase, which nobody at a terminal can be asked for here
ssh-agent -D -a "$work/agent.sock" >/dev/null &
children+=($!)
for _ in {1..200}; do [ ! -S agent.sock ] || break; sleep 0.05; done
SSH_AUTH_SOCK=$work/agent.sock ssh-add -q client
cat >agent.lua <<'LUA'
local ssh = use "ssh"
local p = params { net = param.string {}, port = param.integer {}, user = param.string {}, host_key = param.string {} }
for i, transport in ipairs { "libssh2", "openssh" } do
  ssh.host("host-" .. i) { address = p.net .. "." .. i, port = p.port, user = p.user, agent = true, host_keys = { p.host_key }, transport = transport }
end
LUA
SSH_AUTH_SOCK=$work/agent.sock run 0 apply agent.lua "${given[@]:0:4}" --yes
SSH_AUTH_SOCK=$work/agent.sock run 0 exec agent.lua all "${given[@]:0:4}" -- echo signed
is "$(cat out)" "host-1, host-2:
  signed"
run 1 exec agent.lua all "${given[@]:0:4}" -- echo signed
has out "SSH_AUTH_SOCK is not set"
ssh-keygen -q -t ed25519 -N "open sesame" -f locked
run 1 exec hosts.lua jump "${given[@]:0:4}" key=@locked note=x -- true
has out "is encrypted and no passphrase was given"

# what a run leaves behind when it is done, stopped or killed
nothing_left() {
  local end=$((SECONDS + 5))
  while pgrep -f "$work/run/vmrun-ssh" >/dev/null; do
    [ "$SECONDS" -lt "$end" ] || { not_ok "an ssh is left after $1"; return; }
    sleep 0.1
  done
  ok
}
nothing_left "all that"
is "$(ls run)" ""
start_sleeping() {
  "$VMRUN" exec hosts.lua hard,web-2 "${given[@]}" -- "echo here; sleep $1" >out 2>err </dev/null &
  sleeping=$!
  local end=$((SECONDS + 10))
  until [ "$(pgrep -fc "^sleep $1")" -ge 2 ]; do
    [ "$SECONDS" -lt "$end" ] || { not_ok "nobody sleeps"; return; }
    sleep 0.1
  done
}
start_sleeping 31.7
kill -INT $sleeping
wait $sleeping
nothing_left "SIGINT"
is "$(ls run)" ""
start_sleeping 32.7
kill -KILL $sleeping
wait $sleeping 2>/dev/null
nothing_left "SIGKILL"
is "$(ls run)" ""

# one host that does not answer does not keep the others
kill "$sshd"
wait "$sshd" 2>/dev/null
run 1 exec hosts.lua all "${given[@]}" -- echo hi
has out "jump, web-1, web-2:
  hi"
has out "hard: "
has err "failed on 1 of 4: hard"
canary=$(sed -n 3p client)
if grep -rqF -- "$canary" .vmrun run out err; then not_ok "the key came out"; else ok; fi

finish
