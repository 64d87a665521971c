--- What an ssh_config says of a host. ssh itself reads it (`ssh -G`), once a run: patterns, Include, Match, tokens and the order
-- of files are its own.
local fail, fs, log, process = require "fail", require "fs", require "log", require "process"

local M = {}

local TIME = 20                     -- seconds: a Match may run a program
local turn = require "ssh.turns"(8) -- an ssh each
local asking = require "together"()
local known = {}                    -- question -> what it says

local function words_of(text)
  local words = {}
  for word in text:gmatch("%S+") do words[#words + 1] = word end
  return words
end

--- The home folder, as ssh knows it.
function M.home() return process.env("HOME") or "/" end

-- A path of a configuration: ~, and the tokens and variables that ssh leaves for later. nil where a variable is not set: ssh
-- ignores such a path.
local function path_of(text, told)
  local tokens = { ["%"] = "%", d = M.home(), h = told.hostname, p = tostring(told.port), r = told.user, n = told.alias,
    u = process.env("USER") or process.env("LOGNAME") or "", k = told.known_as or told.hostname,
    i = fs.read("/proc/self/status"):match("\nUid:%s+(%d+)") }
  local parts, at = {}, 1
  while at <= #text do
    local plain, letter, name = text:match("^[^%%$]+", at), text:match("^%%(.)", at), text:match("^%${([%w_]+)}", at)
    local length = plain and #plain or letter and 2 or name and #name + 3 or 1
    parts[#parts + 1] = letter and tokens[letter] or name and process.env(name) or text:sub(at, at + length - 1)
    if name and not process.env(name) then
      log.warn("the configuration's %s is left out: %s is not set", text, name)
      return nil
    end
    at = at + length
  end
  return (table.concat(parts):gsub("^~/", M.home() .. "/"))
end

--- A path as a value of the configuration: what ssh would take for quotes, tokens and the end of a word means itself.
function M.quoted(path)
  path = path:gsub("%%", "%%%%")
  return path:find("[^%w%%/._+:@=,~-]") and '"' .. path:gsub('[\\"]', "\\%0") .. '"' or path
end

--- The same of several.
function M.all_quoted(paths)
  local words = {}
  for i, path in ipairs(paths) do words[i] = M.quoted(path) end
  return table.concat(words, " ")
end

local function paths_of(words, told)
  local paths = {}
  for _, word in ipairs(words) do
    if word ~= "none" then paths[#paths + 1] = path_of(word, told) end
  end
  return paths
end

-- user@host:port, each part but the host optional; [host]:port for addresses with colons.
local function jump_of(text)
  local user, rest = text:match("^(.*)@([^@]*)$")
  rest = (rest or text):gsub("^ssh://", "")
  local host, port = rest:match("^%[(.-)%]:?(%d*)$")
  if not host then host, port = rest:match("^([^:]+):?(%d*)$") end
  return { address = host or rest, port = math.tointeger(tonumber(port)), user = user and (user:gsub("^ssh://", "")) or nil }
end

local function agent_of(text, told)
  if text == nil or text == "SSH_AUTH_SOCK" then return process.env("SSH_AUTH_SOCK") end
  if text == "none" then return nil end
  local variable = text:match("^%$([%a_][%w_]*)$")
  return variable and process.env(variable) or path_of(text, told)
end

-- The last of a list is the nearest to the host.
local function jumps_of(text)
  if not text or text == "none" then return nil end
  local jumps = {}
  for one in text:gmatch("[^,]+") do jumps[#jumps + 1] = jump_of(one) end
  return jumps
end

local function read(alias, text)
  local one, identities = {}, {}
  for name, value in text:gmatch("(%S+) ([^\n]*)") do
    if name == "identityfile" then identities[#identities + 1] = value else one[name] = one[name] or value end
  end
  local told = { alias = alias, hostname = one.hostname or alias, user = one.user,
    port = math.tointeger(tonumber(one.port)) or 22 }
  if one.hostkeyalias and one.hostkeyalias ~= "none" then told.known_as = one.hostkeyalias end
  told.known_hosts = paths_of(words_of(one.userknownhostsfile or ""), told)
  for _, path in ipairs(paths_of(words_of(one.globalknownhostsfile or ""), told)) do table.insert(told.known_hosts, path) end
  told.identity_files = paths_of(identities, told)
  told.identities_only = one.identitiesonly == "yes"
  told.agent = agent_of(one.identityagent, told)
  told.jumps = jumps_of(one.proxyjump)
  told.proxy_command = one.proxycommand ~= "none" and one.proxycommand or nil
  told.known_hosts_command = one.knownhostscommand ~= "none" and one.knownhostscommand or nil
  return told
end

local function ask(alias, given)
  local argv = { "ssh", "-G" }
  local function add(option, value)
    if value then table.move({ option, tostring(value) }, 1, 2, #argv + 1, argv) end
  end
  add("-F", given.file)
  add("-l", given.user)
  add("-p", given.port)
  add("--", alias)
  local mine <close> = turn()
  local result, message, code = process.run { argv = argv, timeout = TIME }
  if not result then
    local missing = code == "not_found"
    error(fail { missing and "no ssh is installed here, which reads the configuration of hosts" or
      ("ssh did not say what its configuration has for '%s': %s"):format(alias, message), code = "config",
      hint = missing and "install OpenSSH's client, or write address, user, key and host_keys instead of `config`" or nil })
  end
  if result.code ~= 0 then
    local why = result.stderr:gsub("%s+$", "")
    error(fail { ("ssh cannot read its configuration for '%s': %s"):format(alias, why), code = "config" })
  end
  return read(alias, result.stdout)
end

--- What the configuration says of a host. Raises a failure of code "config".
-- @param alias the host, as a person names it for ssh
-- @param given file (instead of the person's and the system's), user, port (said otherwise)
-- @return {alias, hostname, port, user, known_as, known_hosts (files), identity_files, identities_only, agent (its socket), jumps
-- (a list of {address, port, user}, or nil), proxy_command, known_hosts_command}
function M.of(alias, given)
  local question = table.concat({ alias, given.file or "", given.user or "", given.port or "" }, "\n")
  known[question] = known[question] or asking(question, ask, alias, given)
  return known[question]
end

return M
