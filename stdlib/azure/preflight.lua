--- Before the first write of a plan: would Azure take all of it? Permissions, quota, sizes and zones, registration, policy.
-- What is asked is the same few lists however many resources there are, and all at once; what Azure does not let us ask is told as such.
local arm, json, kind, task = require "azure.arm", require "json", require "kind", require "task"
local permission, statement = require "azure.permission", require "azure.statement"
local near = require "recipe.nearest"

local M = {}

local PERMISSIONS, COMPUTE, NETWORK, SKUS, PROVIDERS, ASSIGNMENTS, RESTRICTIONS = "2022-04-01", "2025-04-01", "2025-05-01", "2021-07-01",
  "2021-04-01", "2022-06-01", "2022-03-01"
local ATTEMPTS = 3

local VERBS = { create = { "write" }, update = { "write" }, add = { "write" }, delete = { "delete" }, replace = { "write", "delete" } }
local MAKES = { create = true, replace = true }
local VAULT = "azure.key_vault"

-- Fields without what is not known yet; a secret's place holds a text.
local function known(item)
  if item == json.null then return nil end
  if type(item) ~= "table" then return item end
  if item["$digest"] or item["$secret"] then return "(secret)" end
  if item["$unknown"] then return nil end
  local copy = json.is_array(item) and json.array {} or {}
  for key, part in pairs(item) do copy[key] = known(part) end
  return copy
end

local function group_of(id) return (id:lower():match("^(/subscriptions/[^/]+/resourcegroups/[^/]+)")) end
local function subscription_of(id) return (id:lower():match("^(/subscriptions/[^/]+)")) end

-- The resource that a child, or what is put on a resource, stands below; nil for others.
local function above(id)
  local parent = id:match("^(.*/providers/[^/]+/[^/]+/[^/]+.*)/[^/]+/[^/]+$")
  return parent and (parent:gsub("/providers/[^/]+$", ""))
end

-- All items of a list; unlike the client's own, a list that is not there is a failure.
local function listed(client, path, api)
  local items, url = {}, client:url(path, api)
  while url do
    local answer = client:request("GET", url, nil, { attempts = ATTEMPTS })
    for _, item in ipairs(answer.json.value or {}) do items[#items + 1] = item end
    local next_link = answer.json.nextLink
    url = next_link ~= json.null and next_link ~= "" and next_link or nil
  end
  return items
end

-- Asks all at once: `asks[key]` is a function. Gives answers by key, and by key why there is none.
local function gather(asks)
  local running, answers, refused = {}, {}, {}
  for key, ask in pairs(asks) do running[key] = task.spawn(ask) end
  for key, asking in pairs(running) do
    local ok, result = asking:join()
    if ok then
      answers[key] = result
    elseif type(result) == "table" and result.code == "cancelled" then
      error(result, 0)
    else
      refused[key] = type(result) == "table" and result.message or tostring(result)
    end
  end
  return answers, refused
end

-- Of a plan's rows those that write a resource of Azure's, each with its page, type and fields as far as they are known. Members of a
-- collection are counted by the collection.
local function writes_of(resources)
  local list, fresh = {}, {}
  for _, row in ipairs(resources) do
    local page = VERBS[row.action] and kind.find(row.kind)
    local fields = known(row.fields or {})
    local own = page and not permission.by_data(page) and permission.type_of(page, fields)
    if own and not (row.member or row.parent and row.action == "add") then
      local parent = fields[page.parent or "group"]
      local location = fields.location or type(parent) == "table" and parent.location or nil
      list[#list + 1] = { row = row, page = page, type = own, fields = fields, verbs = VERBS[row.action], id = row.identity,
        scope = type(parent) == "table" and parent.id or type(parent) == "string" and parent or nil,
        location = type(location) == "string" and location:lower():gsub("%s+", "") or nil }
      if row.identity and MAKES[row.action] then fresh[row.identity:lower()] = true end
    end
  end
  return list, fresh
end

-- What each write needs, and the group or subscription whose permissions decide, unless the resource itself has its own.
local function needs_of(writes, fresh, subscription)
  local needs = {}
  for _, write in ipairs(writes) do
    local function add(action, id)
      local group = group_of(id)
      needs[#needs + 1] = { write = write, action = action, id = id, scope = group and not fresh[group] and group or subscription_of(id) }
    end
    local id = write.id or write.scope or subscription
    for _, verb in ipairs(write.verbs) do add(write.type .. "/" .. verb, id) end
    local below = permission.below(write.page, write.fields)
    if below and write.verbs[1] == "write" then add(below .. "/write", id) end
    if write.verbs[1] == "write" then
      for _, mention in ipairs(permission.mentions(write.page, write.fields)) do add(mention.action, mention.id) end
    end
  end
  return needs
end

-- A role may be on a resource alone: the nearest that exists is asked when its group does not say yes.
local function own_scope(id, fresh)
  while id and fresh[id:lower()] do id = above(id) end
  return id and id:find("/providers/", 1, true) and id or nil
end

local function permissions_at(client, scope)
  return function() return listed(client, scope .. "/providers/Microsoft.Authorization/permissions", PERMISSIONS) end
end

local function check_permissions(client, needs, answers, fresh, say, call)
  local missing, asks = {}, {}
  for _, need in ipairs(needs) do
    local have = answers["permissions " .. need.scope]
    if have and not permission.admits(have, need.action) then
      missing[#missing + 1] = need
      need.own = own_scope(need.id, fresh)
      if need.own then asks[need.own] = permissions_at(client, need.own) end
    end
  end
  local own = gather(asks)
  local told, order = {}, {}
  for _, need in ipairs(missing) do
    if not (need.own and own[need.own] and permission.admits(own[need.own], need.action)) then
      if not told[need.write] then
        told[need.write] = {}
        order[#order + 1] = need.write
      end
      table.insert(told[need.write], need.action .. " on " .. (need.own or need.id:sub(1, #need.scope)))
    end
  end
  for i, write in ipairs(order) do
    say("deny", write, "our principal may not " .. table.concat(told[write], ", nor "), i == 1 and
      ("assign it a role that has this: 'vmrun permissions %s' prints one; a new assignment takes minutes"):format(call.recipe) or nil)
  end
end

local SIZED = { ["azure.virtual_machine"] = true, ["azure.virtual_machine_scale_set"] = true }

local function change_of(row, path)
  for _, change in ipairs(row.changes or {}) do
    if change.path == path then return change end
  end
end

-- The machines that a write makes: `{count, size, location, zones}`, the size of those that go, if any do (`before`), how many of these
-- are gone when it begins, how many come and go in turns from then on (`roll`), whether there are more in the end (`more`); nil when it
-- makes none.
local function machines_of(write)
  local row, fields = write.row, write.fields
  if not SIZED[row.kind] or write.verbs[1] ~= "write" or type(fields.size) ~= "string" or not write.location then return nil end
  local size, power = change_of(row, "size"), change_of(row, "power")
  local before = size and size.before or fields.size
  local made = { size = fields.size, location = write.location, spot = fields.spot ~= nil, gone = 0, roll = row.roll or {},
    zones = fields.zone and { fields.zone } or fields.zones or {}, before = type(before) == "string" and before or nil }
  if row.kind == "azure.virtual_machine_scale_set" then
    made.count, made.more = math.type(row.add) == "integer" and row.add or 0, row.action ~= "replace"
    return made
  end
  local ran = row.action ~= "create"
  if power then ran = ran and power.before == "running" elseif fields.power == "deallocated" then ran = false end
  made.gone = ran and made.before and 1 or 0
  made.count, made.more = (MAKES[row.action] or fields.power ~= "deallocated") and 1 or 0, row.action == "create"
  return made
end

local function skus_by_name(list)
  local found = {}
  for _, sku in ipairs(list) do
    if sku.resourceType == "virtualMachines" then found[sku.name:lower()] = sku end
  end
  return found
end

local function vcpus_of(sku)
  for _, capability in ipairs(sku and sku.capabilities or {}) do
    if capability.name == "vCPUs" then return tonumber(capability.value) end
  end
  return nil
end

-- The zones of a region in which we get a size; false when we get it nowhere there, and why.
local function zones_of(sku, location)
  local zones = {}
  for _, place in ipairs(sku.locationInfo or {}) do
    if place.location:lower() == location then
      for _, zone in ipairs(place.zones or {}) do zones[zone] = true end
    end
  end
  for _, restriction in ipairs(sku.restrictions or {}) do
    if restriction.type == "Location" then return false, restriction.reasonCode end
    for _, zone in ipairs(restriction.restrictionInfo and restriction.restrictionInfo.zones or {}) do zones[zone] = nil end
  end
  return zones
end

local function words(set)
  local list = {}
  for item in pairs(set) do list[#list + 1] = item end
  table.sort(list)
  return #list > 0 and table.concat(list, ", ") or "none"
end

local function check_size(write, made, skus, say)
  local sku, where = skus[made.size:lower()], " in " .. made.location
  if not sku then
    local names = {}
    for _, other in pairs(skus) do names[#names + 1] = other.name end
    local found = near.nearest(made.size, names)
    return say("deny", write, "the size " .. made.size .. " is not offered" .. where,
      found and ("did you mean '%s'?"):format(found) or "choose another size or region")
  end
  local zones, why = zones_of(sku, made.location)
  if not zones then
    return say("deny", write, ("the size %s is not available to this subscription%s (%s)"):format(made.size, where, tostring(why)),
      "choose another size or region, or ask for access to it")
  end
  for _, zone in ipairs(made.zones) do
    if not zones[zone] then
      return say("deny", write, ("the size %s is not offered in zone %s of %s; zones that have it: %s"):format(made.size, zone,
        made.location, words(zones)), "choose another size or zone")
    end
  end
end

local COUNTED = {
  ["azure.load_balancer"] = { "LoadBalancers" }, ["azure.nat_gateway"] = { "NatGateways" }, ["azure.route_table"] = { "RouteTables" },
  ["azure.network_interface"] = { "NetworkInterfaces" }, ["azure.network_security_group"] = { "NetworkSecurityGroups" },
  ["azure.public_ip_address"] = { "PublicIPAddresses", "StandardSkuPublicIpAddresses" }, ["azure.virtual_network"] = { "VirtualNetworks" },
}

-- What a write adds to the usages of its region, at the moment at which it is most: a list of `{service, name, n}`.
local function usage_of(write, skus)
  local adds, made, most = {}, machines_of(write), {}
  local function take(new, gone)
    local now = { virtualMachines = made.more and new - gone or 0 }
    local function cores(size, count)
      local sku = skus and size and skus[size:lower()]
      local each = vcpus_of(sku)
      for _, name in ipairs(each and (made.spot and { "lowPriorityCores" } or { "cores", sku.family }) or {}) do
        now[name] = (now[name] or 0) + each * count
      end
    end
    cores(made.size, new)
    cores(made.before, -gone)
    for name, n in pairs(now) do most[name] = math.max(most[name] or n, n) end
  end
  if made then
    local new, gone = made.count, made.gone
    take(new, gone)
    for _, n in ipairs(made.roll) do
      new, gone = new + math.max(n, 0), gone + math.max(-n, 0)
      take(new, gone)
    end
  end
  local names = {}
  for name in pairs(most) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do adds[#adds + 1] = { service = "Microsoft.Compute", name = name, n = most[name] } end
  for _, name in ipairs(write.row.action == "create" and COUNTED[write.row.kind] or {}) do
    adds[#adds + 1] = { service = "Microsoft.Network", name = name, n = 1 }
  end
  return adds
end

local function check_quota(writes, answers, skus, say)
  local sums, order = {}, {}
  for _, write in ipairs(writes) do
    for _, add in ipairs(write.location and usage_of(write, skus[write.location]) or {}) do
      local list = answers[add.service .. " " .. write.location]
      local key = write.location .. " " .. add.name:lower()
      local sum = sums[key]
      if list and not sum then
        sum = { n = 0, location = write.location }
        for _, usage in ipairs(list) do
          if usage.name.value:lower() == add.name:lower() then sum.usage = usage end
        end
        sums[key] = sum
        order[#order + 1] = sum
      end
      if sum and sum.usage then
        sum.n = sum.n + add.n
        if add.n > 0 and sum.n > sum.usage.limit - sum.usage.currentValue and not sum.write then sum.write = write end
      end
    end
  end
  for _, sum in ipairs(order) do
    local usage = sum.usage
    if sum.write and sum.n > usage.limit - usage.currentValue then
      say("deny", sum.write, ("quota: the plan needs %d more of '%s' in %s, where %d of %d are left"):format(sum.n,
        usage.name.localizedValue or usage.name.value, sum.location, math.max(0, usage.limit - usage.currentValue), usage.limit),
        "ask for more quota, or choose another size or region")
    end
  end
end

local function check_registration(writes, answers, subscription, say)
  local states, told = {}, {}
  for _, provider in ipairs(answers.providers or {}) do states[provider.namespace:lower()] = provider.registrationState end
  for _, write in ipairs(writes) do
    local namespace = write.verbs[1] == "write" and permission.namespace_of(write.type)
    local state = namespace and states[namespace:lower()]
    if state and state ~= "Registered" and not told[namespace] then
      told[namespace] = true
      local have = answers["permissions " .. subscription]
      if state ~= "Registering" and have and not permission.admits(have, namespace .. "/register/action") then
        say("deny", write, ("the subscription is not registered for %s, and our principal may not register it"):format(namespace),
          "az provider register --namespace " .. namespace)
      else
        say("note", write, ("the subscription is not registered for %s; it will be"):format(namespace))
      end
    end
  end
end

-- A resource's body as it will be sent, as far as it is known.
local function content_of(write)
  local f = write.fields
  local body
  if write.page.name == "azure.resource" then
    body = known(type(f.body) == "table" and f.body or {})
  elseif write.page.type then
    local ok, made = pcall(statement.full_body, write.page, f)
    body = ok and made or { tags = f.tags }
  end
  body.type, body.name, body.location = write.type, f.name, body.location or write.location
  return body
end

-- Bodies that differ in names and ids alone are asked about once.
local function shape(item, name)
  if type(item) == "string" then return item == name and "NAME" or item:find("^/subscriptions/") and "ID" or item end
  if type(item) ~= "table" then return item end
  local copy = json.is_array(item) and json.array {} or {}
  for key, part in pairs(item) do
    if key ~= "osProfile" then copy[key] = shape(part, name) end
  end
  return copy
end

-- The effect of a policy that a body does not meet; nil when it meets it.
local function effect_of(evaluation)
  local effect = evaluation.effectDetails and evaluation.effectDetails.policyEffect or "deny"
  return evaluation.evaluationResult == "NonCompliant" and effect:lower() or nil
end

local function check_policy(client, writes, answers, fresh, subscription, say)
  local names, asks = {}, {}
  for _, assignment in ipairs(answers.policies or {}) do
    names[assignment.id:lower()] = assignment.properties and assignment.properties.displayName or assignment.name
  end
  if not next(names) then return {} end
  for _, write in ipairs(writes) do
    if write.verbs[1] == "write" and write.row.action ~= "add" then
      local content = content_of(write)
      local group = write.id and group_of(write.id)
      local scope = group and not fresh[group] and group ~= write.id:lower() and group or subscription
      write.question = json.encode { scope, shape(content, write.fields.name) } or write.row.address
      asks[write.question] = function()
        return client:request("POST", client:url(scope .. "/providers/Microsoft.PolicyInsights/checkPolicyRestrictions", RESTRICTIONS),
          { resourceDetails = { resourceContent = content, apiVersion = write.page.api or write.fields.api_version } },
          { attempts = ATTEMPTS }).json
      end
    end
  end
  local results, refused = gather(asks)
  for _, write in ipairs(writes) do
    local result = write.question and results[write.question]
    for _, evaluation in ipairs(result and (result.contentEvaluationResult or {}).policyEvaluations or {}) do
      if effect_of(evaluation) == "deny" then
        local id = evaluation.policyInfo.policyAssignmentId or evaluation.policyInfo.policyDefinitionId or "?"
        say("deny", write, ("Azure's policy '%s' denies it"):format(names[id:lower()] or id:match("[^/]+$")),
          "see " .. id .. "; change the resource, or ask for an exemption")
      end
    end
  end
  local _, why = next(refused)
  return { policies = why }
end

-- A vault that goes is only half gone, and one that comes may be one that went.
local function check_vaults(writes, answers, say)
  local deleted = {}
  for _, vault in ipairs(answers["deleted vaults"] or {}) do deleted[vault.name:lower()] = vault.properties or {} end
  for _, write in ipairs(writes) do
    local vault, name = answers["vault " .. write.row.address], tostring(write.fields.name)
    local gone = write.row.kind == VAULT and write.row.action == "create" and deleted[name:lower()]
    local protection = write.row.kind == VAULT and write.row.action == "update" and change_of(write.row, "purge_protection")
    if protection and protection.after == true then
      say("note", write, ("the vault %s gets purge protection, which is for good"):format(name))
    elseif vault then
      local p = vault.properties
      say("note", write, ("the vault %s stays soft-deleted for %s days%s"):format(vault.name, p.softDeleteRetentionInDays or 90,
        p.enablePurgeProtection and ", and nobody can purge it before: it has purge protection" or ""))
    elseif gone and write.fields.recover == false then
      say("deny", write, ("a vault named %s is soft-deleted until %s"):format(name, tostring(gone.scheduledPurgeDate)),
        "purge it, choose another name, or set recover = true")
    elseif gone then
      say("note", write, ("the soft-deleted vault %s is recovered, with all that it holds"):format(name))
    end
  end
end

-- What is asked first, by the key under which the answer is looked for.
local function asks_of(client, writes, needs, subscription)
  local asks = {}
  local function list(key, path, api)
    asks[key] = function() return listed(client, subscription .. "/" .. path, api) end
  end
  asks["permissions " .. subscription] = permissions_at(client, subscription)
  for _, need in ipairs(needs) do asks["permissions " .. need.scope] = permissions_at(client, need.scope) end
  for _, write in ipairs(writes) do
    local at = write.location
    if machines_of(write) then
      list("sizes " .. at, ("providers/Microsoft.Compute/skus?$filter=location%%20eq%%20'%s'"):format(at), SKUS)
      list("Microsoft.Compute " .. at, ("providers/Microsoft.Compute/locations/%s/usages"):format(at), COMPUTE)
    end
    if at and COUNTED[write.row.kind] and write.row.action == "create" then
      list("Microsoft.Network " .. at, ("providers/Microsoft.Network/locations/%s/usages"):format(at), NETWORK)
    end
    if write.row.kind == VAULT and write.row.action == "create" then
      list("deleted vaults", "providers/Microsoft.KeyVault/deletedVaults", write.page.api)
    elseif write.row.kind == VAULT and write.id and write.row.action ~= "update" then
      asks["vault " .. write.row.address] = function() return client:get(write.id, write.page.api) end
    end
    if write.verbs[1] == "write" then
      list("providers", "providers", PROVIDERS)
      list("policies", "providers/Microsoft.Authorization/policyAssignments", ASSIGNMENTS)
    end
  end
  return asks
end

local ASKED = { deleted = "soft-deleted vaults", vault = "vaults", permissions = "permissions", sizes = "sizes",
  policies = "policies", providers = "registration" }

local function tell_refused(refused, say)
  local reasons, lines = {}, {}
  for key, why in pairs(refused) do reasons[ASKED[key:match("^%S+")] or "quota"] = why end
  for what, why in pairs(reasons) do lines[#lines + 1] = ("%s could not be checked: %s"):format(what, why) end
  table.sort(lines)
  for _, line in ipairs(lines) do say("note", nil, line) end
end

--- `call`: `{target, recipe, resources = {row of the plan with `fields`, ...}}`, in the order of the plan. Gives the list of what is to be
-- told: `{level = "deny"|"note", address, file, line, message, hint}`.
function M.run(call)
  local told = json.array {}
  local writes, fresh = writes_of(call.resources)
  if #writes == 0 then return told end
  local client = arm.open(call.target)
  local subscription = ("/subscriptions/" .. client.subscription):lower()
  local function say(level, write, message, hint)
    local row = write and write.row or {}
    told[#told + 1] = { level = level, address = row.address, file = row.file, line = row.line, message = message, hint = hint }
  end

  local needs = needs_of(writes, fresh, subscription)
  local answers, refused = gather(asks_of(client, writes, needs, subscription))
  local skus = {}
  for key, list in pairs(answers) do
    local at = key:match("^sizes (.+)")
    if at and #list > 0 then skus[at] = skus_by_name(list) end
  end
  check_permissions(client, needs, answers, fresh, say, call)
  for _, write in ipairs(writes) do
    local made = machines_of(write)
    local chosen = made and (write.row.action ~= "update" or change_of(write.row, "size"))
    if chosen and skus[made.location] then check_size(write, made, skus[made.location], say) end
  end
  check_quota(writes, answers, skus, say)
  check_registration(writes, answers, subscription, say)
  check_vaults(writes, answers, say)
  for key, why in pairs(check_policy(client, writes, answers, fresh, subscription, say)) do refused[key] = refused[key] or why end
  tell_refused(refused, say)
  return told
end

return M
