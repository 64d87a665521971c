--- `vmrun inventory`: the hosts of a stack for other tools: `ansible` (JSON, which Ansible's yaml plugin reads), `ssh` (an
-- ssh_config) or `known_hosts`. No secret is in any of them; --identity names the file of a private key.
local config, key_line, login = require "ssh.config", require "ssh.key_line", require "ssh.login"
local fail, hosts, json = require "fail", require "cli.hosts", require "json"
local quote = require("host.shell").quote

local M = {}

-- Ansible's groups are words.
local function group_name(group) return (group:gsub("[^%w_]", "_"):gsub("^(%d)", "_%1")) end

-- The lines that a known_hosts file has for a host; `name` where a line says none.
local function known_lines(host, name)
  local lines = {}
  for _, line in ipairs(host.host_keys) do
    local parts = key_line.parse(line)
    if parts then lines[#lines + 1] = key_line.text(parts, name) end
  end
  return lines
end

-- The host's keys are in the configuration itself: a command that prints them.
local function keys_command(host)
  local words = {}
  for i, line in ipairs(known_lines(host, "*")) do words[i] = quote(line) end
  return ("/usr/bin/printf '%%%%s\\n' %s"):format((table.concat(words, " "):gsub("%%", "%%%%")))
end

local function identity_of(host, identity) return identity or host.key_file end

-- How ssh verifies a host: what the recipe knows, or the person's own files.
local function trust(session, host)
  local options
  if #host.host_keys > 0 then
    options = { "KnownHostsCommand=" .. keys_command(host), "UserKnownHostsFile=/dev/null" }
  elseif host.known_hosts then
    options = { "UserKnownHostsFile=" .. config.all_quoted(host.known_hosts) }
  else
    return {}
  end
  if hosts.reach(session, host) ~= host.address then -- it is the host's key, wherever the connection goes
    table.insert(options, 1, "HostKeyAlias=" .. login.name_of_key(host.address, host.port))
  end
  for _, option in ipairs { "GlobalKnownHostsFile=/dev/null", "VerifyHostKeyDNS=no", "StrictHostKeyChecking=yes" } do
    options[#options + 1] = option
  end
  return options
end

local function quoted(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = quote(word) end
  return table.concat(list, " ")
end

local function options_of(session, host, identity)
  local words = {}
  for _, option in ipairs(trust(session, host)) do table.move({ "-o", option }, 1, 2, #words + 1, words) end
  if type(host.config) == "string" then table.move({ "-F", host.config }, 1, 2, #words + 1, words) end
  if not host.via then return words end
  -- Not ProxyJump: that way nobody would tell the jump host's ssh of its key and of whom to trust.
  local jump = host.via
  local address, port = hosts.reach(session, jump)
  local proxy = { "ssh" }
  for _, word in ipairs(options_of(session, jump, identity)) do proxy[#proxy + 1] = (word:gsub("%%", "%%%%")) end
  if identity_of(jump, identity) then
    table.move({ "-o", "IdentitiesOnly=yes", "-i", identity_of(jump, identity) }, 1, 4, #proxy + 1, proxy)
  end
  if not jump.config or jump.given.port then table.move({ "-p", tostring(port) }, 1, 2, #proxy + 1, proxy) end
  if not jump.config or jump.given.user then table.move({ "-l", jump.user }, 1, 2, #proxy + 1, proxy) end
  table.move({ "-W", "%h:%p", address }, 1, 3, #proxy + 1, proxy)
  words[#words + 1], words[#words + 2] = "-o", "ProxyCommand=" .. quoted(proxy)
  return words
end

local function ansible(session, list, identity)
  local all, children = {}, {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local of_config = host.config ~= nil
    local vars = { ansible_host = address, ansible_ssh_private_key_file = identity_of(host, identity) }
    if not of_config or host.given.port then vars.ansible_port = port end
    if not of_config or host.given.user then vars.ansible_user = host.user end
    if host.user ~= "root" then vars.ansible_become = true end
    local options = quoted(options_of(session, host, identity))
    if options ~= "" then vars.ansible_ssh_common_args = options end
    all[host.name] = vars
    for _, group in ipairs(host.groups) do
      local name = group_name(group)
      children[name] = children[name] or { hosts = {} }
      children[name].hosts[host.name] = {}
    end
  end
  local inventory = { all = { hosts = all } }
  if next(children) then inventory.all.children = children end
  return json.encode(inventory, { indent = 2, sort = true })
end

local function ssh_config(session, list, identity)
  local lines = {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local function add(key, value) lines[#lines + 1] = ("  %s %s"):format(key, value) end
    lines[#lines + 1] = "Host " .. host.name
    add("HostName", address)
    if not host.config or host.given.port then add("Port", port) end
    if not host.config or host.given.user then add("User", host.user) end
    if host.via then add("ProxyJump", host.via.name) end
    if identity_of(host, identity) then
      add("IdentityFile", config.quoted(identity_of(host, identity)))
      add("IdentitiesOnly", "yes")
    end
    for _, option in ipairs(trust(session, host)) do add(option:match("^(%w+)=(.*)$")) end
    lines[#lines + 1] = ""
  end
  return table.concat(lines, "\n")
end

local function known_hosts(session, list)
  local lines = {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local known = known_lines(host, login.name_of_key(address, port))
    table.move(known, 1, #known, #lines + 1, lines)
  end
  return table.concat(lines, "\n")
end

local FORMATS = { ansible = ansible, ssh = ssh_config, known_hosts = known_hosts }

function M.run(call)
  local session, args = call.session, call.args
  local format = FORMATS[args.format or "ansible"]
  if not format then
    error(fail { ("--format is ansible, ssh or known_hosts, not '%s'"):format(args.format), code = "usage" })
  end
  local list = hosts.list(session)
  if #list == 0 then io.stderr:write(("stack '%s' has no hosts\n"):format(session.stack)) end
  return { text = format(session, list, args.identity) }
end

return M
