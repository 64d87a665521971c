--- Credentials of all kinds, good and bad.
local support = require "support"
local crypto, fs, json = require "crypto", require "fs", require "json"
local kubeconfig, objects, proxy = require "kubernetes.kubeconfig", require "kubernetes.objects", require "proxy"
local task = require "task"
local case, connect, failure, space = support.case, support.connect, support.failure, support.space

-- Credentials.

-- What a user who was just let in may: the server's view of roles is a little behind.
local function allowed(api, ns)
  local ok, result
  for _ = 1, 50 do
    ok, result = pcall(api.list, api, "v1", "ConfigMap", { namespace = ns })
    if ok or result.code ~= "Forbidden" then break end
    task.sleep(0.1)
  end
  if not ok then error(result, 0) end
  return true
end

case("a kubeconfig with a client certificate", function(t, lab)
  local api = connect(kubeconfig.parts(lab:kubeconfig()))
  t.ok(#api:list("v1", "Namespace") >= 4)
  local dir = t.tmp()
  local made = lab:certificate("admin", { "system:masters" })
  for name, text in pairs { crt = made.cert, key = made.key, ca = lab.authority.cert } do assert(fs.write(dir .. "/" .. name,
    text)) end
  local files = { ["certificate-authority"] = dir .. "/ca", ["certificate-authority-data"] = "" }
  api = connect(kubeconfig.parts(lab:kubeconfig({ ["client-certificate"] = dir .. "/crt", ["client-key"] = dir .. "/key" },
    files)))
  t.ok(#api:list("v1", "Namespace") >= 4, "by files")
  local err = failure(t, "names a file by a relative path: crt", kubeconfig.parts,
    lab:kubeconfig { ["client-certificate"] = "crt" })
  t.has(err.hint, "flatten")
  failure(t, "names a file that cannot be read", kubeconfig.parts, lab:kubeconfig { ["client-certificate"] = dir .. "/none" })
  failure(t, "has no usable context 'other'", kubeconfig.parts, lab:kubeconfig(), "other")
end)

case("a kubeconfig with a token, and with a token in a file", function(t, lab)
  local admin = connect(lab:parts())
  local ns = space(admin)
  local token = support.robot(admin, ns)
  t.ok(allowed(connect(kubeconfig.parts(lab:kubeconfig { token = token() })), ns))
  local path = t.tmp() .. "/token"
  assert(fs.write(path, "old and over\n"))
  local api = connect(kubeconfig.parts(lab:kubeconfig { tokenFile = path }))
  t.eq(failure(t, "Unauthorized", api.list, api, "v1", "ConfigMap", { namespace = ns }).code, "Unauthorized")
  api = connect(kubeconfig.parts(lab:kubeconfig { tokenFile = path }))
  assert(fs.write(path, token() .. "\n"))
  t.ok(allowed(api, ns), "the file is read again when the server refuses what it had")
end)

-- A plugin that counts its runs: a program of `sh` with a script.
local function plugin(dir, script)
  return { exec = { apiVersion = "client.authentication.k8s.io/v1", command = "/bin/sh", args = json.array { "-c", "echo run >>"
    .. dir .. "/runs; " .. script },
    interactiveMode = "IfAvailable", installHint = "get it from the shop" } }
end

local function runs(dir)
  local _, count = (fs.read(dir .. "/runs") or ""):gsub("run", "")
  return count
end

local function credential(status)
  return json.encode { apiVersion = "client.authentication.k8s.io/v1", kind = "ExecCredential", status = status }
end

case("an exec plugin that gives a token", function(t, lab)
  local admin = connect(lab:parts())
  local ns, dir = space(admin), t.tmp()
  local token = support.robot(admin, ns)
  local answer = dir .. "/answer"
  assert(fs.write(answer, credential { token = token(), expirationTimestamp = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + 600) }))
  local api = connect(kubeconfig.parts(lab:kubeconfig(plugin(dir, "printf %s \"$KUBERNETES_EXEC_INFO\" >" .. dir
    .. "/info; cat " .. answer))))
  t.ok(allowed(api, ns))
  objects.all({ 1, 2, 3, 4, 5 }, function() api:list("v1", "ConfigMap", { namespace = ns }) end)
  t.eq(runs(dir), 1, "what it gave is kept")
  t.eq(json.decode(fs.read(dir .. "/info")), { apiVersion = "client.authentication.k8s.io/v1", kind = "ExecCredential",
    spec = { interactive = false } })
  -- What is refused is asked for once more, by all requests together.
  assert(fs.write(answer, credential { token = "over" }))
  api = connect(kubeconfig.parts(lab:kubeconfig(plugin(dir, "cat " .. answer))))
  assert(fs.write(answer, credential { token = token() }))
  objects.all({ 1, 2, 3, 4, 5 }, function() t.ok(allowed(api, ns)) end)
  t.eq(runs(dir), 3)
end)

case("an exec plugin is asked again before its token ends", function(t, lab)
  local admin = connect(lab:parts())
  local ns, dir = space(admin), t.tmp()
  local token = support.robot(admin, ns)
  assert(fs.write(dir .. "/answer", credential { token = token(), expirationTimestamp = os.date("!%Y-%m-%dT%H:%M:%S.5+00:00",
    os.time() + 4) }))
  local api = connect(kubeconfig.parts(lab:kubeconfig(plugin(dir, "cat " .. dir .. "/answer"))))
  t.ok(allowed(api, ns))
  assert(fs.write(dir .. "/answer", credential { token = token() }))
  task.sleep(3)
  t.ok(allowed(api, ns))
  t.ok(allowed(api, ns))
  t.eq(runs(dir), 2)
end)

case("an exec plugin that gives a certificate", function(t, lab)
  local dir = t.tmp()
  local made = lab:certificate("admin", { "system:masters" })
  assert(fs.write(dir .. "/answer", credential { clientCertificateData = made.cert, clientKeyData = made.key }))
  t.ok(#connect(kubeconfig.parts(lab:kubeconfig(plugin(dir, "cat " .. dir .. "/answer")))):list("v1", "Namespace") >= 4)
end)

case("an exec plugin that fails says what, and no secret", function(t, lab)
  local dir = t.tmp()
  local function fails(part, script, change)
    local user = plugin(dir, script)
    if change then change(user.exec) end
    return failure(t, part, kubeconfig.parts, lab:kubeconfig(user))
  end
  local err = fails("the kubeconfig's exec plugin 'sh' ended with exit code 3: please log in", "echo please log in >&2; exit 3")
  t.eq({ err.code, err.hint }, { "credential", "get it from the shop" })
  fails("printed no ExecCredential", "echo s3cr3t-output")
  fails("gave neither a token nor a certificate", "echo '" .. credential {} .. "'")
  fails("a certificate or a key without the other", "echo '" .. credential { clientCertificateData = "x" } .. "'")
  fails("gave a credential that expired at 2020-01-01T00:00:00Z", "echo '" .. credential { token = "s3cr3t",
    expirationTimestamp = "2020-01-01T00:00:00Z" } .. "'")
  fails("answered with client.authentication.k8s.io/v1, but the kubeconfig says client.authentication.k8s.io/v1beta1",
    "echo '" .. credential { token = "s3cr3t" } .. "'",
      function(exec) exec.apiVersion = "client.authentication.k8s.io/v1beta1" end)
  fails("speaks client.authentication.k8s.io/v1alpha1", "true",
    function(exec) exec.apiVersion = "client.authentication.k8s.io/v1alpha1" end)
  fails("must be run in a terminal", "true", function(exec) exec.interactiveMode = "Always" end)
  err = fails("cannot be run", "true", function(exec) exec.command = dir .. "/no-such-plugin" end)
  t.eq(err.hint, "get it from the shop")
end)

case("the server's certificate has expired, or is another's", function(t, lab)
  local ways <close> = proxy.faults(lab, lab:expired("proxy", nil, { "127.0.0.1" }))
  local api = connect(ways:parts(), 30)
  local began = task.now()
  local err = failure(t, "the server's certificate has expired", api.request, api, "GET", "/version")
  t.eq(err.code, "tls")
  local parts = lab:parts()
  parts.ca = crypto.x509_ca { cn = "other", days = 1 }.cert
  api = connect(parts, 30)
  err = failure(t, "signed by an authority that is not trusted here", api.request, api, "GET", "/version")
  t.has(err.hint, "certificate-authority")
  t.ok(task.now() - began < 5, "neither is tried again")
end)
