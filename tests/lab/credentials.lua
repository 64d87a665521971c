--- What a lab's server lets in: methods of both labs, the real server's and the emulated one's. A lab has `authority`
-- ({ cert =, key = }) and `url`.
local crypto, json, task, yaml = require "crypto", require "json", require "task", require "yaml"

local Credentials = {}

local SOON = 1e-6 -- days: over as soon as it is made

--- A client certificate of the cluster: cn, o (a list). Returns { cert =, key = }.
function Credentials:certificate(cn, o)
  return crypto.x509_issue { ca = self.authority, cn = cn, o = o, days = 1, usage = { "client" } }
end

--- A certificate that has expired, for a client or, with addresses, for a server.
function Credentials:expired(cn, o, ip)
  local made = crypto.x509_issue { ca = self.authority, cn = cn, o = o, ip = ip, days = SOON, usage = { ip
    and "server" or "client" } }
  task.sleep(1.1) -- certificates count in seconds
  return made
end

--- What a client needs: the administrator's, unless other credentials ({ cert =, key = } or { token = }) are given.
function Credentials:parts(given)
  self.admin = self.admin or self:certificate("admin", { "system:masters" })
  given = given or self.admin
  return { server = self.url, ca = self.authority.cert, cert = given.cert, key = given.key, token = given.token, proxy = "" }
end

--- A kubeconfig as text: the administrator's, unless another user's entry is given. Names of `cluster` are laid over its own.
function Credentials:kubeconfig(user, cluster)
  local parts = self:parts()
  local entry = { server = self.url, ["certificate-authority-data"] = crypto.base64(parts.ca) }
  for name, value in pairs(cluster or {}) do entry[name] = value end
  user = user or { ["client-certificate-data"] = crypto.base64(parts.cert), ["client-key-data"] = crypto.base64(parts.key) }
  return yaml.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "lab",
    clusters = json.array { { name = "lab", cluster = entry } }, users = json.array { { name = "lab", user = user } },
    contexts = json.array { { name = "lab", context = { cluster = "lab", user = "lab" } } } }
end

return Credentials
