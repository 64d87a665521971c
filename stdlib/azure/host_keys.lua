--- A machine's SSH host keys, fetched once over Azure's run-command: an authenticated channel, so that the first
-- connection trusts nobody by chance. Pinned in the state; a machine replaced (another vm id) is asked again.
local arm, field, fail = require "azure.arm", require "field", require "fail"
local kind = require "kind"

local API = "2025-04-01"
local SCRIPT = "cat /etc/ssh/ssh_host_*_key.pub"

local function fetch(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local body = client:post(f.machine_id, "runCommand", API,
    { commandId = "RunShellScript", script = { SCRIPT } }, { ctx = ctx })
  local text = body and body.value and body.value[1] and body.value[1].message or ""
  local lines = {}
  for key_type, key in text:gmatch("([%w-]+)%s+(AAAA[%w+/=]+)") do lines[#lines + 1] = key_type .. " " .. key end
  if #lines == 0 then
    error(fail { "run-command on " .. f.machine_id .. " showed no host key", code = "hostkey",
      hint = "is the machine running, and its agent ready?" })
  end
  table.sort(lines)
  return { outputs = { id = f.machine_id .. "/hostKeys", lines = lines } }
end

return kind "azure.host_keys" {
  doc = "A machine's SSH host keys, over Azure's run-command.", provider = "azure", writes = false,
  fields = {
    machine_id = field.string { required = true, replace = true, doc = "The ARM id of the machine or instance." },
    vm_id = field.string { replace = true, doc = "Azure's own id of the machine: another one means other keys." },
  },
  outputs = { id = field.string {}, lines = field.list { field.string {}, doc = "Public host key lines." } },
  identity = function(f) return f.machine_id and (f.machine_id .. "/hostKeys") end,
  read = function(ctx)
    if not (ctx.prior and ctx.prior.outputs and ctx.prior.outputs.lines) then return nil end
    return { outputs = ctx.prior.outputs }
  end,
  create = fetch, update = fetch,
  delete = function() end,
}
