--- What it takes to log in to a host: out of the fields of an ssh.host, and of the configuration files where it says so.
local agent, config, fail, fs = require "ssh.agent", require "ssh.config", require "fail", require "fs"
local keyring, log, process, ssh = require "ssh.keyring", require "log", require "process", require "ssh"

local M = {}

local function expand(path) return (path:gsub("^~/", config.home() .. "/")) end

-- --- whom it may be ---

local known = {} -- names of files -> { stamp =, lines = }

-- The same files are read once, as long as they do not change.
local function known_of(paths)
  local files, stamp = {}, {}
  for _, path in ipairs(paths) do
    local found = fs.stat(expand(path), { follow = true })
    stamp[#stamp + 1] = found and ("%d %s"):format(found.size, found.mtime) or "none"
  end
  local name, now = table.concat(paths, "\n"), table.concat(stamp, "\n")
  if known[name] and known[name].stamp == now then return known[name].lines end
  for _, path in ipairs(paths) do
    local text = fs.read(expand(path))
    if text then files[#files + 1] = { expand(path), text } end
  end
  local lines, count = ssh.known_hosts(files)
  if count == 0 then
    error(fail { "there is no host key in " .. table.concat(paths, ", "), code = "hostkey",
      hint = "compare the host's fingerprint with its console, then add its key to one of them" })
  end
  known[name] = { stamp = now, lines = lines }
  return lines
end

-- --- with what ---

local function agent_keys(path, wanted)
  if not path then
    if not wanted then return {} end
    error(fail { "there is no ssh-agent: SSH_AUTH_SOCK is not set", code = "key", hint = "eval $(ssh-agent) && ssh-add" })
  end
  local keys, message = agent.keys(path)
  if keys and (#keys > 0 or not wanted) then return keys end
  if wanted then
    error(fail { message or ("the ssh-agent at %s has no keys"):format(path), code = "key", hint = "ssh-add" })
  end
  log.info("%s", message)
  return {}
end

-- What the configuration has: files that need no passphrase, and those that do.
local function config_files(told)
  local files = {}
  for _, path in ipairs(told.identity_files) do
    if fs.stat(path, { follow = true }) then
      local ok, text = pcall(keyring.read, path)
      if ok then
        files[#files + 1] = { path = path, text = text, blob = keyring.blob_of(path, text),
          private = text:find("PRIVATE KEY", 1, true) }
      else
        log.warn("%s; it is left out", text.message)
      end
    else
      local line = fs.read(path .. ".pub") -- of a key that only the agent has
      if line then files[#files + 1] = { path = path, blob = keyring.blob_of(path, line) } end
    end
  end
  return files
end

local function signer(path, key)
  return { blob = key.blob, name = key.name, sign = function(data) return agent.sign(path, key, data) end }
end

-- Those of the agent that the files name come first, as with ssh.
local function ordered(keys, files, only)
  local named, list = {}, {}
  for i, file in ipairs(files) do if file.blob then named[file.blob] = i end end
  for _, key in ipairs(keys) do if named[key.blob] or not only then list[#list + 1] = key end end
  local place = {}
  for i, key in ipairs(list) do place[key] = named[key.blob] or #files + i end
  table.sort(list, function(a, b) return place[a] < place[b] end)
  return list
end

--- What there is to log in with: { identities = (for ssh.connect), keys = (that are ours), agent = (another's socket), locked =
-- (key files that nobody has opened yet), file = (of a key that only a device and ssh can use), others = (names of the agent's
-- keys that only ssh can use) }. `unlock`: asks for those too.
function M.means(host, told, unlock)
  local means = { identities = {}, keys = {}, locked = {}, others = {} }
  local files, has = told and config_files(told) or {}, {}

  local function add(key)
    if has[key:blob()] then return end
    has[key:blob()] = true
    means.keys[#means.keys + 1], means.identities[#means.identities + 1] = key, key
  end

  for _, name in ipairs { "key", "passphrase" } do
    if type(host[name]) == "table" then -- of a host that only the state knows
      error(fail { ("the host's %s is a secret, which no state keeps"):format(name), code = "key",
        hint = "it takes a recipe that declares the host" })
    end
  end
  if host.key then add(keyring.open(host.key, host.passphrase)) end
  if host.key_file then
    local path = expand(host.key_file)
    local text = keyring.read(path)
    if host.transport == "openssh" and keyring.is_hardware(text) then
      means.file = path
    else
      add(keyring.open(text, host.passphrase, path))
    end
  end
  local socket = host.agent and process.env("SSH_AUTH_SOCK") or told and told.agent
  if host.agent or told then
    local keys = ordered(agent_keys(socket, host.agent), files, told and told.identities_only)
    if #keys > 0 then means.agent = socket end
    for _, key in ipairs(keys) do
      if not key.plain then
        means.others[#means.others + 1] = key.name
      elseif not has[key.blob] then
        has[key.blob] = true
        means.identities[#means.identities + 1] = signer(socket, key)
      end
    end
  end
  for _, file in ipairs(files) do
    if file.private and not (file.blob and has[file.blob]) then
      local key = keyring.open_silently(file.text) or unlock and keyring.open(file.text, nil, file.path)
      if key then add(key) else means.locked[#means.locked + 1] = file.path end
    end
  end
  return means
end

-- --- where ---

-- A jump host of the configuration, as if it were an ssh.host; the ones before it lead to it.
local function jump_host(jumps, count, host)
  local jump = jumps[count]
  return { address = jump.address, port = jump.port, user = jump.user, config = host.config, transport = host.transport,
    via = count > 1 and jump_host(jumps, count - 1, host) or nil }
end

-- `Host *` may send the jump host itself through the jump host.
local function leads_to_itself(jumps, host)
  return #jumps == 1 and jumps[1].address == host.address
end

--- The files of known hosts by their full names, or nil.
function M.files(paths)
  if not paths then return nil end
  local files = {}
  for i, path in ipairs(paths) do files[i] = expand(path) end
  return files
end

--- The configuration that a host is looked up in: true (the person's and the system's), or a file.
function M.config_file(host)
  return type(host.config) == "string" and expand(host.config) or true
end

local function told_of(host)
  local file = M.config_file(host)
  return config.of(host.address, { file = file ~= true and file or nil, user = host.user, port = host.port })
end

--- As whom and where one logs in to a host: user, port.
function M.place(host)
  if not host.config then return host.user or "root", host.port or 22 end
  local told = told_of(host)
  return told.user, told.port
end

--- The name that known_hosts files have for a host.
function M.name_of_key(address, port)
  return port == 22 and address or ("[%s]:%d"):format(address, port)
end

--- How a host is reached: { address, port, user, known_as, host_keys (for ssh.connect), via (a host or nil), told = (of the
-- configuration, or nil) }. Raises failures.
function M.way(host)
  if not host.config then
    if not (host.host_keys or host.known_hosts or host.transport == "openssh") then
      -- What it lived on goes, and what comes in its place has no keys yet.
      error(fail { ("%s: no key of the host is known"):format(host.address), code = "unreachable" })
    end
    return { address = host.address, port = host.port or 22, user = host.user or "root", via = host.via,
      host_keys = host.host_keys or host.transport ~= "openssh" and known_of(host.known_hosts) or nil }
  end
  local told = told_of(host)
  local way = { address = told.hostname, port = told.port, user = told.user, known_as = told.known_as, told = told,
    via = host.via, host_keys = host.host_keys }
  if host.transport == "openssh" then return way end
  if told.proxy_command and not host.via then
    error(fail { ("the configuration has a ProxyCommand for %s, which only ssh itself can run"):format(host.address),
      code = "config", hint = "say transport = \"openssh\"" })
  end
  if told.jumps and not way.via and not leads_to_itself(told.jumps, host) then
    way.via = jump_host(told.jumps, #told.jumps, host)
  end
  way.host_keys = way.host_keys or known_of(host.known_hosts or told.known_hosts)
  return way
end

return M
