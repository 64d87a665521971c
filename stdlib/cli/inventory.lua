--- `vmrun inventory`: the hosts of a stack for Ansible (YAML) or ssh (ssh_config).
local fail, hosts, json, yaml = require "fail", require "cli.hosts", require "json", require "yaml"

local M = {}

local function ansible(session, list)
  local all, children = {}, {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    local vars = { ansible_host = address, ansible_port = port, ansible_user = host.user }
    if host.via then
      local jump, jump_port = hosts.reach(session, host.via)
      vars.ansible_ssh_common_args = ("-o ProxyJump=%s@%s:%d"):format(host.via.user, jump, jump_port)
    end
    all[host.name] = vars
    for _, group in ipairs(host.groups) do
      children[group] = children[group] or { hosts = {} }
      children[group].hosts[host.name] = {}
    end
  end
  local inventory = { all = { hosts = all } }
  if next(children) then inventory.all.children = children end
  return inventory
end

local function ssh_config(session, list)
  local lines = {}
  for _, host in ipairs(list) do
    local address, port = hosts.reach(session, host)
    lines[#lines + 1] = "Host " .. host.name
    lines[#lines + 1] = "  HostName " .. address
    lines[#lines + 1] = "  Port " .. port
    lines[#lines + 1] = "  User " .. host.user
    if host.via then lines[#lines + 1] = "  ProxyJump " .. host.via.name end
    lines[#lines + 1] = ""
  end
  return table.concat(lines, "\n")
end

function M.run(call)
  local session, args = call.session, call.args
  local list, format = hosts.list(session), args.format or "ansible"
  if format == "ssh" then return { text = ssh_config(session, list) } end
  if format ~= "ansible" then
    error(fail { ("--format is ansible or ssh, not '%s'"):format(format), code = "usage" })
  end
  local inventory = ansible(session, list)
  return { text = args.json and json.encode(inventory, { indent = 2, sort = true }) or yaml.encode(inventory) }
end

return M
