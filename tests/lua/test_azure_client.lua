local test = require "tap"
local fs, json, server, task = require "fs", require "json", require "server", require "task"
local arm = require "azure.arm"

--- A cloud that answers from a script: `answers["GET /path"]` is a list of {status, body, headers}, the last one again and again.
local function cloud(t, answers)
  local asked, tokens = {}, 0
  local listener = assert(server.listen { host = "127.0.0.1", port = 0, handler = function(req)
    if req.path:find("/oauth2/v2.0/token$") then
      tokens = tokens + 1
      return { status = 200, body = json.encode { access_token = "t" .. tokens, expires_in = 3600 } }
    end
    local key = req.method .. " " .. req.path
    asked[#asked + 1] = { key = key, headers = req.headers, body = req.body, query = req.query }
    local list = answers[key] or { { 404, { error = { code = "ResourceNotFound", message = "no " .. key } } } }
    local answer = #list > 1 and table.remove(list, 1) or list[1]
    return { status = answer[1], body = answer[2] and json.encode(answer[2]) or "", headers = answer[3] or {} }
  end })
  t.after(function() listener:close() end)
  local dir = t.tmp()
  local origin = "http://127.0.0.1:" .. listener:port()
  fs.write(dir .. "/endpoint.json", json.encode { arm = origin, entra = origin, subscription = "s", tenant = "t", client_id = "c",
    client_secret = "x", vault_suffix = "v", imds = origin })
  local client = arm.open { kind = "emulator", emulator_dir = dir }
  local function keys()
    local list = {}
    for i, request in ipairs(asked) do list[i] = request.key end
    return list
  end
  return client, keys, asked, origin, function() return tokens end
end

local SOON = { ["retry-after-ms"] = "1" }
local function problem(code, message, details) return { error = { code = code, message = message or "m", details = details } } end

test("one token serves all, and a refused one is asked for again once", function(t)
  local client, keys, asked, _, tokens = cloud(t, { ["GET /a"] = { { 401, problem "ExpiredAuthenticationToken" }, { 200, { id = "a" } } } })
  local jobs = {}
  for i = 1, 5 do jobs[i] = task.spawn(client.token, client, client.cloud.audience) end
  for i = 1, 5 do t.eq(select(2, jobs[i]:join()), "t1") end
  t.eq(client:get("/a", "1").id, "a")
  t.eq({ tokens(), asked[2].headers.authorization }, { 2, "Bearer t2" })
  t.eq(#keys(), 2)
  t.eq({ asked[1].query["api-version"], asked[1].headers["x-ms-correlation-request-id"] }, { "1", client.correlation })
end)

test("what passes is tried again, what does not is an error with its cause", function(t)
  local client, keys = cloud(t, {
    ["PUT /a"] = { { 429, problem "TooManyRequests", SOON }, { 409, problem "AnotherOperationInProgress", SOON },
      { 503, nil, SOON }, { 200, { id = "a", etag = "e" } } },
    ["PUT /b"] = { { 409, problem("QuotaExceeded", "no cores", { { code = "Cores", message = "10 of 10 in use" } }), { ["x-ms-request-id"] = "r1" } } },
  })
  t.eq(client:put("/a", "1", {}).etag, "e")
  t.eq(#keys(), 4)
  local err = t.fails("QuotaExceeded: no cores (Cores: 10 of 10 in use) (request r1)", client.put, client, "/b", "1", {})
  t.eq({ err.code, err.hint }, { "QuotaExceeded", "ask for more quota, or choose another size or region" })
  t.eq(#keys(), 5, "not tried again")
end)

test("requests keep to what ARM says is left, each kind for itself", function(t)
  local left = { ["x-ms-ratelimit-remaining-subscription-writes"] = "0", ["x-ms-ratelimit-remaining-subscription-reads"] = "249" }
  local client, keys = cloud(t, { ["PUT /a"] = { { 200, { id = "a" }, left } }, ["GET /a"] = { { 200, { id = "a" }, left } } })
  t.eq(client.pace:before("PUT"), false, "nothing is known yet")
  client.pace:after("PUT", nil)
  client:put("/a", "1", {})
  local writes = client.pace.buckets.writes
  t.ok(writes.tokens < 1, "the answer took the last")
  t.ok(client.pace:before("PATCH"), "the next write waits for one")
  client.pace:after("PATCH", nil)
  t.eq(client:get("/a", "1").id, "a")
  t.ok(not client.pace:before("GET") and client.pace.buckets.reads.tokens > 200, "reads do not")
  local jobs = {}
  for i = 1, 3 do jobs[i] = task.spawn(function() client:put("/a", "1", {}) end) end
  for i = 1, 3 do t.ok(jobs[i]:join()) end
  t.eq({ writes.busy, #keys() }, { 0, 5 })
end)

test("absent is nil, a wrong subscription is an error, a missing page is an empty list", function(t)
  local client = cloud(t, { ["GET /s"] = { { 404, problem("SubscriptionNotFound", "no such subscription") } } })
  t.eq(client:get("/none", "1"), nil)
  t.fails("no such subscription", client.get, client, "/s", "1")
  t.eq(client:list("/none", "1"), {})
end)

test("pages are followed to their end", function(t)
  local answers = {}
  local client, keys, _, origin = cloud(t, answers)
  answers["GET /list"] = { { 200, { value = { { n = 1 } }, nextLink = origin .. "/more?x=1" } } }
  answers["GET /more"] = { { 200, { value = json.array {}, nextLink = origin .. "/last" } } }
  answers["GET /last"] = { { 200, { value = { { n = 2 } } } } }
  t.eq(#client:list("/list", "1"), 2)
  t.eq(keys(), { "GET /list", "GET /more", "GET /last" })
end)

test("operations: by status, by Location, by the resource itself, refused, failed", function(t)
  local answers = {}
  local client, keys, _, origin = cloud(t, answers)
  answers["PUT /a"] = { { 201, { id = "a" }, { ["Azure-AsyncOperation"] = origin .. "/op", ["retry-after-ms"] = "1" } } }
  answers["GET /op"] = { { 404, nil, SOON }, { 200, { status = "InProgress:Something" }, SOON }, { 200, { status = "Succeeded" } } }
  answers["GET /a"] = { { 200, { id = "a", done = true } } }
  t.eq(client:put("/a", "1", {}).done, true)
  answers["DELETE /b"] = { { 202, nil, { Location = origin .. "/gone", ["retry-after-ms"] = "1" } } }
  answers["GET /gone"] = { { 202, nil, SOON }, { 204 } }
  client:delete("/b", "1")
  answers["PUT /c"] = { { 200, { properties = { provisioningState = "Creating" } }, SOON } }
  answers["GET /c"] = { { 200, { properties = { provisioningState = "Creating" } }, SOON }, { 200, { properties = { provisioningState = "Succeeded" }, n = 3 } } }
  t.eq(client:put("/c", "1", {}).n, 3)
  answers["PUT /d"] = { { 201, {}, { ["Azure-AsyncOperation"] = origin .. "/bad", ["retry-after-ms"] = "1" } } }
  answers["GET /bad"] = { { 200, { status = "Failed", error = { code = "AllocationFailed", message = "no room" } } } }
  t.eq(t.fails("AllocationFailed: no room", client.put, client, "/d", "1", {}).hint, "choose another size or zone, or try again later")
  -- A Location beside 201 is where the new thing is, no operation.
  answers["PUT /e"] = { { 201, { n = 5 }, { Location = "/e" } } }
  t.eq(client:put("/e", "1", {}).n, 5)
  answers["POST /f/run"] = { { 202, nil, { ["Azure-AsyncOperation"] = origin .. "/run", Location = origin .. "/result", ["retry-after-ms"] = "1" } } }
  answers["GET /run"] = { { 200, { status = "Succeeded" } } }
  answers["GET /result"] = { { 200, { value = "said" } } }
  t.eq(client:post("/f", "run", "1").value, "said")
  answers["GET /run"] = { { 200, { status = "Succeeded", properties = { output = { value = "here" } } } } }
  t.eq(client:post("/f", "run", "1").value, "here")
  t.ok(#keys() > 15)
end)

test("deletes wait for what still holds a thing; writes of one parent queue", function(t)
  local answers = {}
  local client, keys = cloud(t, answers)
  answers["DELETE /n"] = { { 400, problem "InUseSubnetCannotBeDeleted" }, { 200 } }
  client:delete("/n", "1")
  t.eq(#keys(), 2)
  t.fails("InUse", client.delete, cloud(t, { ["DELETE /n"] = { { 400, problem "InUseSubnetCannotBeDeleted" } } }), "/n", "1", { patience = 0 })
  local order = {}
  local function write(name)
    order[#order + 1] = "begin " .. name
    task.sleep(0.01)
    order[#order + 1] = "end " .. name
  end
  local a, b = task.spawn(client.serial, client, "/VNET", write, "a"), task.spawn(client.serial, client, "/vnet", write, "b")
  a:join()
  b:join()
  t.eq(order, { "begin a", "end a", "begin b", "end b" })
end)

test("a write says what it saw; a reading waits for what is under way", function(t)
  local client, keys, asked = cloud(t, { ["PUT /a"] = { { 412, problem "PreconditionFailed" } },
    ["GET /b"] = { { 200, { properties = { provisioningState = "Updating" } }, SOON }, { 200, { properties = { provisioningState = "Succeeded" } } } } })
  t.eq(t.fails("PreconditionFailed", client.put, client, "/a", "1", {}, { etag = 'W/"x"' }).code, "PreconditionFailed")
  t.eq(asked[1].headers["if-match"], 'W/"x"')
  t.eq(client:settled("/b", "1").properties.provisioningState, "Succeeded")
  t.eq(#keys(), 3)
end)


test("reads of one collection that are wanted at once are one request; who is alone, absent or refused is asked for by name", function(t)
  local answers = {}
  local client, keys = cloud(t, answers)
  local base = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses"
  local function item(name) return { id = base .. "/" .. name, properties = { provisioningState = "Succeeded" } } end
  answers["GET " .. base] = { { 200, { value = { item "a", item "B" } } } }
  answers["GET " .. base .. "/a"], answers["GET " .. base .. "/b"] = { { 200, item "a" } }, { { 200, item "b" } }
  local function all(names)
    local before, jobs, found = #keys(), {}, {}
    for i, name in ipairs(names) do jobs[i] = task.spawn(client.settled, client, base .. "/" .. name, "1") end
    for i in ipairs(names) do
      local body = select(2, jobs[i]:join())
      found[i] = body and body.id:match("[^/]+$") or "none"
    end
    return found, #keys() - before
  end
  t.eq({ all { "a", "b" } }, { { "a", "B" }, 1 })
  t.eq({ all { "a" } }, { { "a" }, 1 })
  -- The absent one is asked for twice more: a parent that is not there is another answer.
  t.eq((all { "a", "none" }), { "a", "none" })
  answers["GET " .. base] = { { 403, problem "AuthorizationFailed" } }
  t.eq({ all { "a", "b" } }, { { "a", "b" }, 3 })
  -- Who leads a batch and is cancelled keeps nobody waiting.
  local first = task.spawn(client.settled, client, base .. "/a", "1")
  local second = task.spawn(client.settled, client, base .. "/b", "1")
  first:cancel()
  t.eq(select(2, second:join()).id, base .. "/b")
end)

test("a list that is looked through is asked for once, and tells of each resource once", function(t)
  local answers = {}
  local client, keys = cloud(t, answers)
  local base = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets"
  local function item(name, from) return { id = base .. "/" .. name, from = from, properties = { provisioningState = "Succeeded" } } end
  answers["GET " .. base] = { { 200, { value = { item("a", "list"), item("B", "list") } } } }
  answers["GET " .. base .. "/a"] = { { 200, item("a", "name") } }
  local function look(name) return client:settled(base .. "/" .. name, "1", { list = base }) end
  t.eq({ look("a").from, #keys() }, { "list", 1 })
  task.sleep(0.01)
  t.eq({ look("b").from, #keys() }, { "list", 1 }, "one that is wanted later")
  t.eq({ look("a").from, #keys() }, { "name", 2 }, "who looks again sees what is there by then")
  t.eq(look("none"), nil)
  t.eq(client:settled(base .. "/a", "1", {}).from, "name", "who does not look there")
  answers["GET /refused"] = { { 403, problem "AuthorizationFailed" } }
  t.eq(client:settled(base .. "/a", "1", { list = "/refused" }).from, "name", "a list that is refused")
end)

test("machines of a set are listed once, or twice where the status comes without the models", function(t)
  local set, list = "/r/g/providers/Microsoft.Compute/virtualMachineScaleSets/s", "GET /r/g/providers/Microsoft.Compute/virtualMachines"
  local function vm(name, model, view)
    return { id = name, name = name, properties = { networkProfile = model and {}, instanceView = view and { of = name } } }
  end
  local both, models, views = { vm("A", true, true) }, { vm("a", true), vm("new", true) }, { vm("A", false, true), vm("gone", false, true) }
  for answers, wanted in pairs { [{ both }] = { "A:A", 1 }, [{ views, models }] = { "a:A new:", 2 }, [{ {} }] = { "", 1 } } do
    local script = {}
    for i, items in ipairs(answers) do script[i] = { 200, { value = json.array(items) } } end
    local client, keys, asked = cloud(t, { [list] = script })
    local shown = {}
    for i, item in ipairs(require("azure.set_machines").list(client, set)) do
      shown[i] = item.name .. ":" .. (item.properties.instanceView or { of = "" }).of
    end
    t.eq({ table.concat(shown, " "), #keys() }, wanted)
    t.eq({ asked[1].query["$filter"], asked[1].query["$expand"] }, { "'virtualMachineScaleSet/id' eq '" .. set .. "'", "instanceView" })
  end
end)

test("a vault's list is followed to its end", function(t)
  local client, keys, asked, origin = cloud(t, { ["GET /secrets"] = {
    { 200, { value = { { id = "a" } }, nextLink = "https://v.example/secrets?api-version=7.4&$skiptoken=x&maxresults=25" } },
    { 200, { value = { { id = "b" } }, nextLink = json.null } } } })
  t.eq(client:secrets(origin .. "/"), { { id = "a" }, { id = "b" } })
  t.eq(keys(), { "GET /secrets", "GET /secrets" })
  t.eq({ asked[1].query, asked[2].query }, { { ["api-version"] = "7.4" },
    { ["api-version"] = "7.4", ["$skiptoken"] = "x", maxresults = "25" } })
end)

test("a vault that does not list its secrets is asked for each", function(t)
  local kept = require "azure.kept_secret"
  local client, keys, _, origin = cloud(t, { ["GET /secrets"] = { { 403, problem "Forbidden" } } })
  local known = { updated = 7 }
  local function look(name)
    return task.spawn(kept.unchanged, { prior = { outputs = known } }, client, origin, name)
  end
  local a, b = look "a", look "b"
  t.eq({ select(2, a:join()), select(2, b:join()), #keys() }, { nil, nil, 1 })
end)

test("a secret counts as it was by its time, unless it is switched off, gone or needed", function(t)
  local kept = require "azure.kept_secret"
  local function unchanged(ctx, attributes, ...)
    local client, keys, _, origin = cloud(t, {})
    local items = {}
    for name, a in pairs(attributes) do items[#items + 1] = { id = origin .. "/secrets/" .. name, attributes = a } end
    client.secrets = function() return items end
    local other = task.spawn(kept.unchanged, { prior = { outputs = { updated = 1 } } }, client, origin, "other")
    local found = kept.unchanged(ctx, client, origin .. "/", ...)
    other:join()
    return found ~= nil, #keys()
  end
  local ctx = { prior = { outputs = { updated = 7 } } }
  t.ok(unchanged(ctx, { a = { updated = 7 } }, "a"))
  t.ok(unchanged(ctx, { a = { updated = 3 }, B = { updated = 7, enabled = true } }, "a", "b"))
  t.ok(not unchanged(ctx, { a = { updated = 8 }, b = { updated = 7 } }, "a", "b"))
  t.ok(not unchanged(ctx, { a = { updated = 7, enabled = false } }, "a"))
  t.ok(not unchanged(ctx, { b = { updated = 7 } }, "a"))
  t.ok(not unchanged({ secrets = true, prior = ctx.prior }, { a = { updated = 7 } }, "a"))
  t.ok(not unchanged({ prior = { outputs = {} } }, { a = { updated = 7 } }, "a"), "a state of before")
  t.ok(not unchanged({}, { a = { updated = 7 } }, "a"))
end)

test("a secret that went since the plan looked is an error with a way on", function(t)
  local kept = require "azure.kept_secret"
  t.eq(kept.present({ value = "v" }, "/x").value, "v")
  t.eq(t.fails("/x is not in its vault any more", kept.present, nil, "/x").hint, "plan again: it is made anew then")
end)

test("a provider that is missing is registered once, and the write goes on", function(t)
  local client, keys = cloud(t, {
    ["PUT /subscriptions/s/providers/Microsoft.X/a"] = { { 409, problem "MissingSubscriptionRegistration", SOON }, { 200, { id = "a" } } },
    ["POST /subscriptions/s/providers/Microsoft.X/register"] = { { 200, { registrationState = "Registering" }, SOON } },
    ["GET /subscriptions/s/providers/Microsoft.X"] = { { 200, { registrationState = "Registering" }, SOON }, { 200, { registrationState = "Registered" } } },
  })
  t.eq(client:put("/subscriptions/s/providers/Microsoft.X/a", "1", {}).id, "a")
  t.eq(#keys(), 5)
end)

test("two that need a provider at once wait for one registration", function(t)
  local missing = { 409, problem "MissingSubscriptionRegistration", SOON }
  local client, keys = cloud(t, {
    ["PUT /subscriptions/s/providers/Microsoft.X/a"] = { missing, { 200, { id = "a" } } },
    ["PUT /subscriptions/s/providers/Microsoft.X/b"] = { missing, { 200, { id = "b" } } },
    ["POST /subscriptions/s/providers/Microsoft.X/register"] = { { 200, { registrationState = "Registering" }, SOON } },
    ["GET /subscriptions/s/providers/Microsoft.X"] = { { 200, { registrationState = "Registered" } } },
  })
  local a = task.spawn(client.put, client, "/subscriptions/s/providers/Microsoft.X/a", "1", {})
  local b = task.spawn(client.put, client, "/subscriptions/s/providers/Microsoft.X/b", "1", {})
  t.eq({ select(2, a:join()).id, select(2, b:join()).id }, { "a", "b" })
  local count = 0
  for _, key in ipairs(keys()) do count = count + (key:find("/register$") and 1 or 0) end
  t.eq(count, 1)
end)

test.done()
