--- What a server says about itself: groups, versions and resources, in the plain and the aggregated form.
local json = require "json"
local crypto = require "crypto"
local value = require "emulator.kubernetes.value"

local discovery = {}

local function addresses(req)
  return json.array { { clientCIDR = "0.0.0.0/0", serverAddress = req.headers.host or "" } }
end

local function verbs_of(res, sub)
  if sub == "status" or sub == "approval" then return { "get", "patch", "update" } end
  if sub == "scale" then return { "get", "patch", "update" } end
  if sub == "finalize" then return { "update" } end
  if sub == "log" then return { "get" } end
  if sub == "exec" or sub == "attach" or sub == "portforward" then return { "create", "get" } end
  if sub == "proxy" then return { "create", "delete", "get", "patch", "update" } end
  if sub == "ephemeralcontainers" then return { "get", "patch", "update" } end
  return { "create" }
end

local sub_kinds = {
  scale = { "autoscaling", "v1", "Scale" }, eviction = { "policy", "v1", "Eviction" }, token = { "authentication.k8s.io", "v1", "TokenRequest" },
  binding = { nil, nil, "Binding" }, exec = { nil, nil, "PodExecOptions" }, attach = { nil, nil, "PodAttachOptions" },
  portforward = { nil, nil, "PodPortForwardOptions" },
}

local function sub_kind(res, sub)
  if sub == "proxy" then return nil, nil, res.kind .. "ProxyOptions" end
  local k = sub_kinds[sub]
  if k then return k[1], k[2], k[3] end
  return nil, nil, res.kind
end

local function hash(res)
  return crypto.base64(crypto.unhex(crypto.sha256(res.key .. "/" .. (res.storage or res.version)):sub(1, 16)))
end

local function entries(res)
  local out = { { name = res.plural, singularName = res.singular, namespaced = res.namespaced, kind = res.kind,
    verbs = json.array(value.copy(res.verbs)), shortNames = #res.short > 0 and json.array(value.copy(res.short)) or nil,
    categories = #res.categories > 0 and json.array(value.copy(res.categories)) or nil,
    storageVersionHash = #res.verbs > 1 and hash(res) or nil } }
  for _, sub in ipairs(value.keys(res.subresources)) do
    local group, version, kind = sub_kind(res, sub)
    out[#out + 1] = { name = res.plural .. "/" .. sub, singularName = "", namespaced = res.namespaced, group = group,
      version = version, kind = kind, verbs = json.array(verbs_of(res, sub)) }
  end
  return out
end

--- APIVersions of the core group.
function discovery.core(req)
  return { kind = "APIVersions", versions = json.array { "v1" }, serverAddressByClientCIDRs = addresses(req) }
end

local function group_of(group)
  local versions = json.array {}
  for i, v in ipairs(group.versions) do versions[i] = { groupVersion = group.name .. "/" .. v, version = v } end
  return { name = group.name, versions = versions, preferredVersion = versions[1] }
end

--- APIGroupList.
function discovery.groups(resources)
  local out = json.array {}
  for _, group in ipairs(resources.groups) do
    if group.name ~= "" then out[#out + 1] = group_of(group) end
  end
  return { kind = "APIGroupList", apiVersion = "v1", groups = out }
end

--- APIGroup, or nil.
function discovery.group(resources, name)
  local group = value.find(resources.groups, "name", name)
  if not group then return nil end
  local out = group_of(group)
  out.kind, out.apiVersion = "APIGroup", "v1"
  return out
end

--- APIResourceList of one version, or nil.
function discovery.resources(resources, gv)
  local list = resources.by_gv[gv]
  if not list then return nil end
  local out = json.array {}
  for _, plural in ipairs(list.order) do
    for _, entry in ipairs(entries(list.by_plural[plural])) do out[#out + 1] = entry end
  end
  local api_version = gv:find("/", 1, true) and "v1" or nil   -- the core group's list is of an older form
  return { kind = "APIResourceList", apiVersion = api_version, groupVersion = gv, resources = out }
end

local function aggregated_resource(res)
  local out = { resource = res.plural, responseKind = { group = res.group, version = res.version, kind = res.kind },
    scope = res.namespaced and "Namespaced" or "Cluster", singularResource = res.singular, verbs = json.array(value.copy(res.verbs)),
    shortNames = #res.short > 0 and json.array(value.copy(res.short)) or nil,
    categories = #res.categories > 0 and json.array(value.copy(res.categories)) or nil }
  for _, sub in ipairs(value.keys(res.subresources)) do
    local group, version, kind = sub_kind(res, sub)
    out.subresources = out.subresources or json.array {}
    table.insert(out.subresources, { subresource = sub, verbs = json.array(verbs_of(res, sub)),
      responseKind = { group = group or res.group, version = version or res.version, kind = kind } })
  end
  return out
end

--- APIGroupDiscoveryList of the core group or of all others. version: "v2" or "v2beta1".
function discovery.aggregated(resources, core, version)
  local items = json.array {}
  for _, group in ipairs(resources.groups) do
    if (group.name == "") == core then
      local versions = json.array {}
      for i, v in ipairs(group.versions) do
        local list = resources.by_gv[group.name == "" and v or group.name .. "/" .. v]
        local found = json.array {}
        for j, plural in ipairs(list.order) do found[j] = aggregated_resource(list.by_plural[plural]) end
        versions[i] = { version = v, resources = found, freshness = "Current" }
      end
      local m = { creationTimestamp = json.null }
      if group.name ~= "" then m.name = group.name end
      items[#items + 1] = { metadata = m, versions = versions }
    end
  end
  return { kind = "APIGroupDiscoveryList", apiVersion = "apidiscovery.k8s.io/" .. version, metadata = {}, items = items }
end

return discovery
