--- Sends what a client sent to a real API server to the emulator's, in order, and compares the answers: the status, and of a
-- JSON body which keys there are and of what type. Ids that the recorded client had read are replaced by those that we read at
-- the same place.
local fs = require "fs"
local http = require "http"
local json = require "json"
local normal = require "normal"

local exchanges = {}

local function kind(v)
  if v == json.null then return "null" end
  if type(v) == "table" then return json.is_array(v) and "array" or "object" end
  return type(v)
end

-- Every path of a value with its type; what is in a list has one path, `[]`.
local function shape(v, path, out)
  local is = kind(v)
  out[path] = out[path] or {}
  out[path][is] = true
  if is == "object" then
    for k, x in pairs(v) do shape(x, path .. "." .. k:gsub(normal.UUID, "<uid>"), out) end
  elseif is == "array" then
    if #v > 0 then out[path].filled = true end
    for _, x in ipairs(v) do shape(x, path .. "[]", out) end
  end
  return out
end

-- Nothing can be said about the elements of a list that is empty on one side, or about what is below a path that is missing.
local function known(path, shapes)
  local at = path
  while true do
    local list = at:match "^(.*)%[%][^%[]*$"
    if not list then break end
    if shapes[list] and shapes[list].array and not shapes[list].filled then return false end
    at = list
  end
  local above = path:match "^(.+)%.[^.]*$" or path:match "^(.+)%[%]$"
  return not above or shapes[above] ~= nil
end

local function compare(theirs, ours)
  local out, a, b = {}, shape(theirs, "", {}), shape(ours, "", {})
  local function missing(from, other, sign)
    for path, types in pairs(from) do
      for is in pairs(types) do
        if is ~= "filled" and not (other[path] and other[path][is]) and known(path, other) then out[#out + 1] = sign .. path .. " " .. is end
      end
    end
  end
  missing(a, b, "-")
  missing(b, a, "+")
  table.sort(out)
  return out
end

-- What a client may send back: uids and names as they stand, versions by their field.
local function learn(map, theirs, ours)
  if kind(theirs) ~= kind(ours) or type(theirs) ~= "table" then return end
  for k, v in pairs(theirs) do
    local o = ours[k]
    if type(v) == "string" and type(o) == "string" and v ~= o then
      if k == "uid" or k == "name" and normal.random(v) then map.text[v] = o end
      if k == "resourceVersion" then map.version[v] = o end
    else
      learn(map, v, o)
    end
  end
end

local function plain(text) return (text:gsub("%p", "%%%0")) end

-- The longest first: the name of a pod begins with that of its ReplicaSet.
local function translated(map, text)
  local names = {}
  for theirs in pairs(map.text) do names[#names + 1] = theirs end
  table.sort(names, function(a, b) return #a > #b end)
  for _, theirs in ipairs(names) do text = text:gsub(plain(theirs), function() return map.text[theirs] end) end
  return text
end

local function with_versions(map, text)
  return (translated(map, text):gsub('("resourceVersion":%s*")(%d+)"', function(head, v) return head .. (map.version[v] or v) .. '"' end)
    :gsub('("path":%s*"/metadata/resourceVersion",%s*"value":%s*")(%d+)"', function(head, v) return head .. (map.version[v] or v) .. '"' end))
end

local function body_of(map, request)
  if request == nil then return nil end
  return with_versions(map, type(request) == "string" and request or json.encode(request))
end

local function binary(v) return type(v) == "string" and v:match "^<%d+ bytes" ~= nil end

-- A watch is read for as long as something comes at once.
local function watch(options)
  local r, why = http.open(options)
  if not r then return nil, why end
  local parts = {}
  repeat
    local chunk = r:read(0.2)
    parts[#parts + 1] = chunk
  until not chunk
  r:close()
  local events = json.array {}
  for line in table.concat(parts):gmatch "[^\n]+" do events[#events + 1] = json.decode(line) end
  return { status = r.status, events = events }
end

local function send(world, map, e, request)
  local path = translated(map, e.path):gsub("resourceVersion=(%d+)", function(v) return "resourceVersion=" .. (map.version[v] or v) end)
  local headers = { Accept = e.request_headers.accept, Authorization = "Bearer " .. (e.status == 401 and "wrong" or world.token),
    ["Content-Type"] = binary(e.request) and "application/json" or e.request_headers["content-type"] }
  local options = { method = e.method, url = world.url .. path, ca = world.ca, timeout = 20, proxy = "", user_agent = "kubectl",
    body = body_of(map, request), headers = headers }
  if kind(e.response) == "array" and e.path:find "watch=true" then return watch(options) end
  if e.status == 304 then options.headers["If-None-Match"] = map.etag[e.path] end
  return http.request(options)
end

-- Of a request that a client repeats until the answer changes only the last one is asked for.
local function polled(list, i)
  for j = i + 1, #list do
    if list[j].method == list[i].method and list[j].path == list[i].path and list[j].status ~= list[i].status then return true end
  end
  return false
end

local function load(folder, name) return assert(json.decode(assert(fs.read(folder .. "/" .. name)))) end

-- A body that was kept only as its size: another client sent the same thing as JSON.
local function body_elsewhere(folder, name, e, namespace)
  for _, other in ipairs(assert(fs.list(folder))) do
    if other:match "^[%d.]+(%-.*)" == name:match "^[%d.]+(%-.*)" then
      for _, x in ipairs(load(folder, other).exchanges) do
        if x.method == e.method and x.request and not binary(x.request) then
          local text = type(x.request) == "string" and x.request or json.encode(x.request)
          return (text:gsub("app%-%d+", namespace))
        end
      end
    end
  end
  error(name .. ": nobody's body is known", 0)
end

--- Replays all of a client. names: the files of its commands in order; counts: {sent, agreed, excused, binary, polled}, added to.
-- excuse(line) -> is this difference known? Calls told(name, differences) for each command.
function exchanges.replay(world, folder, names, namespace, counts, excuse, told)
  local map = { text = {}, version = {}, etag = {} }
  for _, name in ipairs(names) do
    local recorded = load(folder, name)
    local differences = {}
    world:tick()
    for j, e in ipairs(recorded.exchanges) do
      local request = e.request
      if binary(request) then request = body_elsewhere(folder, name, e, namespace) end
      if polled(recorded.exchanges, j) then counts.polled = counts.polled + 1 else
        local answer, why = send(world, map, e, request)
        counts.sent = counts.sent + 1
        local found = {}
        if not answer then found[1] = "no answer: " .. why else
          map.etag[e.path] = answer.headers and answer.headers.etag or map.etag[e.path]
          if answer.status ~= e.status then found[1] = ("status %d, not %d"):format(answer.status, e.status) end
          if e.response == nil or binary(e.response) then
            counts.binary = counts.binary + 1
          elseif #found == 0 then
            local ours = answer.events or json.decode(answer.body) or answer.body
            learn(map, e.response, ours)
            found = compare(e.response, ours)
          end
        end
        local left = {}
        for _, f in ipairs(found) do
          local line = ("%s %s %s: %s"):format(name:match "^[%d.]+%-%d+%-(.-)%.json$", e.method, e.path:match "^[^?]*", f)
          if not excuse(line) then left[#left + 1] = line end
        end
        if #found == 0 then counts.agreed = counts.agreed + 1 elseif #left == 0 then counts.excused = counts.excused + 1 end
        table.move(left, 1, #left, #differences + 1, differences)
        if e.method ~= "GET" then world:settle() end
      end
    end
    told(name, differences)
  end
  return counts
end

return exchanges
