--- The keys in the encryption.yaml of control planes, and which step of a rotation comes next. Any API server writes with the
-- first key of its file and reads with all of them, so in each step all of them can read what any of them writes.
local crypto, json, yaml = require "crypto", require "json", require "yaml"

local M = {}

M.FILE = "/etc/kubernetes/encryption.yaml"

local BYTES = 32

--- The text of a file with these keys ({ name, secret } each), the one that writes first.
function M.encode(keys)
  local list = json.array {}
  for i, key in ipairs(keys) do list[i] = { name = key.name, secret = key.secret } end
  return yaml.encode { apiVersion = "apiserver.config.k8s.io/v1", kind = "EncryptionConfiguration", resources = json.array {
    { resources = json.array { "secrets" }, providers = json.array { { secretbox = { keys = list } }, { identity = {} } } } } }
end

local function size(list) return type(list) == "table" and #list or 0 end

--- The keys of a file's text; nil for one that encode() does not write.
function M.decode(text)
  local document = yaml.decode(text)
  local resources = type(document) == "table" and document.resources
  local first = size(resources) == 1 and resources[1]
  local providers = type(first) == "table" and first.providers
  local box = size(providers) == 2 and type(providers[1]) == "table" and providers[1].secretbox
  if size(first and first.resources) ~= 1 or first.resources[1] ~= "secrets" or type(box) ~= "table" or size(box.keys) == 0
    or type(providers[2]) ~= "table" or not providers[2].identity then
    return nil
  end
  local keys = {}
  for i, key in ipairs(box.keys) do
    if type(key.name) ~= "string" or type(key.secret) ~= "string" then return nil end
    keys[i] = { name = key.name, secret = key.secret }
  end
  return keys
end

--- Why a text cannot be a key; nil when it can.
function M.flaw(secret)
  local bytes = crypto.unbase64(secret or "")
  if not bytes or #bytes ~= BYTES then return ("it is not %d bytes in base64"):format(BYTES) end
end

local function has(keys, wanted)
  for _, key in ipairs(keys) do if key.secret == wanted.secret then return true end end
  return false
end

-- All keys of all hosts, those of the first host in their order first.
local function all_of(hosts)
  local list = {}
  for _, host in ipairs(hosts) do
    for _, key in ipairs(host.keys or {}) do if not has(list, key) then list[#list + 1] = key end end
  end
  return list
end

--- What is in the way, whatever the step: two keys of one name, of which the API server finds one; files that say something else.
-- Returns why and a hint; nil when nothing is. target.secret may be nil: not known yet.
function M.objection(hosts, target)
  local by_name = {}
  for _, host in ipairs(hosts) do
    if not host.text then
      return ("%s has no %s"):format(host.name, M.FILE), "copy it from another control plane"
    elseif not host.keys then
      return ("%s of %s is not as vmrun writes it: its keys are not ours to rotate"):format(M.FILE, host.name),
        "make it as it is on the other control planes, or rotate by hand"
    end
    for _, key in ipairs(host.keys) do
      if by_name[key.name] and by_name[key.name] ~= key.secret then
        return ("two control planes have different keys of the name %s"):format(key.name),
          "make " .. M.FILE .. " the same on all of them"
      end
      by_name[key.name] = key.secret
    end
  end
  if by_name[target.name] and by_name[target.name] ~= target.secret then
    return ("the control planes have another key of the name %s than the one that is given"):format(target.name),
      "what is encrypted could not be read with it: give the new key a name of its own (encryption_key), or the old one back"
  end
end

--- The target under the name that it has on the hosts already, which is part of all that it encrypted.
function M.named(hosts, target)
  for _, key in ipairs(all_of(hosts)) do if key.secret == target.secret then return key end end
  return target
end

--- Whether all hosts have the target and nothing else, and their API servers know. Its secret may be nil: then by its name.
function M.is_done(hosts, target)
  for _, host in ipairs(hosts) do
    local only = host.keys and #host.keys == 1 and host.keys[1]
    local same = only and (target.secret and only.secret == target.secret or not target.secret and only.name == target.name)
    if not same or host.loading then return false end
  end
  return true
end

local function with(keys, more)
  local list = table.move(keys, 1, #keys, 1, {})
  for _, key in ipairs(more) do if not has(list, key) then list[#list + 1] = key end end
  return list
end

local function step(action, host, keys) return { action = action, host = host, keys = keys } end

local function add_missing(hosts, all)
  for _, host in ipairs(hosts) do
    local keys = with(host.keys, all)
    if #keys > #host.keys then return step("add", host, keys) end
  end
end

--- The next step, by what the hosts have now: { action, host, keys (those that its file gets) }. Actions: "load" (an API server
-- is to read the file that is there), "add", "first", "count" (asked again with what it finds), "rewrite", "remove", "done".
-- hosts: { name, keys, loading (was the API server not yet started with the file?) }; target: { name, secret }; stale: how many
-- Secrets in etcd are not encrypted with the target, nil when that was not counted since the last step. There must be no
-- objection.
function M.next(hosts, target, stale)
  target = M.named(hosts, target)
  if M.is_done(hosts, target) then return step "done" end
  local all, pending = with(all_of(hosts), { target }), nil
  for _, host in ipairs(hosts) do
    if host.loading then
      local keys = with(host.keys, all)
      if #keys == #host.keys or stale == 0 then return step("load", host, host.keys) end
      -- It may lack what it takes to start.
      return stale and step("add", host, keys) or step "count"
    end
  end
  for _, host in ipairs(hosts) do
    if host.keys[1].secret ~= target.secret then pending = pending or host end
  end
  if pending then
    -- What a single API server writes nobody else reads.
    return #hosts > 1 and add_missing(hosts, all) or step("first", pending, with({ target }, all))
  end
  if not stale then return step "count" end
  if stale > 0 then return add_missing(hosts, all) or step "rewrite" end
  for _, host in ipairs(hosts) do if #host.keys > 1 then return step("remove", host, { target }) end end
end

local refused = {} -- endpoint -> { why, hint }: what a plan has found in the way of a rotation

--- Keeps what is in the way of a cluster's rotation, or nil; `refusal` gives it to who judges the plan.
function M.refuse(endpoint, refusal) refused[endpoint] = refusal end

function M.refusal(endpoint) return refused[endpoint] end

return M
