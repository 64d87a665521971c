#!/usr/bin/env bash
# Credentials, in their order, as they are found under Azure's own names: `emulator env` leads vmrun to the emulator like any other tool.
. "$(dirname "$0")/lib/story.sh"
export XDG_CONFIG_HOME=$work/config HOME=$work/home PATH=/usr/bin:/bin:/usr/sbin:/sbin
mkdir -p "$HOME"
# A stack that knows nothing of the emulator: its target is Azure.
azure() { timeout 150 "$VMRUN" "$1" "$2" --state-dir "$work/stack" "${@:3}"; }
login() { timeout 60 "$VMRUN" login "$@"; }

check "an emulator" vmrun emulator start
check "its variables" vmrun emulator env
eval "$("$VMRUN" emulator env --state-dir "$state")"

exits "a secret in the environment" 0 login --show
matches "is what is used" "^\* environment +client secret of $AZURE_CLIENT_ID$"
matches "nothing behind it is asked" "^  azure cli +not asked"
has "it gives a token" "token: tenant $AZURE_TENANT_ID"

exits "a certificate" 0 env -u AZURE_CLIENT_SECRET "$VMRUN" login --show
matches "is used where there is no secret" "^\* environment +client certificate of $AZURE_CLIENT_ID$"
same "its key is for its owner alone" "$(stat -c %a "$AZURE_CLIENT_CERTIFICATE_PATH")" 600
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/other.pem" -out "$work/other.crt" -days 1 -subj /CN=other 2>/dev/null
cat "$work/other.crt" >>"$work/other.pem"
exits "another certificate is refused" 1 env -u AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PATH="$work/other.pem" "$VMRUN" login --show
has "in Entra ID's words" "AADSTS700027"
exits "so is a wrong secret" 1 env AZURE_CLIENT_SECRET=wrong "$VMRUN" login --show
has "in Entra ID's words" "AADSTS7000215"
lacks "and it is not repeated" "wrong"

# Workload identity: a token that a cluster signed, for an identity that trusts its issuer and subject.
cat >"$work/identity.lua" <<'LUA'
local azure = use "azure"
local g = azure.resource_group "w" { location = "westeurope" }
local id = azure.user_assigned_identity "pods" { name = "pods", group = g }
azure.resource "trust" { type = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials", api_version = "2024-11-30",
  parent = id, name = "cluster", body = { properties = { issuer = "https://issuer.example", subject = "system:serviceaccount:infra:vmrun",
  audiences = { "api://AzureADTokenExchange" } } } }
azure.role_assignment "reader" { scope = g, principal = id, role = "Reader" }
outputs { client = id.client_id }
LUA
cat >"$work/token.lua" <<'LUA'
local crypto, fs, task = require "crypto", require "fs", require "task"
local key = crypto.rsa_key(2048)
local now = math.floor(task.time())
for name, subject in pairs { good = "system:serviceaccount:infra:vmrun", other = "system:serviceaccount:infra:other" } do
  fs.write(arg[1] .. "/" .. name .. ".jwt", crypto.jwt_sign({ iss = "https://issuer.example", sub = subject, aud = { "api://AzureADTokenExchange" },
    iat = now, exp = now + 600 }, key) .. "\n")
end
fs.write(arg[1] .. "/issuer.pem", key)
LUA
check "tokens of an issuer" "$VMRUN" lua "$work/token.lua" "$work"
exits "an identity that trusts it" 0 vmrun apply "$work/identity.lua" --emulator --yes
jq -n --rawfile key "$work/issuer.pem" '{issuer: "https://issuer.example", key: $key}' >"$work/issuer.json"
ask --fail -X PUT "$(endpoint arm)/emulator/issuers" -H "Authorization: Bearer $(endpoint token)" --data "@$work/issuer.json" >/dev/null
AZURE_CLIENT_ID=$(vmrun output "$work/identity.lua" client --raw)
unset AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PATH
exits "a federated token" 0 env AZURE_FEDERATED_TOKEN_FILE="$work/good.jwt" "$VMRUN" login --show
matches "is the second source" "^\* workload identity +workload identity $AZURE_CLIENT_ID$"
matches "with the reason of the first" "^  environment +neither AZURE_CLIENT_SECRET nor"
exits "another subject's" 1 env AZURE_FEDERATED_TOKEN_FILE="$work/other.jwt" "$VMRUN" login --show
has "is refused" "AADSTS700027"

unset AZURE_CLIENT_ID
exits "the instance metadata service" 0 login --show
matches "is asked next" "^\* managed identity"
matches "with the reasons of the others" "^  environment +AZURE_TENANT_ID and AZURE_CLIENT_ID are not set$"

# A metadata service that is not Azure's is passed over; so is none.
export HTTP_PROXY=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9
exits "without any, and nobody logged in to az" 1 login --show
has "every source says why" "nobody logged in here: vmrun login"
cat >"$work/file.lua" <<'LUA'
local azure = use "azure"
local g = azure.resource_group "g" { location = "westeurope" }
LUA
exits "a plan without a credential" 1 azure plan "$work/file.lua"
has "says what was looked for" "no Azure credential was found"

login >"$work/out" 2>"$work/err" &
pid=$!
until_true 20 grep -q "emulator approve" "$work/err"
code=$(grep -o 'approve [A-Z0-9]*$' "$work/err" | cut -d' ' -f2)
exits "a wrong code" 1 vmrun emulator approve XXXXX
check "a person approves the code" vmrun emulator approve "$code"
wait "$pid"
same "the login ends" "$?" 0
matches_file() { if grep -qE -- "$2" "$3"; then pass "$1"; else fail "$1" "$(cat "$3")"; fi; }
matches_file "and says who it is" "^logged in as person@" "$work/out"
same "what is kept is for its owner alone" "$(stat -c %a "$XDG_CONFIG_HOME/vmrun/login.json")" 600
exits "it is used" 0 login --show
matches "as the last source" "^\* device code +login of person@"
has "for a person's token" "user person@"
refresh=$(jq -r '.[].refresh_token' "$XDG_CONFIG_HOME/vmrun/login.json")
exits "and again" 0 login --show
lacks "no token is shown" "$refresh"
if [ "$(jq -r '.[].refresh_token' "$XDG_CONFIG_HOME/vmrun/login.json")" != "$refresh" ]; then pass "each token replaces the one it was got by"
else fail "each token replaces the one it was got by"; fi

# An apply as against Azure itself, under its own names, by that login.
exits "an apply to Azure's own names" 0 azure apply "$work/file.lua" --yes
has "makes what it should" "1 added"
vmrun emulator list >"$work/list"
if grep -q "resourceGroups/g$" "$work/list"; then pass "in the emulator"; else fail "in the emulator" "$(cat "$work/list")"; fi

check "a provider is taken from the subscription" arm POST "/subscriptions/{subscription}/providers/Microsoft.Network/unregister" 2021-04-01
cat >>"$work/file.lua" <<'LUA'
azure.public_ip_address "ip" { group = g, location = "westeurope" }
LUA
exits "a missing provider is registered on the way" 0 azure apply "$work/file.lua" --yes
out=$(arm GET "/subscriptions/{subscription}/providers/Microsoft.Network" 2021-04-01 | jq -r .registrationState)
same "and stays so" "$out" Registered

exits "a fault by name" 0 vmrun emulator fault throttle path=publicIPAddresses times=1
exits "a wrong fault" 1 vmrun emulator fault throtle
has "is told the names" "throttle"
exits "a throttled read is asked again" 0 azure plan "$work/file.lua"
exits "the fault was used" 0 vmrun emulator fault list --json
has "once" '"used": 1'
exits "a connection that breaks after the effect" 0 vmrun emulator fault reset-after method=PUT times=1
cat >>"$work/file.lua" <<'LUA'
azure.public_ip_address "ip2" { group = g, location = "westeurope" }
LUA
exits "does not make it twice, nor lose it" 0 azure apply "$work/file.lua" --yes
exits "and nothing is left to do" 0 azure plan "$work/file.lua" --detailed-exitcode
# The REPL, on what stands.
out=$(printf '%s\n' '#azure.list("Microsoft.Network/publicIPAddresses")' 'azure.get(azure.list(nil, "g")[1].id).type' \
  'select(2, azure.request("GET", "/subscriptions?api-version=2021-04-01"))' | azure repl "$work/file.lua" 2>&1)
same "azure.list, azure.get and azure.request in the REPL" "$out" "$(printf '2\n"Microsoft.Network/publicIPAddresses"\n200')"
out=$(echo 'azure.list("Microsoft.Nope/x")' | azure repl "$work/file.lua" 2>&1)
has "a wrong type is told" "there is no type 'Microsoft.Nope/x'"
exits "the faults end" 0 vmrun emulator fault clear
exits "it is destroyed" 0 azure destroy "$work/file.lua" --yes=file

check "the login is forgotten" login --forget
exits "then there is none" 1 login --show

# The other way: a cloud of its own.
unset HTTPS_PROXY HTTP_PROXY http_proxy NO_PROXY
eval "$("$VMRUN" emulator env --cloud --state-dir "$state")"
exits "a cloud by its metadata endpoint" 0 login --show
has "at its own addresses" "cloud: $(endpoint arm)"
exits "what does not describe a cloud" 1 env AZURE_CLOUD="$(endpoint imds)/x" "$VMRUN" login --show
has "is said to be none" "does not describe a cloud"
