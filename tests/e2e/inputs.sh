#!/usr/bin/env bash
# Wrong input, each in its own folder: one clear message (compared whole with inputs/NAME.err), exit code 1, and nothing half-written.
#   tests/e2e/inputs.sh [--update]
. "$(dirname "$0")/lib/story.sh"
golden=$root/tests/e2e/inputs update=${1:-} sshd=''
at_end() {
  [ -z "$sshd" ] || kill "$sshd" 2>/dev/null
  "$VMRUN" emulator stop --state-dir "$work/azure/state" >/dev/null 2>&1
  finish
}
trap 'at_end; exit $?' EXIT

# here NAME: a fresh folder with the cluster's recipe in it.
here() {
  name=$1
  mkdir "$work/$name"
  cd "$work/$name" || exit
  cp -r "$root/recipes/." .
}
# What differs from run to run has a name instead.
settle() { sed -E -e "s|$work/[a-z_]+|HERE|g" -e "s|$port|PORT|g" -e "s|$net|HOST|g" -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g' \
  -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}Z/TIME/g' -e 's/SHA256:[A-Za-z0-9+\/]{43}/FINGERPRINT/g'; }
# wrong ARGUMENT...: what apply says of it.
wrong() {
  local code=0
  timeout 60 "$VMRUN" apply "$@" --yes >out 2>err </dev/null || code=$?
  same "$name: exit code" "$code" 1
  settle <err >said
  if [ "$update" = --update ]; then cp said "$golden/$name.err"; fi
  same "$name: what it says" "$(cat said)" "$(cat "$golden/$name.err" 2>&1)"
}
# Not even a state folder is there when the recipe was at fault.
untouched() { if [ -e .vmrun ]; then fail "$name: nothing was written" "$(find .vmrun)"; else pass "$name: nothing was written"; fi; }
net=127.87.$((RANDOM % 250)).1 port=$((20000 + RANDOM % 9000))

here field
sed -i 's/{ cidr = p.network }/{ cdir = p.network }/' cluster.lua
wrong cluster.lua --emulator
untouched
here type
sed -i 's/interval = 5 /interval = "often" /' cluster.lua
wrong cluster.lua --emulator
untouched
here parameter
wrong cluster.lua --emulator wrokers=3
untouched
here value
wrong cluster.lua --emulator workers=many control_planes=2
untouched
here cycle
sed -i 's/^local network = .*/local network = azure.virtual_network "main" (own("vnet", { cidr = subnet.cidr }))/' cluster.lua
wrong cluster.lua --emulator
untouched
here cidr
wrong cluster.lua --emulator network=10.0.0.0/33 admin_cidr=10.1.2.3/8
untouched
here missing
rm -r cluster/cloud-init.yaml cluster/gitops
wrong cluster.lua --emulator
untouched
here link
ln -sf /etc/passwd cluster/cloud-init.yaml
wrong cluster.lua --emulator
untouched
here bytecode
echo 'io.write(string.dump(function() end))' >dump.lua
"$VMRUN" lua dump.lua >cluster.lua
wrong cluster.lua --emulator
untouched
here loop
sed -i 's/^local jump_host = /while true do end\n&/' cluster.lua
VMRUN_RECIPE_SECONDS=1 wrong cluster.lua --emulator
untouched
here given
wrong cluster.lua --emulator --params no-such-file.yaml
untouched

# A host that does not answer, one that shows another key than it should, and one that refuses ours.
here unreachable
cat >host.lua <<'LUA'
local ssh = use("ssh")
local p = params { address = param.string {}, port = param.integer {}, key = param.secret {}, host_key = param.string {} }
ssh.host "one" {
  address = p.address, port = p.port, key = p.key, host_keys = { p.host_key }, timeouts = { create = 3 },
}
LUA
for key in mine theirs other; do ssh-keygen -q -t ed25519 -N "" -C "$key" -f "$key"; done
cp host.lua mine theirs ./*.pub "$work"
host() { wrong host.lua "address=$net" "port=$port" "key=@$1" "host_key=$(cut -d' ' -f1,2 "$2")"; }
host mine theirs.pub
[ "$(id -u)" -eq 0 ] && mkdir -p /run/sshd
printf '%s\n' "Port $port" "ListenAddress $net" "HostKey $work/theirs" "AuthorizedKeysFile $work/theirs.pub" "UsePAM no" "StrictModes no" \
  "PidFile none" "PasswordAuthentication no" "KbdInteractiveAuthentication no" >"$work/sshd_config"
"$(command -v sshd || echo /usr/sbin/sshd)" -D -f "$work/sshd_config" -E "$work/sshd.log" &
sshd=$!
check "an sshd listens" until_true 10 grep -q listening "$work/sshd.log"
here host_key
cp "$work"/host.lua "$work"/mine "$work"/other.pub .
host mine other.pub
here user_key
cp "$work"/host.lua "$work"/mine "$work"/theirs.pub .
sed -i 's/create = 3/create = 1/' host.lua
host mine theirs.pub
exits "and then the right key" 0 timeout 60 "$VMRUN" apply host.lua --yes "address=$net" "port=$port" key=@../theirs "host_key=$(cut -d' ' -f1,2 theirs.pub)"
has "is enough" "1 adopted"

# A credential that Microsoft Entra ID refuses: the emulator's, asked as the real one is.
here azure
sed -i 's/^local tags, zones/use("local").file "first" { path = "made", content = "1", after = {} }\n&/' cluster.lua
check "an emulator" "$VMRUN" emulator start --state-dir state
state=$work/azure/state
endpoint ca >ca.pem
name=token
AZURE_TENANT_ID=$(endpoint tenant) AZURE_CLIENT_ID=$(endpoint client_id) AZURE_CLIENT_SECRET=wrong AZURE_AUTHORITY_HOST=$(endpoint entra) \
  SSL_CERT_FILE=ca.pem wrong cluster.lua --subscription 11111111-2222-3333-4444-555555555555 git_url=https://git.example/x.git
same "token: nothing was made on this machine either" "$(find . -name made)" ""
same "token: the state has nothing" "$("$VMRUN" state list cluster.lua)" ""

# A disk that is full from the start, and one that fills up on the way.
here full
cat >full.lua <<'LUA'
local here = use "local"
local p = params { fill = param.string { default = "true" } }
local first = here.file "first" { path = "made/first", content = "1" }
local fill = here.command "fill" { command = p.fill, after = { first } }
for i = 1, 9 do here.file("n" .. i) { path = "made/n" .. i, content = "number " .. i, after = { fill } } end
LUA
mkdir disk
apart=(unshare --mount)
[ "$(id -u)" -eq 0 ] || apart=(unshare --user --map-root-user --mount)
# shellcheck disable=SC2016
"${apart[@]}" bash -c '
  mount -t tmpfs -o size=1m none disk && touch disk/mounted || exit
  run() { name=$1; shift; timeout 60 "$VMRUN" apply full.lua --state-dir disk/state --yes "$@" >"$name.out" 2>"$name.err"; echo $? >"$name.code"; }
  dd if=/dev/zero of=disk/fill bs=4k 2>/dev/null
  run start
  find disk/state -type f -size 0 ! -name lock >start.empty
  rm disk/fill
  run way "fill=dd if=/dev/zero of=disk/fill bs=4k; true"
  ls made >way.made
  rm disk/fill
  "$VMRUN" state list full.lua --state-dir disk/state >way.state
  run after fill=true
  ls made >after.made
  cat disk/state/.gitignore >after.gitignore
  run again fill=true
' 

full() {
  name=full_$1
  same "$name: exit code" "$(cat "$1.code")" 1
  settle <"$1.err" >said
  if [ "$update" = --update ]; then cp said "$golden/$name.err"; fi
  same "$name: what it says" "$(cat said)" "$(cat "$golden/$name.err" 2>&1)"
}
full start
same "full_start: no empty file is left" "$(cat start.empty)" ""
full way
same "full_way: what is made is in the state" "$(sort way.state | tr '\n' ' ')" "local.command.fill local.file.first "
same "full_way: and nothing else is made" "$(cat way.made)" first
same "full_way: with room it goes on" "$(cat after.code) $(wc -l <after.made)" "0 10"
check "full_way: with what was left, and the command whose end could not be written" grep -q "^Done: 10 added" after.out
check "full_way: to its end" grep -q "No changes" again.out
same "full_way: the state is kept out of Git" "$(cat after.gitignore)" "*"
