--- OpenAPI documents of a cluster, made from the compiled types: version 2 as JSON and as the protobuf that kubectl asks
-- for, and version 3 by group.
local crypto = require "crypto"
local json = require "json"
local schema = require "emulator.kubernetes.schema"
local value = require "emulator.kubernetes.value"
local documentation = require "emulator.kubernetes.documentation"

local openapi = {}

local scalars = {
  string = { type = "string" }, integer = { type = "integer", format = "int64" }, number = { type = "number", format = "double" },
  boolean = { type = "boolean" }, quantity = { type = "string" }, ["int-or-string"] = { type = "string", format = "int-or-string" },
  time = { type = "string", format = "date-time" }, bytes = { type = "string", format = "byte" }, any = {},
}

local describe

local function definition_name(type_) return "io.k8s.api." .. type_.name end

--- A schema object of version 2 or 3 (prefix: where named types are found).
function describe(type_, prefix, quantities)
  local is = type_.is
  if is == "object" then
    if type_.name then return { ["$ref"] = prefix .. definition_name(type_) } end
    local out = { type = "object" }
    if #type_.order > 0 then
      out.properties = {}
      for _, name in ipairs(type_.order) do
        local js = describe(type_.fields[name], prefix, quantities)
        local d = value.get(type_.check, "properties", name, "description")
        if d and not js["$ref"] then js.description = d end
        out.properties[name] = js
      end
      if type_.fields.metadata == schema.named.ObjectMeta then
        for _, name in ipairs { "apiVersion", "kind", "metadata" } do
          out.properties[name] = describe(type_.fields[name], prefix, quantities)
        end
      end
    end
    if #type_.required > 0 then out.required = json.array(value.copy(type_.required)) end
    if type_.preserve then out["x-kubernetes-preserve-unknown-fields"] = true end
    return out
  elseif is == "map" then
    return { type = "object", additionalProperties = describe(type_.of, prefix, quantities) }
  elseif is == "list" then
    local out = { type = "array", items = describe(type_.of, prefix, quantities) }
    if type_.keys then
      out["x-kubernetes-list-type"], out["x-kubernetes-list-map-keys"] = "map", json.array(value.copy(type_.keys))
      out["x-kubernetes-patch-strategy"], out["x-kubernetes-patch-merge-key"] = "merge", type_.keys[1]
    elseif type_.set then
      out["x-kubernetes-list-type"], out["x-kubernetes-patch-strategy"] = "set", "merge"
    else
      out["x-kubernetes-list-type"] = "atomic"
    end
    return out
  end
  local out = value.copy(scalars[is])
  if is == "any" then out["x-kubernetes-preserve-unknown-fields"] = true end
  return out
end

local function named_schema(type_, prefix)
  local out = { type = "object", properties = {}, description = documentation.type(type_.name) }
  for _, name in ipairs(type_.order) do
    local js = describe(type_.fields[name], prefix)
    local text = documentation.field(type_.name, name)
    if js["$ref"] and text then js = { allOf = json.array { js }, description = text, ["$ref"] = js["$ref"] } end
    js.description = text
    out.properties[name] = js
  end
  if #type_.required > 0 then out.required = json.array(value.copy(type_.required)) end
  return out
end

local function gvk(res)
  return { group = res.group, kind = res.kind, version = res.version }
end

local function custom_name(res)
  local parts = {}
  for part in res.group:gmatch("[^.]+") do table.insert(parts, 1, part) end
  return table.concat(parts, ".") .. "." .. res.version .. "." .. res.kind
end

local function top_schema(res, prefix)
  local js
  if res.schema.name then js = named_schema(res.schema, prefix) else
    js = describe(res.schema, prefix)
    js.description = res.openapi and res.openapi.description
  end
  js["x-kubernetes-group-version-kind"] = json.array { gvk(res) }
  return js
end

local function definitions(resources, prefix)
  local out = {}
  for _, name in ipairs(value.keys(schema.named)) do
    out[definition_name(schema.named[name])] = named_schema(schema.named[name], prefix)
  end
  for _, res in ipairs(resources:each()) do
    for _, version in ipairs(value.find(resources.groups, "name", res.group).versions) do
      local r = resources:find(res.group, version, res.plural)
      if r and r.schema.name and r.version == res.version then
        out[definition_name(r.schema)] = top_schema(r, prefix)
      elseif r and not r.schema.name then
        out[custom_name(r)] = top_schema(r, prefix)
      end
    end
  end
  return out
end

local function base_path(res)
  local root = res.group == "" and "/api/" .. res.version or "/apis/" .. res.group .. "/" .. res.version
  return root .. (res.namespaced and "/namespaces/{namespace}/" or "/") .. res.plural
end

local function parameter(name, v3)
  local out = { name = name, ["in"] = "query", description = documentation.parameter(name) }
  if v3 then out.schema = { type = "string", uniqueItems = true } else out.type, out.uniqueItems = "string", true end
  return out
end

local function write_parameters(v3)
  return json.array { parameter("dryRun", v3), parameter("fieldManager", v3), parameter("fieldValidation", v3) }
end

local function operation(res, action, v3)
  local out = { ["x-kubernetes-action"] = action, ["x-kubernetes-group-version-kind"] = gvk(res),
    operationId = action .. res.version .. res.kind, responses = { ["200"] = { description = "OK" } } }
  if action ~= "get" and action ~= "list" then out.parameters = write_parameters(v3) end
  return out
end

local function paths(resources, only, v3)
  local out = {}
  for gv, list in pairs(resources.by_gv) do
    if not only or only == gv then
      for _, plural in ipairs(list.order) do
        local res = list.by_plural[plural]
        local base = base_path(res)
        local verbs = {}
        for _, v in ipairs(res.verbs) do verbs[v] = true end
        out[base] = { get = verbs.list and operation(res, "list", v3) or nil, post = verbs.create and operation(res, "post", v3) or nil }
        if verbs.get then
          out[base .. "/{name}"] = { get = operation(res, "get", v3), put = verbs.update and operation(res, "put", v3) or nil,
            patch = verbs.patch and operation(res, "patch", v3) or nil, delete = verbs.delete and operation(res, "delete", v3) or nil }
        end
      end
    end
  end
  return out
end

-- Protobuf: only what gnostic's OpenAPI v2 messages need.

local function varint(n)
  local out = {}
  repeat
    local byte = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n > 0 and byte | 0x80 or byte)
  until n == 0
  return table.concat(out)
end

local function bytes(number, text) return varint(number << 3 | 2) .. varint(#text) .. text end
local function maybe(number, text) return text and text ~= "" and bytes(number, text) or "" end

local function named_any(number, name, v)
  return bytes(number, bytes(1, name) .. bytes(2, bytes(2, json.encode(v, { sort = true }) .. "\n")))
end

local pb_schema

local extensions = { "x-kubernetes-group-version-kind", "x-kubernetes-list-map-keys", "x-kubernetes-list-type",
  "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-kubernetes-preserve-unknown-fields" }

local function pb_named(name, js) return bytes(1, name) .. bytes(2, pb_schema(js)) end

function pb_schema(js)
  local out = {}
  local function put(text) out[#out + 1] = text end
  put(maybe(1, js["$ref"]))
  put(maybe(2, js.format))
  put(maybe(4, js.description))
  if not js["$ref"] then
    for _, name in ipairs(js.required or {}) do put(bytes(19, name)) end
    if js.additionalProperties then put(bytes(21, bytes(1, pb_schema(js.additionalProperties)))) end
    if js.type then put(bytes(22, bytes(1, js.type))) end
    if js.items then put(bytes(23, bytes(1, pb_schema(js.items)))) end
    if js.properties then
      local list = {}
      for _, name in ipairs(value.keys(js.properties)) do list[#list + 1] = bytes(1, pb_named(name, js.properties[name])) end
      put(bytes(25, table.concat(list)))
    end
  end
  for _, name in ipairs(extensions) do
    if js[name] ~= nil then put(named_any(31, name, js[name])) end
  end
  return table.concat(out)
end

local function pb_parameter(p)
  local query = bytes(2, p["in"]) .. maybe(3, p.description) .. bytes(4, p.name) .. bytes(6, p.type)
  return bytes(8, bytes(1, bytes(2, bytes(3, query))))
end

local function pb_operation(op)
  local out = { maybe(5, op.operationId) }
  for _, p in ipairs(op.parameters or {}) do out[#out + 1] = pb_parameter(p) end
  out[#out + 1] = named_any(13, "x-kubernetes-action", op["x-kubernetes-action"])
  out[#out + 1] = named_any(13, "x-kubernetes-group-version-kind", op["x-kubernetes-group-version-kind"])
  return table.concat(out)
end

local operation_numbers = { get = 2, put = 3, post = 4, delete = 5, patch = 8 }

local function pb_document(doc)
  local path_list, definition_list = {}, {}
  for _, path in ipairs(value.keys(doc.paths)) do
    local item = {}
    for _, verb in ipairs(value.keys(doc.paths[path])) do
      item[#item + 1] = bytes(operation_numbers[verb], pb_operation(doc.paths[path][verb]))
    end
    path_list[#path_list + 1] = bytes(2, bytes(1, path) .. bytes(2, table.concat(item)))
  end
  for _, name in ipairs(value.keys(doc.definitions)) do
    definition_list[#definition_list + 1] = bytes(1, pb_named(name, doc.definitions[name]))
  end
  return bytes(1, doc.swagger) .. bytes(2, bytes(1, doc.info.title) .. bytes(2, doc.info.version))
    .. bytes(8, table.concat(path_list)) .. bytes(9, table.concat(definition_list))
end

local function v2(resources, version)
  return { swagger = "2.0", info = { title = "Kubernetes", version = version }, paths = paths(resources),
    definitions = definitions(resources, "#/definitions/") }
end

-- Documents change only with the registry; each form is made when first asked for.
local function cached(resources, key, make)
  local cache = resources.documents
  if not cache or cache.generation ~= resources.changes then
    cache = { generation = resources.changes }
    resources.documents = cache
  end
  if not cache[key] then
    local body = make()
    cache[key] = { body = body, etag = '"' .. crypto.sha256(body):upper() .. '"' }
  end
  return cache[key]
end

--- Version 2 as protobuf: {body, etag}.
function openapi.v2_protobuf(resources, version)
  return cached(resources, "v2pb", function() return pb_document(v2(resources, version)) end)
end

--- Version 2 as JSON: {body, etag}.
function openapi.v2_json(resources, version)
  return cached(resources, "v2", function() return json.encode(v2(resources, version), { sort = true }) end)
end

local function v3_path(gv)
  return gv:find("/", 1, true) and "apis/" .. gv or "api/" .. gv
end

--- The index of version 3: {body, etag}.
function openapi.v3_index(resources)
  return cached(resources, "v3", function()
    local out = {}
    for gv in pairs(resources.by_gv) do
      local hash = crypto.sha256(gv .. resources.changes):upper()
      out[v3_path(gv)] = { serverRelativeURL = "/openapi/v3/" .. v3_path(gv) .. "?hash=" .. hash }
    end
    return json.encode({ paths = out }, { sort = true })
  end)
end

--- Version 3 of one group and version, by its path ("apis/apps/v1"): {body, etag}, or nil.
function openapi.v3(resources, path, version)
  local gv = path:match("^apis/(.+)$") or path:match("^api/(.+)$")
  if not gv or not resources.by_gv[gv] or v3_path(gv) ~= path then return nil end
  return cached(resources, "v3/" .. gv, function()
    local schemas, prefix = {}, "#/components/schemas/"
    local function need(type_)
      if not type_.fields and not type_.of then return end
      if type_.of then return need(type_.of) end
      local name = type_.name and definition_name(type_)
      if name and schemas[name] then return end
      if name then schemas[name] = named_schema(schema.named[type_.name], prefix) end
      for _, field in pairs(type_.fields) do need(field) end
    end
    local list = resources.by_gv[gv]
    for _, plural in ipairs(list.order) do
      local res = list.by_plural[plural]
      need(res.schema)
      schemas[res.schema.name and definition_name(res.schema) or custom_name(res)] = top_schema(res, prefix)
    end
    return json.encode({ openapi = "3.0.0", info = { title = "Kubernetes", version = version },
      paths = paths(resources, gv, true), components = { schemas = schemas } }, { sort = true })
  end)
end

return openapi
