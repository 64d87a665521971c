local test = require "tap"
local fs, http, json, process, task = require "fs", require "http", require "json", require "process", require "task"
local launch, endpoint = require "emulator.launch", require "emulator.endpoint"
local lab = require "emulator_lab"

test("it starts once, is found again, and its endpoint is private", function(t)
  local dir = t.tmp() .. "/emulator"
  t.after(function() launch.reset(dir) end)
  local a, b = task.spawn(launch.ensure, dir), task.spawn(launch.ensure, dir)
  local _, first = a:join()
  local _, second = b:join()
  t.eq(first.pid, second.pid, "two starters make one")
  t.eq(fs.stat(dir .. "/endpoint.json").mode & 511, 384)
  t.eq(fs.stat(dir).mode & 511, 448)
  t.eq(fs.stat(dir .. "/world.db").mode & 511, 384)
  t.has(first.arm, "https://127.")
  t.eq(launch.ensure(dir).pid, first.pid)
  t.ok(launch.stop(dir))
  t.ok(not process.alive(first.pid))
  t.eq(fs.stat(dir .. "/endpoint.json"), nil)
  local again = launch.ensure(dir)
  t.ok(again.pid ~= first.pid)
  t.eq({ again.subscription, again.tenant, again.client_secret, again.arm, again.ca },
    { first.subscription, first.tenant, first.client_secret, first.arm, first.ca }, "the same world")
  launch.reset(dir)
  t.eq(fs.stat(dir), nil)
  t.ok(not process.alive(again.pid))
end)

test("two emulators live side by side", function(t)
  local a, b = lab.open(t, { group = false }), lab.open(t, { group = false })
  t.ok(a.endpoint.net ~= b.endpoint.net)
  local answer = b:call("GET", "~~/resourceGroups", nil, { token = a:login("https://management.azure.com").access_token })
  t.eq({ answer.status, answer.code }, { 401, "InvalidAuthenticationToken" })
end)

test("tokens: who gets one and what it opens", function(t)
  local l = lab.open(t, { group = false })
  local good, status = l:login("https://management.azure.com")
  t.eq(status, 200)
  t.eq({ good.token_type, good.expires_in }, { "Bearer", 3599 })
  t.eq(#{ good.access_token:match("^([^.]+)%.([^.]+)%.([^.]+)$") }, 3)
  local bad
  bad, status = l:login("https://management.azure.com", { client_secret = "wrong" })
  t.eq({ status, bad.error, bad.error_codes[1] }, { 401, "invalid_client", 7000215 })
  t.has(bad.error_description, "AADSTS7000215")
  bad, status = l:login("https://management.azure.com", { client_id = "00000000-0000-0000-0000-000000000001" })
  t.eq({ status, bad.error_codes[1] }, { 400, 700016 })
  bad, status = l:login("https://management.azure.com", { tenant = "00000000-0000-0000-0000-000000000001" })
  t.eq({ status, bad.error_codes[1] }, { 400, 90002 })
  bad, status = l:login("https://nobody.example")
  t.eq({ status, bad.error_codes[1] }, { 400, 500011 })
  local vault = l:login("https://vault.azure.net").access_token
  local answer = l:call("GET", "~~/resourceGroups", nil, { token = vault })
  t.eq({ answer.status, answer.code }, { 401, "InvalidAuthenticationToken" })
  t.has(answer.json.error.message, "wrong audience")
  answer = l:call("GET", "~~/resourceGroups", nil, { token = "no.such.token" })
  t.eq(answer.status, 401)
  t.has(answer.headers["www-authenticate"], "authorization_uri=")
end)

test("metadata and discovery say where to go", function(t)
  local l = lab.open(t, { group = false })
  local e = l.endpoint
  local function get(path) return json.decode(assert(http.request { url = e.arm .. path, ca = e.ca }).body) end
  local cloud = get("/metadata/endpoints?api-version=2022-09-01")
  t.eq({ cloud.resourceManager, cloud.authentication.loginEndpoint, cloud.suffixes.keyVaultDns },
    { e.arm, e.arm .. "/", e.vault_suffix })
  t.eq(get("/metadata/endpoints?api-version=2019-05-01")[1].resourceManager, e.arm)
  local found = get("/" .. e.tenant .. "/v2.0/.well-known/openid-configuration")
  t.eq(found.token_endpoint, e.arm .. "/" .. e.tenant .. "/oauth2/v2.0/token")
  t.eq(get("/adfs/.well-known/openid-configuration").token_endpoint, e.arm .. "/adfs/oauth2/token")
  local path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
  local imds = assert(http.request { url = e.imds .. path,
    headers = { Metadata = "true" } })
  t.eq(imds.status, 200)
  local token = json.decode(imds.body)
  t.eq({ token.token_type, type(token.expires_on) }, { "Bearer", "string" })
  t.eq(l:call("GET", "~~/resourceGroups", nil, { token = token.access_token }).status, 200)
  t.eq(assert(http.request { url = e.imds .. "/metadata/identity/oauth2/token?resource=x" }).status, 400)
end)

test("requests that ARM itself refuses", function(t)
  local l = lab.open(t)
  local function refused(method, path, body, options)
    local answer = l:call(method, path, body, options)
    return { answer.status, answer.code, answer.headers["x-ms-failure-cause"] }
  end
  t.eq(refused("GET", "~~/resourceGroups", nil, { api = false }), { 400, "MissingApiVersionParameter", "gateway" })
  t.eq(refused("GET", "~~/resourceGroups", nil, { api = "new" }), { 400, "InvalidApiVersionParameter", "gateway" })
  t.eq(refused("GET", "/subscriptions/nobody/resourceGroups"), { 404, "SubscriptionNotFound", "gateway" })
  t.eq(refused("GET", "~~/resourceGroups/none"), { 404, "ResourceGroupNotFound", "gateway" })
  t.eq(refused("PUT", "~~/resourceGroups/a", {}), { 400, "LocationRequired", "gateway" })
  t.eq(refused("PUT", "~~/resourceGroups/a", { location = "atlantis" }),
    { 400, "LocationNotAvailableForResourceGroup", "gateway" })
  t.eq(refused("PUT", "~~/resourceGroups/g", { location = "eastus" }), { 409, "InvalidResourceGroupLocation", "gateway" })
  t.eq(refused("PUT", "~/Microsoft.Network/virtualNetworks/v", {}), { 400, "LocationRequired", "gateway" })
  t.eq(refused("GET", "~/Microsoft.Network/virtualNetworks/v"), { 404, "ResourceNotFound", "gateway" })
  t.eq(refused("PUT", "~~/resourceGroups/none/providers/Microsoft.Network/virtualNetworks/v", { location = "eastus" }),
    { 404, "ResourceGroupNotFound", "gateway" })
  t.eq(refused("PUT", "~/Microsoft.Network/virtualNetworks/v/subnets/s", { properties = {} })[2], "ParentResourceNotFound")
  t.eq(l:call("DELETE", "~/Microsoft.Network/virtualNetworks/v").status, 204)
  t.eq(l:call("HEAD", "~~/resourceGroups/none").status, 404)
  t.eq(l:call("HEAD", "~~/resourceGroups/G").status, 204)
  local answer = l:call("GET", "~~/resourceGroups/G")
  t.eq({ answer.json.name, answer.json.type }, { "g", "Microsoft.Resources/resourceGroups" }, "ids have no case")
  t.ok(answer.headers["x-ms-request-id"] and answer.headers["x-ms-routing-request-id"])
  t.eq(answer.headers["x-ms-ratelimit-remaining-subscription-reads"], "249")
end)

test("any other type is kept as it was given, listed, patched and filtered", function(t)
  local l = lab.open(t)
  for i = 1, 3 do
    local made = l:call("PUT", "~/Microsoft.Cache/redis/r" .. i, { location = "West US 2", tags = { n = tostring(i) },
      properties = { size = i } })
    t.eq({ made.status, made.json.location, made.json.properties.provisioningState }, { 201, "westus2", "Succeeded" })
  end
  t.eq(l:call("PUT", "~/Microsoft.Cache/redis/r1", { location = "westus2", properties = { size = 9 } }).status, 200)
  t.eq(l:call("GET", "~/Microsoft.Cache/Redis/R1").json.tags, nil, "a PUT replaces")
  t.eq(l:call("PATCH", "~/Microsoft.Cache/redis/r1", { tags = { a = "b" } }).json.properties.size, 9)
  t.eq(#l:call("GET", "~/Microsoft.Cache/redis").json.value, 3)
  t.eq(#l:call("GET", "~~/providers/Microsoft.Cache/redis").json.value, 3)
  t.eq(#l:call("GET", "~~/resources?$filter=resourceType%20eq%20'Microsoft.Cache/redis'%20and%20name%20eq%20'r2'").json.value, 1)
  local first = l:call("GET", "~~/resourceGroups/g/resources?$top=2").json
  t.eq(#first.value, 2)
  t.eq(#l:call("GET", first.nextLink).json.value, 1)
  t.eq(l:call("DELETE", "~/Microsoft.Cache/redis/r2").status, 200)
  local answer = l:call("DELETE", "~~/resourceGroups/g")
  t.eq(answer.status, 202)
  t.ok(answer.headers.location and not answer.headers["azure-asyncoperation"])
  t.eq(l:finish(answer).status, 200)
  t.eq(l:call("GET", "~~/resourceGroups/g").status, 404)
  t.eq(l:ask("GET", "list").resources, json.array {})
end)

test("writes are counted at the server, reads are not", function(t)
  local l = lab.open(t)
  local before = l:ask("GET", "writes").counts.total
  l:call("GET", "~~/resourceGroups")
  l:call("PUT", "~/Microsoft.Cache/redis/r", {})
  l:login("https://management.azure.com")
  t.eq(l:ask("GET", "writes").counts.total, before, "reads, tokens and refusals are no writes")
  l:call("PUT", "~/Microsoft.Cache/redis/r", { location = "eastus" })
  local writes = l:ask("GET", "writes")
  t.eq(writes.counts.total, before + 1)
  t.eq({ writes.last[#writes.last].method, writes.last[#writes.last].service }, { "PUT", "arm" })
  l.endpoint.token = "x"
  local _, status = l:ask("GET", "writes")
  t.eq(status, 401)
  l.endpoint = endpoint.read(l.dir)
end)

test("faults on demand: a status, a failed operation, one that never ends", function(t)
  local l = lab.open(t)
  local function vnet(name) return "~/Microsoft.Network/virtualNetworks/" .. name end
  local body = { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } } } }
  l:ask("PUT", "faults", { { method = "PUT", path = "virtualNetworks", status = 429,
    code = "TooManyRequests", retry_after = 1, times = 1 } })
  local answer = l:call("PUT", vnet "a", body)
  t.eq({ answer.status, answer.code, answer.headers["retry-after"] }, { 429, "TooManyRequests", "1" })
  t.eq(l:call("PUT", vnet "a", body).status, 201)
  l:ask("PUT", "faults", { { method = "PUT", path = "virtualNetworks/b", fail = "AllocationFailed",
    message = "no room", times = 1 } })
  answer = l:call("PUT", vnet "b", body)
  t.eq(answer.status, 201)
  local last = l:finish(answer)
  t.eq({ last.status, last.json.status, last.json.error.code }, { 200, "Failed", "AllocationFailed" })
  t.eq(l:call("GET", vnet "b").json.properties.provisioningState, "Failed", "what failed exists")
  t.eq(l:put(vnet "b", body).properties.provisioningState, "Succeeded", "and is repaired by a PUT")
  l:ask("PUT", "faults", { { path = "virtualNetworks/c", stuck = true } })
  answer = l:call("PUT", vnet "c", body)
  task.sleep(0.1)
  t.eq(l:call("GET", answer.headers["azure-asyncoperation"]).json.status, "InProgress")
end)

test("emulator: a word that it does not have is told with the nearest, and with those that it has", function(t)
  local emulator = require "cli.emulator"
  for verb, given in pairs {
    serve = { { profile = "azur" }, "no profile is named 'azur'; did you mean 'azure'?", 'it is one of "azure", "instant"' },
    start = { { machines = "namespace" }, "no machines are named 'namespace'; did you mean 'namespaces'?",
      'it is one of "namespaces", "systemd"' },
    stat = { {}, "the emulator has no verb 'stat'; did you mean 'start'?", '"reset", "serve", "start", "status", "stop"' },
  } do
    local call = given[1]
    call.verb, call.dir = verb, t.tmp()
    local err = t.fails(given[2], emulator.run, call)
    t.eq(err.code, "usage")
    t.has(err.hint, given[3])
  end
end)

test.done()
