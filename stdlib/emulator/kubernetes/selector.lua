--- Label and field selectors: texts of queries and objects of specs, compiled to functions.
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"

local selector = {}

local function matcher(key, op, values)
  local set = {}
  for _, v in ipairs(values or {}) do set[v] = true end
  if op == "Exists" then return function(labels) return labels[key] ~= nil end end
  if op == "DoesNotExist" then return function(labels) return labels[key] == nil end end
  if op == "In" then return function(labels) return labels[key] ~= nil and set[labels[key]] == true end end
  if op == "NotIn" then return function(labels) return labels[key] == nil or not set[labels[key]] end end
  local bound = tonumber(values and values[1])
  return function(labels)
    local n = tonumber(labels[key])
    if not n or not bound then return false end
    if op == "Gt" then return n > bound end
    return n < bound
  end
end

local function all(tests)
  if #tests == 0 then return function() return true end end
  return function(labels)
    for _, test in ipairs(tests) do
      if not test(labels or {}) then return false end
    end
    return true
  end
end

--- A LabelSelector object as a function of labels. An absent selector matches nothing, an empty one everything.
function selector.object(spec)
  if not spec then return function() return false end end
  local tests = {}
  for k, v in pairs(spec.matchLabels or {}) do tests[#tests + 1] = matcher(k, "In", { v }) end
  for _, e in ipairs(spec.matchExpressions or {}) do tests[#tests + 1] = matcher(e.key, e.operator, e.values) end
  return all(tests)
end

--- A plain map of labels as a function of labels; an empty or absent one matches nothing.
function selector.map(labels)
  if not labels or next(labels) == nil then return function() return false end end
  return selector.object { matchLabels = labels }
end

--- The expressions of a node selector term.
function selector.expressions(list)
  local tests = {}
  for _, e in ipairs(list or {}) do tests[#tests + 1] = matcher(e.key, e.operator, e.values) end
  return all(tests)
end

local function trim(s) return (s:gsub("^%s+", ""):gsub("%s+$", "")) end

local function requirement(text)
  local key, op, list = text:match("^(%S+)%s+(notin)%s*%((.*)%)$")
  if not key then key, op, list = text:match("^(%S+)%s+(in)%s*%((.*)%)$") end
  if key then
    local values = {}
    for v in (list .. ","):gmatch("([^,]*),") do values[#values + 1] = trim(v) end
    return matcher(key, op == "in" and "In" or "NotIn", values)
  end
  local a, b = text:match("^([^!=<>%s]+)%s*!=%s*(.*)$")
  if a then return matcher(a, "NotIn", { b }) end
  a, b = text:match("^([^!=<>%s]+)%s*==?%s*(.*)$")
  if a then return matcher(a, "In", { b }) end
  a, b = text:match("^([^!=<>%s]+)%s*([<>])%s*%d+$")
  if a then return matcher(a, b == ">" and "Gt" or "Lt", { text:match("(%d+)$") }) end
  a = text:match("^!%s*([%w%._/-]+)$")
  if a then return matcher(a, "DoesNotExist") end
  a = text:match("^([%w%._/-]+)$")
  if a then return matcher(a, "Exists") end
end

local function split(text)
  local out, depth, start = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c == "(" then depth = depth + 1 elseif c == ")" then depth = depth - 1 end
    if c == "," and depth == 0 then
      out[#out + 1] = text:sub(start, i - 1)
      start = i + 1
    end
  end
  out[#out + 1] = text:sub(start)
  return out
end

--- The text of `labelSelector=` as a function of labels.
function selector.labels(text)
  if not text or trim(text) == "" then return all {} end
  local tests = {}
  for _, part in ipairs(split(text)) do
    local test = requirement(trim(part))
    if not test then
      error(status.bad_request(("unable to parse requirement: found '%s', expected: identifier"):format(trim(part))), 0)
    end
    tests[#tests + 1] = test
  end
  return all(tests)
end

--- A LabelSelector object as the text of a query (the `selector` of a scale).
function selector.text(spec)
  local out = {}
  for _, k in ipairs(value.keys(spec and spec.matchLabels)) do out[#out + 1] = k .. "=" .. spec.matchLabels[k] end
  for _, e in ipairs(spec and spec.matchExpressions or {}) do
    if e.operator == "Exists" then out[#out + 1] = e.key
    elseif e.operator == "DoesNotExist" then out[#out + 1] = "!" .. e.key
    else out[#out + 1] = ("%s %s (%s)"):format(e.key, e.operator:lower(), table.concat(e.values or {}, ",")) end
  end
  return table.concat(out, ",")
end

local common = { ["metadata.name"] = true, ["metadata.namespace"] = true }
local by_kind = {
  pods = { "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.nominatedNodeName" },
  events = { "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent",
    "source", "type" },
  nodes = { "spec.unschedulable" },
  namespaces = { "status.phase" },
  secrets = { "type" },
  jobs = { "status.successful" },
  replicasets = { "status.replicas" },
  certificatesigningrequests = { "spec.signerName" },
}

local function field(object, path)
  if path == "source" then return value.get(object, "source", "component") or "" end
  local at = object
  for part in path:gmatch("[^.]+") do
    if type(at) ~= "table" then return "" end
    at = at[part]
  end
  if at == nil then return path == "spec.unschedulable" and "false" or "" end
  return tostring(at)
end

--- The text of `fieldSelector=` as a function of objects; also the name when it asks for one only.
function selector.fields(text, res)
  if not text or text == "" then return function() return true end end
  local tests, name = {}, nil
  for part in text:gmatch("[^,]+") do
    local path, op, wanted = part:match("^([^!=]+)([!=]=?)(.*)$")
    if not path then error(status.bad_request(("invalid selector: '%s'; can't understand '%s'"):format(text, part)), 0) end
    if not common[path] and not value.contains(by_kind[res.plural], path) then
      error(status.bad_request(('Unable to find "%s" that match label selector "", field selector "%s": field label not supported: %s')
        :format(res.group == "" and res.version .. ", Resource=" .. res.plural
          or res.group .. "/" .. res.version .. ", Resource=" .. res.plural, text, path)), 0)
    end
    local negate = op == "!="
    if path == "metadata.name" and not negate then name = wanted end
    tests[#tests + 1] = function(object) return (field(object, path) == wanted) ~= negate end
  end
  return function(object)
    for _, test in ipairs(tests) do
      if not test(object) then return false end
    end
    return true
  end, name
end

return selector
