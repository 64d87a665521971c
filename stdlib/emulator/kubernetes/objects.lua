--- Writing objects by the rules: decoding, admission, defaults, owners of fields, validation, finalizers. The API server
-- and the controllers both write through here; failures are raised as `status` values.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local schema = require "emulator.kubernetes.schema"
local fieldset = require "emulator.kubernetes.fieldset"
local apply = require "emulator.kubernetes.apply"
local patch = require "emulator.kubernetes.patch"
local defaults = require "emulator.kubernetes.defaults"
local validate = require "emulator.kubernetes.validate"
local admission = require "emulator.kubernetes.admission"
local definitions = require "emulator.kubernetes.definitions"

local Objects = {}
Objects.__index = Objects

--- Writes to the objects of a cluster (store, resources, service_cidr).
function Objects.new(cluster)
  return setmetatable({ cluster = cluster, store = cluster.store, resources = cluster.resources }, Objects)
end

local function go_path(res, path)
  local type_, name = res.schema, res.kind
  for part in path:gsub("%[%d+%]", ".*"):gmatch("[^.]+") do
    if type_.is == "object" then
      name = type_.name or name
      type_ = type_.fields[part] or schema.any
    else
      type_ = type_.of or schema.any
    end
  end
  return name .. "." .. path:gsub("%[%d+%]", "")
end

local function handled(res, why)
  return status.bad_request(('%s in version "%s" cannot be handled as a %s: %s'):format(res.kind, res.version, res.kind, why))
end

--- Compares an object with its type. mode: "Strict", "Warn" or "Ignore"; warnings: a list that gets what is only warned of.
local function decode(res, object, mode, warnings)
  local unknown, bad, wanted, got = schema.inspect(res.schema, object)
  if bad and res.builtin then
    error(handled(res, ("json: cannot unmarshal %s into Go struct field %s of type %s"):format(got, go_path(res, bad), wanted)), 0)
  end
  if #unknown > 0 and mode ~= "Ignore" then
    local texts = {}
    for i, path in ipairs(unknown) do texts[i] = ('unknown field "%s"'):format(path) end
    if mode == "Strict" then
      error(res.builtin and handled(res, "strict decoding error: " .. table.concat(texts, ", "))
        or status.bad_request(("%s in version %q cannot be handled as a %s: strict decoding error: %s")
          :format(res.kind, res.version, res.kind, table.concat(texts, ", "))), 0)
    end
    for _, text in ipairs(texts) do
      if warnings then warnings[#warnings + 1] = text end
    end
  end
  schema.prune(res.schema, object)
  local encoding = validate.encoding(res, object)
  if encoding then error(handled(res, encoding), 0) end
  return object
end

local function check(res, object, old)
  local errors = validate.check(res, object, old)
  if #errors > 0 then error(status.invalid(res, object.metadata.name, errors), 0) end
end

local function fill(res, object)
  if res.builtin then return defaults.fill(res, object) end
  return schema.fill(res.schema, object)
end

local function kind_of(res, object)
  if object.apiVersion and object.apiVersion ~= res.api_version then
    error(status.bad_request(("the API version in the data (%s) does not match the expected API version (%s)")
      :format(object.apiVersion, res.api_version)), 0)
  end
  if object.kind and object.kind ~= res.kind then
    error(status.bad_request(('%s in version "%s" cannot be handled as a %s: no kind "%s" is registered for version "%s"')
      :format(object.kind, res.version, res.kind, object.kind, res.api_version)), 0)
  end
  object.apiVersion, object.kind = res.api_version, res.kind
end

local keeps_status = { ["/nodes"] = true, ["/namespaces"] = true, ["/services"] = true, ["/persistentvolumeclaims"] = true,
  ["/persistentvolumes"] = true, ["/pods"] = true }

local function writer(options, subresource, res)
  return { manager = (options.manager or "unknown"):sub(1, 128), apiVersion = res.api_version, subresource = subresource,
    zero = defaults.zero(res) }
end

local function begin(res, object, options)
  object.metadata = object.metadata or {}
  local m = object.metadata
  if res.namespaced then
    if options.namespace and m.namespace and m.namespace ~= options.namespace then
      error(status.bad_request("the namespace of the provided object does not match the namespace sent on the request"), 0)
    end
    m.namespace = options.namespace or m.namespace or "default"
  else
    m.namespace = nil
  end
  if m.resourceVersion and m.resourceVersion ~= "" and m.resourceVersion ~= "0" then
    error(status.bad_request("resourceVersion should not be set on objects to be created"), 0)
  end
  if not m.name or m.name == "" then
    if not m.generateName or m.generateName == "" then
      error(status.invalid(res, "", { status.field.required("metadata.name", "name or generateName is required") }), 0)
    end
    m.name = m.generateName .. admission.suffix(5)
  end
  m.uid, m.creationTimestamp, m.resourceVersion, m.selfLink = crypto.uuid(), value.time(), nil, nil
  m.deletionTimestamp, m.deletionGracePeriodSeconds = nil, nil
  m.generation = res.generation and 1 or nil
  if res.subresources.status then
    if not keeps_status[res.key] then object.status = res.builtin and {} or nil end
  end
end

--- By what an object is written: whoever writes does so through an API server, a client through the one it speaks to.
function Objects:seal(res, options)
  local encryption = options.encryption or self.cluster:encryption()
  return encryption and encryption:seal(res.key)
end

local function finish_create(self, res, object, options)
  if self.store:get(res.key, object.metadata.namespace, object.metadata.name) then
    error(status.exists(res, object.metadata.name), 0)
  end
  admission.allocate(self.cluster, res, object)
  if options.dry then return object end
  return self.store:put(res.key, object, self:seal(res, options))
end

--- Creates an object. options: namespace, user, manager, validation ("Strict"...), warnings (list), dry.
function Objects:create(res, object, options)
  options = options or {}
  object = value.compact(object)
  kind_of(res, object)
  decode(res, object, options.validation or "Warn", options.warnings)
  begin(res, object, options)
  fill(res, object)
  object.metadata.managedFields = nil
  apply.update(res.schema, nil, object, writer(options, nil, res))
  admission.create(self.cluster, res, object, options.user)   -- what it adds belongs to nobody
  fill(res, object)
  check(res, object)
  return finish_create(self, res, object, options)
end

--- An object that is answered and not kept, as it came and with its owner.
function Objects:asked(res, object, options)
  kind_of(res, object)
  object.metadata = object.metadata or {}
  return apply.update(res.schema, nil, object, writer(options, nil, res))
end

local function spec_changed(res, old, new)
  if res.builtin or res.subresources.status then
    for k, v in pairs(new) do
      if k ~= "metadata" and k ~= "status" and not value.equal(v, old[k]) then return true end
    end
    for k in pairs(old) do
      if k ~= "metadata" and k ~= "status" and new[k] == nil then return true end
    end
    return false
  end
  local a, b = value.shallow(old), value.shallow(new)
  a.metadata, b.metadata = nil, nil
  return not value.equal(a, b)
end

local kept_metadata = { "uid", "creationTimestamp", "name", "namespace", "generateName", "deletionTimestamp",
  "deletionGracePeriodSeconds", "selfLink", "generation" }

local function keep(res, old, new, subresource)
  local m = new.metadata
  if m.uid and m.uid ~= old.metadata.uid then
    error(status.conflict(res, old.metadata.name, ("Precondition failed: UID in precondition: %s, UID in object meta: %s")
      :format(m.uid, old.metadata.uid)), 0)
  end
  if m.resourceVersion and m.resourceVersion ~= "" and m.resourceVersion ~= old.metadata.resourceVersion then
    error(status.modified(res, old.metadata.name), 0)
  end
  if m.name and m.name ~= old.metadata.name then
    error(status.bad_request(("the name of the object (%s) does not match the name on the URL (%s)")
      :format(m.name, old.metadata.name)), 0)
  end
  for _, name in ipairs(kept_metadata) do m[name] = old.metadata[name] end
  m.resourceVersion = old.metadata.resourceVersion
  if subresource == "status" then
    for k in pairs(new) do
      if k ~= "status" and k ~= "metadata" then new[k] = old[k] end
    end
    for k, v in pairs(old) do
      if k ~= "status" and k ~= "metadata" then new[k] = v end
    end
    if res.key ~= "/nodes" and res.key ~= "/pods" then
      local managed, finalizers = m.managedFields, m.finalizers
      new.metadata = value.copy(old.metadata)
      new.metadata.managedFields, new.metadata.finalizers = managed, finalizers
    end
  elseif res.subresources.status and not subresource then
    new.status = old.status
  end
end

local function same(a, b)
  local x, y = value.shallow(a), value.shallow(b)
  x.metadata, y.metadata = value.shallow(a.metadata), value.shallow(b.metadata)
  if not value.equal(x.metadata.managedFields, y.metadata.managedFields) then
    -- a new owner of the same fields is a change; only its time is not
    local function strip(list)
      local out = {}
      for i, e in ipairs(list or {}) do
        out[i] = value.shallow(e)
        out[i].time = nil
      end
      return out
    end
    if not value.equal(strip(x.metadata.managedFields), strip(y.metadata.managedFields)) then return false end
  end
  x.metadata.managedFields, y.metadata.managedFields = nil, nil
  return value.equal(x, y)
end

--- Is nothing left that keeps a deleted object?
local function released(object)
  local m = object.metadata
  return m.deletionTimestamp and #(m.finalizers or {}) == 0 and (m.deletionGracePeriodSeconds or 0) == 0
    and not (object.kind == "Namespace" and #(value.get(object, "spec", "finalizers") or {}) > 0)
end

local function commit(self, res, old, new, options, subresource)
  admission.update(self.cluster, res, new, old, options.user, subresource)
  fill(res, new)
  if res.generation and subresource ~= "status" and subresource ~= "binding" and spec_changed(res, old, new) then
    new.metadata.generation = (old.metadata.generation or 0) + 1
  end
  if not options.applied then apply.update(res.schema, old, new, writer(options, subresource, res)) end
  check(res, new, old)
  if res.key == "/services" and subresource == nil then admission.allocate(self.cluster, res, new, old) end
  local seal = self:seal(res, options)
  -- What is the same is written all the same where the key that writes is another now.
  if same(old, new) and (options.dry or (seal or "") == self.store:seal(res.key, old.metadata.namespace, old.metadata.name)) then
    return old, false
  end
  if options.dry then return new, true end
  if released(new) then return self.store:remove(res.key, old.metadata.namespace, old.metadata.name), true end
  return self.store:put(res.key, new, seal), true
end

--- The object, or a NotFound.
function Objects:get(res, namespace, name)
  local object = self.store:get(res.key, res.namespaced and namespace or nil, name)
  if not object then error(status.not_found(res, name), 0) end
  return object
end

local function resource_version_named(object)
  return value.get(object, "metadata", "resourceVersion")
end

--- Replaces an object by one that a client sent. options as for `create`, and subresource ("status" or nil).
-- Returns the object and whether it changed.
function Objects:update(res, namespace, name, object, options)
  local old = self:get(res, namespace, name)
  object = value.compact(object)
  kind_of(res, object)
  decode(res, object, options.validation or "Warn", options.warnings)
  object.metadata = object.metadata or {}
  if not object.metadata.name then
    error(status.bad_request("the name of the object (based on URL) was undeterminable: name must be provided"), 0)
  end
  local _ = resource_version_named(object)
  keep(res, old, object, options.subresource)
  if res.key == "/services" and not object.spec.clusterIP and old.spec.clusterIP then
    object.spec.clusterIP, object.spec.clusterIPs = old.spec.clusterIP, old.spec.clusterIPs
  end
  return commit(self, res, old, object, options, options.subresource)
end

--- Changes an object from inside: fn(copy) changes the copy (return false: leave it). options: manager, subresource.
-- Returns the object, or nil when it does not exist.
function Objects:modify(res, namespace, name, fn, options)
  local old = self.store:get(res.key, res.namespaced and namespace or nil, name)
  if not old then return nil end
  local new = value.copy(old)
  if fn(new) == false then return old, false end
  options = options or {}
  keep(res, old, new, options.subresource)
  return commit(self, res, old, new, options, options.subresource)
end

local function patched(res, old, kind, change, viewed)
  if kind == "application/json-patch+json" then return patch.json(viewed, change) end
  if kind == "application/merge-patch+json" then return patch.merge(viewed, change) end
  return patch.strategic(res.schema, viewed, change)
end

--- Patches an object. kind: the content type; change: the decoded body.
function Objects:patch(res, namespace, name, kind, change, options)
  local old = self:get(res, namespace, name)
  if kind == "application/strategic-merge-patch+json" and not res.builtin then
    error(status.unsupported_media("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"), 0)
  end
  local viewed = old
  if old.apiVersion ~= res.api_version then
    viewed = value.shallow(old)
    viewed.apiVersion = res.api_version
  end
  local wanted_version = kind ~= "application/json-patch+json" and value.get(change, "metadata", "resourceVersion")
  local new = value.compact(value.copy(patched(res, old, kind, change, viewed)))
  new.metadata = new.metadata or {}
  if wanted_version then new.metadata.resourceVersion = wanted_version end
  kind_of(res, new)
  decode(res, new, options.validation or "Warn", options.warnings)
  keep(res, old, new, options.subresource)
  if old.apiVersion ~= res.api_version then old = viewed end
  return commit(self, res, old, new, options, options.subresource)
end

local function typed(res, config)
  local unknown, bad, wanted, got = schema.inspect(res.schema, config)
  local words = { int64 = "numeric (int or float)", bool = "boolean", ["int-or-string"] = "string", quantity = "string",
    object = "map", string = "string", list = "list", map = "map" }
  local function fail(why)
    local m = config.metadata or {}
    local what = ("%s%s; %s, Kind=%s"):format(m.namespace and m.namespace .. "/" or "/", m.name or "", res.api_version, res.kind)
    error(status.new(500, nil, ("failed to create typed patch object (%s): %s"):format(what, why)), 0)
  end
  if #unknown > 0 then fail("." .. unknown[1] .. ": field not declared in schema") end
  if bad then fail((".%s: expected %s, got %s"):format(bad, words[wanted] or wanted, got)) end
  local function keyed(type_, v, path)
    if type(v) ~= "table" then return end
    if type_.is == "list" and (type_.keys or type_.set) then
      local seen = {}
      for i, item in ipairs(v) do
        local pe, missing = fieldset.element(type_, item, i)
        if not pe then
          fail(("%s: element %d: associative list with keys has an element that omits key field \"%s\" (and doesn't have default value)")
            :format(path, i - 1, missing))
        end
        if seen[pe] then fail(("%s: duplicate entries for key %s"):format(path, pe:sub(3))) end
        seen[pe] = true
        keyed(type_.of, item, path .. "[" .. i - 1 .. "]")
      end
    elseif type_.is == "object" then
      for name, item in pairs(v) do keyed(type_.fields[name] or schema.any, item, path .. "." .. name) end
    end
  end
  keyed(res.schema, config, "")
end

--- Server-side apply. options: manager, force, dry, user, subresource. Returns the object and whether it was created, changed.
function Objects:apply(res, namespace, name, config, options)
  config = value.compact(config)
  kind_of(res, config)
  config.metadata = config.metadata or {}
  local m = config.metadata
  if m.managedFields and #m.managedFields > 0 then error(status.bad_request("metadata.managedFields must be nil"), 0) end
  m.name = m.name or name
  if m.name ~= name then
    error(status.bad_request(("the name of the object (%s) does not match the name on the URL (%s)"):format(m.name, name)), 0)
  end
  if res.namespaced then
    if m.namespace and m.namespace ~= namespace then
      error(status.bad_request(("the namespace of the object (%s) does not match the namespace on the URL (%s)")
        :format(m.namespace, namespace)), 0)
    end
    m.namespace = namespace
  end
  typed(res, config)
  local encoding = validate.encoding(res, config)
  if encoding then error(handled(res, encoding), 0) end
  local wanted, uid = m.resourceVersion, m.uid
  m.resourceVersion, m.uid = nil, nil
  local old = self.store:get(res.key, m.namespace, name)
  local reset = {}
  if options.subresource == "status" then
    for k in pairs(config) do
      if k ~= "status" and k ~= "metadata" and k ~= "apiVersion" and k ~= "kind" then reset[#reset + 1] = "f:" .. k end
    end
  elseif res.subresources.status then
    reset[1] = "f:status"
  end
  local who = { manager = options.manager, apiVersion = res.api_version, subresource = options.subresource,
    force = options.force, reset = reset }
  if not old then
    if options.subresource then error(status.not_found(res, name), 0) end
    if uid then error(status.conflict(res, name, ("uid mismatch: the provided object specified uid %s, and no existing object was found"):format(uid)), 0) end
    local object = apply.apply(res.schema, nil, config, who)
    local managed = object.metadata.managedFields
    begin(res, object, { namespace = namespace })
    admission.create(self.cluster, res, object, options.user)
    fill(res, object)
    object.metadata.managedFields = managed
    check(res, object)
    return finish_create(self, res, object, options), true, true
  end
  if wanted and wanted ~= old.metadata.resourceVersion then error(status.modified(res, name), 0) end
  local live = old
  if res.key == "/secrets" and config.stringData then
    config.data = config.data or {}
    for k, text in pairs(config.stringData) do config.data[k] = crypto.base64(text) end
    config.stringData = nil
  end
  if old.apiVersion ~= res.api_version then
    live = value.shallow(old)
    live.apiVersion = res.api_version
  end
  local new = apply.apply(res.schema, live, config, who)
  new.metadata.uid, new.metadata.resourceVersion = nil, nil
  keep(res, live, new, options.subresource)
  local result, changed = commit(self, res, live, new,
    { applied = true, dry = options.dry, user = options.user }, options.subresource)
  return result, false, changed
end

local function pod_grace(pod, wanted)
  local grace = wanted or pod.spec.terminationGracePeriodSeconds or 30
  local phase = value.get(pod, "status", "phase")
  if not pod.spec.nodeName or phase == "Succeeded" or phase == "Failed" then return 0 end
  return grace
end

local function propagation_finalizers(m, policy)
  local list = value.filter(m.finalizers, function(f) return f ~= "orphan" and f ~= "foregroundDeletion" end)
  if policy == "Orphan" then list[#list + 1] = "orphan" elseif policy == "Foreground" then list[#list + 1] = "foregroundDeletion" end
  return #list > 0 and list or nil
end

--- Deletes an object, or marks it deleted while something holds it. options: grace, policy, preconditions, dry, user.
-- Returns the object and whether it is gone.
function Objects:delete(res, namespace, name, options)
  options = options or {}
  local old = self:get(res, namespace, name)
  local pre = options.preconditions or {}
  if pre.uid and pre.uid ~= old.metadata.uid then
    error(status.conflict(res, name, ("Precondition failed: UID in precondition: %s, UID in object meta: %s")
      :format(pre.uid, old.metadata.uid)), 0)
  end
  if pre.resourceVersion and pre.resourceVersion ~= old.metadata.resourceVersion then
    error(status.conflict(res, name, ("Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s")
      :format(pre.resourceVersion, old.metadata.resourceVersion)), 0)
  end
  admission.before_delete(self.cluster, res, old)
  local new = value.copy(old)
  local m = new.metadata
  if options.policy then m.finalizers = propagation_finalizers(m, options.policy) end
  if res.key == definitions.KEY and not m.deletionTimestamp and not value.contains(m.finalizers, definitions.FINALIZER) then
    m.finalizers = m.finalizers or json.array {}
    table.insert(m.finalizers, definitions.FINALIZER)
  end
  local grace = res.key == "/pods" and pod_grace(old, options.grace) or 0
  if m.deletionTimestamp then grace = math.min(grace, m.deletionGracePeriodSeconds or 0) end
  if res.key ~= "/namespaces" then m.deletionGracePeriodSeconds = grace end
  m.deletionTimestamp = m.deletionTimestamp and grace > 0 and m.deletionTimestamp or value.time(os.time() + grace)
  if res.generation and not old.metadata.deletionTimestamp then m.generation = (m.generation or 0) + 1 end
  if res.key == "/namespaces" then value.set(new, "status", "phase", "Terminating") end
  local gone = released(new)
  if options.dry then return old, gone end
  if gone then return self.store:remove(res.key, old.metadata.namespace, name), true end
  if not same(old, new) then self.store:put(res.key, new, self:seal(res, options)) end
  return new, false
end

return Objects
