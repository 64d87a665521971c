--- A host that is reached over SSH. Nothing is made: applying it waits until the host answers with one of its keys.
local connection = require "host.connection"
local fail, field, kind = require "fail", require "field", require "kind"
local login = require "ssh.login"

local function outputs(f, conn)
  local user, port = login.place(f)
  return { host_key = conn:host_key(), user = user, port = port }
end

-- Ends a little before the step's deadline, so that what the host said last is the error.
local function wait(ctx)
  return connection.wait(ctx.target, ctx.fields, ctx.seconds * 0.9, function(text) ctx:progress(text) end)
end

local function has_any(f, ...)
  for _, name in ipairs { ... } do
    if f[name] ~= nil and f[name] ~= false then return true end
  end
  return false
end

-- A recipe says how; only `config = true` lets the files of the person who runs it have a word.
local function check(f, problem)
  if f.config ~= nil and type(f.config) ~= "boolean" and type(f.config) ~= "string" then
    problem("config", "'config' wants true, or the name of a file")
  end
  if not has_any(f, "config", "key", "key_file", "agent") then
    problem("key", "needs 'key', 'key_file', 'agent' or 'config': something to log in with")
  end
  if not has_any(f, "config", "host_keys", "known_hosts") then
    problem("host_keys", "needs 'host_keys', 'known_hosts' or 'config': a host's key is always verified")
  end
  if f.certificate ~= nil and f.transport ~= "openssh" then
    problem("certificate", "'certificate' needs transport = \"openssh\"")
  end
end

return kind "ssh.host" {
  doc = "A host that is reached over SSH: directly, or through other hosts.",
  fields = {
    name = field.string { default_name = true, ignore = true, doc = "What people call it: `vmrun ssh RECIPE NAME`." },
    hostname = field.string { ignore = true, doc = "The host's own name, where it differs." },
    address = field.string { required = true, replace = true, doc = "An address or a name; with `config`, as one tells ssh." },
    port = field.integer { min = 1, max = 65535, doc = "22, or what `config` says." },
    user = field.string { doc = "Who logs in: root, or what `config` says; roles use `sudo -n` when it is not root." },
    key = field.secret { doc = "The private key: OpenSSH or PEM." },
    key_file = field.string { doc = "The file of the private key, read where vmrun runs; nobody else may read it." },
    passphrase = field.secret { doc = "Opens the private key; without it a person at a terminal is asked, once." },
    agent = field.boolean { ignore = true, doc = "Lets the ssh-agent of SSH_AUTH_SOCK sign, instead of a key or beside it." },
    certificate = field.string { ignore = true, doc = "A user certificate for the key, its line (transport = \"openssh\")." },
    host_keys = field.list { field.string {}, min = 1, replace = true,
      doc = "Public key lines, one of which the host must show." },
    known_hosts = field.list { field.string {}, min = 1, ignore = true,
      doc = "Instead: known_hosts files that have the host's key." },
    config = field.any { ignore = true, doc = "true: HostName, User, Port, IdentityFile, ProxyJump, UserKnownHostsFile come " ..
      "from ~/.ssh/config and /etc/ssh/ssh_config where the recipe does not say; or the name of a file instead of these." },
    transport = field.choice { "libssh2", "openssh", ignore = true,
      doc = "libssh2 unless said; `openssh` is the system's ssh, for hosts and keys that libssh2 cannot serve." },
    via = field.resource { "ssh.host", ignore = true, doc = "A host to jump through." },
    groups = field.list { field.string {}, ignore = true, doc = "Groups of the inventory." },
  },
  outputs = {
    host_key = field.string { doc = "The key that the host showed." },
    user = field.string { doc = "Who logs in." },
    port = field.integer { doc = "Where it listens." },
  },
  timeouts = { read = 30, create = 600, update = 600 },
  check = check,
  identity = function(f)
    if not f.address then return nil end
    return ("%s@%s:%s"):format(f.user or f.config and "" or "root", f.address, f.port or f.config and "" or 22)
  end,
  predict = function(f)
    if f.config then return { user = f.user, port = f.port } end
    return { user = f.user or "root", port = f.port or 22 }
  end,
  read = function(ctx)
    if next(ctx.unknown or {}) then
      return ctx.prior and { outputs = ctx.prior.outputs } or nil
    end
    -- Without a record it was never waited for; it may be still starting, and creating it is just that wait.
    if not ctx.prior then return nil end
    if connection.later then return { fields = ctx.fields, outputs = ctx.prior.outputs } end
    return { fields = ctx.fields, outputs = outputs(ctx.fields, connection.open(ctx.target, ctx.fields, 15)) }
  end,
  create = function(ctx)
    return { outputs = outputs(ctx.fields, wait(ctx)) }
  end,
  update = function(ctx)
    connection.drop(ctx.fields)
    return { outputs = outputs(ctx.fields, wait(ctx)) }
  end,
  delete = function(ctx)
    if ctx.fields and ctx.fields.address then connection.drop(ctx.fields) end
  end,
  fail = fail,
}
