--- `vmrun inventory`: the hosts of a stack for other tools: `ansible` (JSON, which Ansible's yaml plugin reads), `ssh` (an
-- ssh_config) or `known_hosts`. No secret is in any of them; --identity names the file of a private key.
local fail, hosts, json = require "fail", require "cli.hosts", require "json"
local quote = require("host.shell").quote

local M = {}

local function bracketed(address, port)
  return port == 22 and address or ("[%s]:%d"):format(address, port)
end

-- Ansible's groups are words.
local function group_name(group) return (group:gsub("[^%w_]", "_"):gsub("^(%d)", "_%1")) end

local function ansible(session, list, identity)
  local all, children = {}, {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local vars = { ansible_host = address, ansible_port = port, ansible_user = host.user, ansible_ssh_private_key_file = identity }
    if host.user ~= "root" then vars.ansible_become = true end
    if host.via then
      local jump, jump_port = hosts.reach(session, host.via)
      vars.ansible_ssh_common_args = ("-o ProxyJump=%s@%s:%d"):format(host.via.user, jump, jump_port)
    end
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

-- The host's keys are in the configuration itself: a command that prints them, under the host's alias.
local function keys_command(host)
  local words = {}
  for i, line in ipairs(host.host_keys) do words[i] = quote(host.name .. " " .. line:match("^%S+%s+%S+")) end
  return ("/usr/bin/printf '%%%%s\\n' %s"):format((table.concat(words, " "):gsub("%%", "%%%%")))
end

local function ssh_config(session, list, identity)
  local lines = {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local function add(key, value) lines[#lines + 1] = ("  %s %s"):format(key, value) end
    lines[#lines + 1] = "Host " .. host.name
    add("HostName", address)
    add("Port", port)
    add("User", host.user)
    if host.via then add("ProxyJump", host.via.name) end
    if identity then
      add("IdentityFile", identity)
      add("IdentitiesOnly", "yes")
    end
    add("HostKeyAlias", host.name)
    if #host.host_keys > 0 then
      add("KnownHostsCommand", keys_command(host))
      add("UserKnownHostsFile", "/dev/null")
      add("GlobalKnownHostsFile", "/dev/null")
      add("StrictHostKeyChecking", "yes")
    end
    lines[#lines + 1] = ""
  end
  return table.concat(lines, "\n")
end

local function known_hosts(session, list)
  local lines = {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    for _, line in ipairs(host.host_keys) do
      lines[#lines + 1] = bracketed(address, port) .. " " .. line:match("^%S+%s+%S+")
    end
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
