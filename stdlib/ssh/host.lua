--- A host that is reached over SSH. Nothing is made: applying it waits until the host answers with one of its keys.
local connection = require "host.connection"
local fail, field, kind = require "fail", require "field", require "kind"

local function outputs(conn)
  return { host_key = conn:host_key() }
end

-- Ends a little before the step's deadline, so that what the host said last is the error.
local function wait(ctx)
  return connection.wait(ctx.target, ctx.fields, ctx.seconds * 0.9, function(text) ctx:progress(text) end)
end

return kind "ssh.host" {
  doc = "A host that is reached over SSH: directly, or through other hosts.",
  fields = {
    name = field.string { default_name = true, ignore = true, doc = "What people call it: `vmrun ssh RECIPE NAME`." },
    hostname = field.string { ignore = true, doc = "The host's own name, where it differs." },
    address = field.string { required = true, replace = true, doc = "An address or a name." },
    port = field.integer { default = 22, min = 1, max = 65535 },
    user = field.string { default = "root", doc = "Who logs in; roles use `sudo -n` when it is not root." },
    key = field.secret { required = true, doc = "The private key: OpenSSH or PEM." },
    host_keys = field.list { field.string {}, required = true, min = 1, replace = true,
      doc = "Public key lines, one of which the host must show." },
    via = field.resource { "ssh.host", ignore = true, doc = "A host to jump through." },
    groups = field.list { field.string {}, ignore = true, doc = "Groups of the inventory." },
  },
  outputs = { host_key = field.string { doc = "The key that the host showed." } },
  timeouts = { read = 30, create = 600, update = 600 },
  identity = function(f) return f.address and f.user and ("%s@%s:%d"):format(f.user, f.address, f.port or 22) or nil end,
  read = function(ctx)
    if next(ctx.unknown or {}) then
      return ctx.prior and { fields = ctx.prior.fields, outputs = ctx.prior.outputs } or nil
    end
    -- Without a record it was never waited for; it may be still starting, and creating it is just that wait.
    if not ctx.prior then return nil end
    return { fields = ctx.fields, outputs = outputs(connection.open(ctx.target, ctx.fields, 15)) }
  end,
  create = function(ctx)
    return { outputs = outputs(wait(ctx)) }
  end,
  update = function(ctx)
    connection.drop(ctx.fields)
    return { outputs = outputs(wait(ctx)) }
  end,
  delete = function(ctx)
    if ctx.fields and ctx.fields.address then connection.drop(ctx.fields) end
  end,
  fail = fail,
}
