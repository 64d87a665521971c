-- vmrun lua play.lua RECORDING RECIPE FOLDER: a server that answers as a recorded story does, against which a recipe is applied, planned
-- again and destroyed. What the runs said is in FOLDER; prints `apply CODE`, `plan CODE`, `destroy CODE`, and at the end `left ID` for
-- what was not deleted, `refused METHOD PATH` for a write that the story does not have and `unasked METHOD PATH` for one whose operation
-- nobody asked for.
--
-- A write is answered by the next recorded one of its method and path. A GET is answered by those recorded after the write that its path
-- saw last, the last of them again and again; else by what was last shown for that id; else it is not there. A polling URL remembers
-- whose it is, since all have the same id in the recordings.
local crypto, fs, json, process, server = require "crypto", require "fs", require "json", require "process", require "server"

local SUBSCRIPTION, TENANT = "00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111"
local WRITES = { PUT = true, PATCH = true, POST = true, DELETE = true }
local POLLED = { ["azure-asyncoperation"] = true, ["location"] = true }

local story = assert(json.decode(assert(fs.read(arg[1]))))
local recipe, folder = arg[2], arg[3]
assert(fs.mkdir(folder))

local function fold(path) return (path:gsub("%?.*", ""):gsub("/+$", ""):lower()) end

local played, at, written, live, shown, refused, unasked = {}, {}, {}, {}, {}, {}, {}
local base

-- Whether an id is there, or stands below one that is; a group holds nothing alive by itself.
local function is_there(id)
  while id do
    if live[id] then return true end
    id = id:match "^(.*/providers/.+)/[^/]+/[^/]+$"
  end
  return false
end

local function show(value)
  if type(value) ~= "table" then return end
  for _, part in pairs(value) do show(part) end
  if type(value.id) == "string" and (value.properties or value.location) then shown[fold(value.id)] = value end
end

local function forget(path)
  for _, kept in ipairs { shown, live, written } do
    for id in pairs(kept) do
      if id == path or id:sub(1, #path + 1) == path .. "/" then kept[id] = nil end
    end
  end
end

local function failure(status, code, message)
  return { status = status, headers = { ["Content-Type"] = "application/json" },
    body = json.encode { error = { code = code, message = message } } }
end

-- A recorded answer; `index` says whose polling URLs it gives.
local function answer(exchange, index, body)
  local headers = { ["Content-Type"] = "application/json", ["retry-after-ms"] = "1" }
  for name, value in pairs(exchange.headers) do
    if POLLED[name:lower()] then
      if exchange.method ~= "GET" and (exchange.status == 202 or name:lower() ~= "location") then
        unasked[index] = exchange.method .. " " .. exchange.path
      end
      value = value:gsub("^https://[^/]+", base)
      value = value .. (value:find("?", 1, true) and "&" or "?") .. "play=" .. index
    end
    headers[name] = value
  end
  body = body or exchange.response
  return { status = exchange.status, headers = headers, body = body and body ~= json.null and json.encode(body) or "" }
end

local function is_good(exchange) return exchange.status < 400 and not exchange.request_headers end

-- What a write shows: its answer, or where that is empty what was asked for.
local function accepted(exchange)
  if exchange.response and exchange.response ~= json.null then return exchange.response end
  local id = exchange.path:gsub("%?.*", "")
  local body = { id = id, name = id:match "[^/]+$" }
  for key, value in pairs(exchange.request) do body[key] = value end
  return body
end

local function write(method, path, target)
  for i, exchange in ipairs(story) do
    if not played[i] and exchange.method == method and fold(exchange.path) == path and is_good(exchange) then
      played[i] = true
      if method == "DELETE" then
        forget(path)
      elseif method ~= "POST" then
        live[path], written[path] = true, i
        show(accepted(exchange))
      end
      return answer(exchange, i)
    end
  end
  refused[#refused + 1] = method .. " " .. target
  return failure(405, "NotRecorded", "the story has no such write")
end

-- The next of a list of recorded exchanges; the last one stays.
local function next_of(key, list)
  at[key] = math.min((at[key] or 0) + 1, #list)
  return list[at[key]]
end

-- The reads of a path between two positions of the story, up to a write that ends them.
local function reads(path, first, ends)
  local list = {}
  for i = first + 1, #story do
    local exchange = story[i]
    if WRITES[exchange.method] and ends(exchange) then break end
    if exchange.method == "GET" and fold(exchange.path) == path then list[#list + 1] = exchange end
  end
  return list
end

local function poll(path, index)
  unasked[index] = nil
  local list = reads(path, index, function() return true end)
  local exchange = next_of("poll " .. index, list)
  if not exchange then return { status = 200, body = '{"status": "Succeeded"}' } end -- the recorded client did not ask
  return answer(exchange, index)
end

local function listed(items)
  local kept = json.array {}
  for _, item in ipairs(items) do kept[#kept + 1] = is_there(fold(item.id)) and item or nil end
  return { value = kept }
end

local function group_resources(path)
  local items = {}
  for id, body in pairs(shown) do
    if live[id] and id:find(path .. "/providers/", 1, true) == 1 then items[#items + 1] = body end
  end
  return { status = 200, body = json.encode(listed(items)) }
end

local function get(path, query)
  if query.play then return poll(path, math.tointeger(query.play)) end
  local index = written[path]
  if index then
    local list = reads(path, index, function(exchange) return fold(exchange.path) == path and is_good(exchange) end)
    local exchange = next_of("read " .. index, list)
    if exchange then
      show(exchange.response)
      return answer(exchange, index)
    end
  end
  local group = path:match "^(.*/resourcegroups/[^/]+)/resources$"
  if group and live[group] then return group_resources(group) end
  if shown[path] then return { status = 200, headers = { ["Content-Type"] = "application/json" }, body = json.encode(shown[path]) } end
  for i, exchange in ipairs(story) do
    local value = exchange.method == "GET" and exchange.status == 200 and fold(exchange.path) == path and exchange.response.value
    if value then return answer(exchange, i, listed(value)) end
  end
  return failure(404, "ResourceNotFound", "The Resource '" .. path .. "' was not found.")
end

local function token()
  local function part(value) return crypto.base64url(json.encode(value)) end
  local text = ("%s.%s.c2ln"):format(part { alg = "RS256", typ = "JWT" }, part { oid = SUBSCRIPTION, tid = TENANT, idtyp = "app" })
  return { status = 200, body = json.encode { token_type = "Bearer", expires_in = 3600, access_token = text } }
end

local function described()
  return { status = 200, body = json.encode { resourceManager = base, suffixes = { keyVaultDns = ".vault.azure.net" },
    authentication = { loginEndpoint = base, audiences = json.array { base } } } }
end

local function handler(req)
  if req.path == "/metadata/endpoints" then return described() end
  if req.path == "/" .. TENANT .. "/oauth2/v2.0/token" then return token() end
  if not (req.headers.authorization or ""):find "^Bearer .+%..+%." then return failure(401, "AuthenticationFailed", "no token") end
  if req.method == "GET" then return get(fold(req.path), req.query) end
  return write(req.method, fold(req.path), req.path)
end

local ca = crypto.x509_ca { cn = "playback" }
local listener = assert(server.listen { handler = handler,
  tls = crypto.x509_issue { ca = ca, cn = "localhost", dns = { "localhost" }, ip = { "127.0.0.1" }, usage = { "server" } } })
base = "https://127.0.0.1:" .. listener:port()
assert(fs.write(folder .. "/ca.pem", ca.cert))

local function run(verb, ...)
  local result = assert(process.run { argv = { process.self(), verb, recipe, "--state-dir", folder .. "/state", ... }, stdin = "",
    timeout = 60, env = { AZURE_CLOUD = base, SSL_CERT_FILE = folder .. "/ca.pem", AZURE_TENANT_ID = TENANT, AZURE_CLIENT_ID = SUBSCRIPTION,
      AZURE_CLIENT_SECRET = "of the recording", AZURE_CLIENT_CERTIFICATE_PATH = false, AZURE_AUTHORITY_HOST = false } })
  assert(fs.write(folder .. "/" .. verb, result.stdout .. result.stderr))
  print(verb .. " " .. tostring(result.code or result.signal))
end

run("apply", "--subscription", SUBSCRIPTION, "--yes")
run("plan", "--detailed-exitcode")
run("destroy", "--yes=" .. recipe:match "([^/]+)%.lua$")
for id in pairs(live) do print("left " .. id) end
for _, what in ipairs(refused) do print("refused " .. what) end
for _, what in pairs(unasked) do print("unasked " .. what) end
listener:close(0)
