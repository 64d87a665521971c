#!/usr/bin/env bash
# Hosts through the command line: a real sshd on loopback that is three hosts, two reached through the first; ssh, exec,
# inventory, and no key anywhere but where it lives.
. "$(dirname "$0")/lib/verbs.sh"
. "$root/tests/e2e/lib/sshd.sh"
unset XDG_RUNTIME_DIR
export TMPDIR=$work # what is left there is of this story
sshd_of web "ListenAddress $net.1" "ListenAddress $net.2" "ListenAddress $net.3"

cat >hosts.lua <<'LUA'
local ssh = use "ssh"
local p = params {
  net = param.string {}, port = param.integer {}, user = param.string {}, host_key = param.string {}, key = param.secret {},
}
local function host(name, groups, number, via)
  return ssh.host(name) { address = p.net .. "." .. number, port = p.port, user = p.user, key = p.key, host_keys = { p.host_key },
    groups = groups, via = via }
end
local jump = host("jump", { "jumps" }, 1)
host("web-1", { "web" }, 2, jump)
host("web-2", { "web" }, 3, jump)
LUA
given=(net="$net" port="$port" user="$user" host_key="$host_key" key=@client)

run 0 apply hosts.lua "${given[@]}"
has out "Done: 3 added"
LD_DEBUG=files LD_DEBUG_OUTPUT=loaded run 0 plan hosts.lua "${given[@]}" --detailed-exitcode
cat loaded.* >libraries # of hosts over SSH alone: no HTTP, no Git
has libraries libssh2.so
for library in libcurl libgit2 libmicrohttpd libgnutls; do hasnt libraries $library; done

# inventories
run 0 inventory hosts.lua
if command -v ansible-inventory >/dev/null; then
  cp out inventory.yaml
  ansible-inventory -i inventory.yaml --list >listed 2>err
  is "$(python3 -c 'import json; d = json.load(open("listed")); print(sorted(d["web"]["hosts"]), d["_meta"]["hostvars"]["web-1"]["ansible_port"])')" \
    "['web-1', 'web-2'] $port"
fi
run 0 inventory hosts.lua --format ssh
has out "Host web-1"
has out "ProxyJump jump"
run 1 inventory hosts.lua --format tf
has err "--format is ansible, ssh or known_hosts, not 'tf'"

# ssh: a command, its exit code, its output, through the jump host
run 0 ssh hosts.lua web-1 key=@client -- 'echo "hello from $(whoami)"'
is "$(cat out)" "hello from $user"
run 7 ssh hosts.lua jump key=@client -- 'exit 7'
run 1 ssh hosts.lua web-3 key=@client
has err "did you mean 'web-1'?"
run 1 ssh hosts.lua web-1
has err "parameter 'key' has no default and was not given"

# exec: all at once; those that say the same are shown together; 1 if it failed anywhere
run 0 exec hosts.lua 'web-*' key=@client -- echo hi there
is "$(cat out)" "web-1, web-2:
  hi there"
run 0 exec hosts.lua web,@jumps key=@client -- 'echo $((1 + 2)); echo warn >&2'
is "$(cat out)" "jump, web-1, web-2:
  3
  warn"
run 1 exec hosts.lua all key=@client -- 'exit 3'
has out "jump, web-1, web-2: exit code 3"
has err "failed on 3 of 3: jump, web-1, web-2"
run 1 exec hosts.lua db key=@client -- true
has err "no host fits 'db'"

# a host that the recipe no longer declares: the state has not kept its key
sed '/web-2/d' hosts.lua >fewer.lua
run 1 exec fewer.lua --stack hosts web-2,jump "${given[@]}" -- hostname
has out "jump:"
has out "web-2: the host's key is a secret, which no state keeps"

# the key is nowhere but in its file
canary=$(sed -n 3p client)
if grep -rqF -- "$canary" .vmrun out err inventory.yaml 2>/dev/null; then not_ok "the key came out"; else ok; fi
if ls -d "$TMPDIR"/vmrun-ssh* >/dev/null 2>&1; then not_ok "a folder of ssh is left"; else ok; fi

# a host that shows another key, and one that is not there
ssh-keygen -q -t ed25519 -N "" -f other
run 1 plan hosts.lua net="$net" port="$port" user="$user" key=@client host_key="$(cut -d' ' -f1,2 other.pub)"
run 0 state list hosts.lua
kill "$sshd"
wait "$sshd" 2>/dev/null
run 1 plan hosts.lua "${given[@]}" --detailed-exitcode
has out "unknown"

finish
