--- The emulator's machines: their life, what is real in them, the stand-ins and the roles that run on them.
local test = require "tap"
local connection = require "host.connection"
local crypto, fs, git, json, task = require "crypto", require "fs", require "git", require "json", require "task"
local lab = require "machines_lab"
local machines = lab.machines

local function ctx_of(fields)
  return { fields = fields, target = nil, address = "role", progress = function() end, output = function() end, record = function() end }
end

local function all(count, fn)
  local tasks = {}
  for i = 1, count do tasks[i] = task.spawn(fn, i) end
  for _, one in ipairs(tasks) do
    local ok, why = one:join()
    if not ok then error(why, 0) end
  end
end

test("ten machines at once are quick", function(t)
  local l = lab.open(t)
  l:machine "first"
  local began = task.now()
  all(10, function(i) l:machine("m" .. i) end)
  local took = task.now() - began
  print(("# ten machines: %.2f s"):format(took))
  t.ok(took < 3, "it took " .. took .. " s")
end)

test("a login, sudo, a jump, and a key that is not ours", function(t)
  local l = lab.open(t)
  local jump, behind = l:machine "jump", l:machine "behind"
  local conn <close> = setmetatable({ c = l:connect(jump) }, { __close = function(x) x.c:close() end })
  t.eq(conn.c:exec("hostname; id -un; sudo -n -u root -- sh -c 'id -u'").stdout, "jump\nroot\n0\n")
  local further = l:connect(behind, { via = conn.c })
  t.eq(further:exec("hostname").stdout, "behind\n")
  further:close()
  local other = crypto.keypair("ed25519")
  local got, message, code = require("ssh").connect { host = jump.address, port = 20022, user = "ops", key = other.private,
    host_keys = machines.host_keys(jump.id), timeout = 20 }
  t.err("auth", got, message, code)
end)

test("commands end where others are taken down meanwhile", function(t)
  local l = lab.open(t)
  local stays, goes = l:machine "stays", l:machine "goes"
  local over, done, lost = false, 0, 0
  local restarts = task.spawn(function()
    for _ = 1, 8 do
      l:sh(goes, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 60 & done >/dev/null 2>&1")
      machines.restart(goes.id)
    end
    over = true
  end)
  all(4, function()
    while not over and lost == 0 do
      local result = task.deadline(5, machines.run, stays.id, { "/bin/true" })
      done = done + 1
      if not result or result.code ~= 0 then lost = lost + 1 end
    end
  end)
  t.ok(restarts:join())
  t.eq(lost, 0, ("of %d commands, those whose end was never told"):format(done))
end)

test("commands find no signal blocked or ignored", function(t)
  local l = lab.open(t)
  local m = l:machine "m"
  local masks = "while read -r name mask; do case $name in SigBlk: | SigIgn:) echo $mask ;; esac; done </proc/self/status"
  t.eq(assert(machines.run(m.id, { "/bin/sh", "-c", masks })).stdout, ("0"):rep(16) .. "\n" .. ("0"):rep(16) .. "\n")
end)

test("what machines share of the system cannot be changed through one of them", function(t)
  local l = lab.open(t)
  local one, two = l:machine "one", l:machine "two"
  l:sh(one, "for f in $(find /etc/ssl/certs /etc/services /etc/ld.so.conf -type f); do echo changed >>$f; done; rm -rf /etc/alternatives")
  t.eq((l:sh(two, "grep -rl changed /etc/ssl/certs /etc/services /etc/ld.so.conf; ls /etc/alternatives | wc -l | grep -vx 0 >/dev/null || echo empty")), "")
  local third = l:machine "third"
  t.eq((l:sh(third, "grep -rl changed /etc/ssl/certs /etc/services /etc/ld.so.conf")), "")
end)

test("downloads: options in one word, failures, files", function(t)
  local l = lab.open(t)
  local m = l:machine "host"
  local url = "https://download.docker.com/linux/debian/gpg"
  t.eq((l:sh(m, "cd /tmp; curl -fsSLo key " .. url .. "; head -n 1 key")), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
  t.eq((l:sh(m, "cd /tmp; curl -fsSLO " .. url .. "; head -n 1 gpg")), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
  t.eq((l:sh(m, "cd /tmp; wget -qO key2 " .. url .. "; cmp key key2 && echo same")), "same\n")
  local _, said, code = l:sh(m, "curl -fsSLo /tmp/x https://pkgs.k8s.io/nothing")
  t.eq({ said, code }, { "curl: (22) The requested URL returned error: 404\n", 22 })
  l.way = nil
  _, said, code = l:sh(m, "curl -fsSL --max-time 5 " .. url)
  t.has(said, "curl: (28) Failed to connect to download.docker.com port 443: Connection timed out")
  t.eq(code, 28)
end)

test("links of a machine lead nowhere outside of it", function(t)
  local l = lab.open(t)
  local m = l:machine "host"
  local outside = t.tmp() .. "/outside"
  assert(fs.mkdir(outside, 493))
  assert(fs.symlink(outside, m.root .. "/srv/out"))
  l:sh(m, "mkdir -p " .. outside .. "; curl -fsSL https://download.docker.com/linux/debian/gpg -o /srv/out/key")
  t.eq(fs.list(outside), {})
  t.eq((l:sh(m, "head -n 1 /srv/out/key")), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
  l:sh(m, "curl -fsSL https://download.docker.com/linux/debian/gpg -o /var/run/vmrun-test-key")
  local escaped = fs.stat "/run/vmrun-test-key"
  if escaped then fs.remove "/run/vmrun-test-key" end
  t.eq(escaped, nil)
end)

test("the first boot", function(t)
  local l = lab.open(t)
  local m = l:machine("host", { custom_data = [[
#cloud-config
write_files:
  - { path: /etc/plain, content: "one\n", permissions: "0640" }
  - { path: /etc/coded, content: dHdvCg==, encoding: b64 }
  - { path: /etc/plain, content: "more\n", append: true }
runcmd:
  - echo first >>/etc/ran
  - [ sh, -c, "echo \"$1\" >>/etc/ran", x, "it's two" ]
]] })
  l:sh(m, "cloud-init status --wait")
  t.eq((l:sh(m, "cat /etc/coded /etc/plain /etc/ran")), "two\none\nmore\nfirst\nit's two\n")
  machines.restart(m.id)
  t.eq((l:sh(m, "wc -l </etc/ran")), "2\n")
end)

test("power, a restart of the emulator, a new disk", function(t)
  local l = lab.open(t)
  local m = l:machine "host"
  local key = machines.host_keys(m.id)
  l:sh(m, "modprobe br_netfilter; sysctl -qw net.ipv4.ip_forward=1; swapoff -a; echo mine >/etc/mine; : >/tmp/t")
  l:again()
  m = l.made[m.id]
  t.eq((l:sh(m, "sysctl -n net.ipv4.ip_forward; lsmod | grep -c br_netfilter; swapon --show=NAME --noheadings; cat /etc/mine")), "1\n1\nmine\n")
  t.eq(machines.host_keys(m.id), key)
  machines.restart(m.id)
  t.eq((l:sh(m, "sysctl -n net.ipv4.ip_forward; swapon --show=NAME --noheadings; cat /etc/mine; ls /tmp")), "0\n/dev/sdb2\nmine\n")
  machines.stop(m.id)
  t.eq(m.power, "stopped")
  t.eq((require("stream").connect { host = m.address, port = 20022, timeout = 2 }), nil)
  machines.start(m.id)
  machines.reimage(m.id)
  t.eq((l:sh(m, "cat /etc/mine 2>/dev/null; hostname")), "host\n")
  t.ok(machines.host_keys(m.id)[1] ~= key[1], "a new disk has a new host key")
end)

test("apt: a way out, known repositories, signed ones, versions", function(t)
  local l = lab.open(t)
  local m = l:machine "host"
  local _, said, code = l:sh(m, "apt-get update -qq && apt-get install -y no-such")
  t.eq({ said, code }, { "E: Unable to locate package no-such\n", 100 })
  _, said, code = l:sh(m, "apt-get install -y jq=9.9")
  t.eq({ said, code }, { "E: Version '9.9' for 'jq' was not found\n", 100 })
  l:sh(m, "echo 'deb [signed-by=/etc/apt/keyrings/k.asc] https://pkgs.k8s.io/core:/stable:/v1.36/deb/ /' >/etc/apt/sources.list.d/k.list")
  _, said, code = l:sh(m, "apt-get update")
  t.has(said, "NO_PUBKEY")
  t.eq(code, 100)
  l:sh(m, "curl -fsSL -o /etc/apt/keyrings/k.asc https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key")
  t.eq((l:sh(m, "apt-get update -qq >/dev/null && apt-get install -y kubelet='1.36.1-*' >/dev/null; dpkg-query -W -f '${Status} ${Version}' kubelet")),
    "install ok installed 1.36.1-1.1")
  l.way = nil
  _, _, code = l:sh(m, "apt-get install -y htop jq")
  t.eq(code, 100)
end)

test("roles run unchanged, and a second time change nothing", function(t)
  local l = lab.open(t)
  local m = l:machine "node"
  t.after(function() connection.close_all() end)
  local host = l:host(m)
  local runtime = { host = host }
  local steps = {
    { "linux.base", { host = host, hostname = "node-1" } },
    { "containerd.runtime", { host = host } },
    { "kubeadm.node", { host = host, runtime = runtime, version = "1.36.1" } },
  }
  for _, step in ipairs(steps) do
    local page = require(step[1])
    local fields = {}
    for name, spec in pairs(page.fields) do
      local default = spec.default
      fields[name] = default ~= json.null and default or nil
    end
    for name, value in pairs(step[2]) do fields[name] = value end
    local made = page.create(ctx_of(fields))
    local ctx = ctx_of(fields)
    ctx.prior = { fields = fields, outputs = made.outputs }
    t.eq(page.read(ctx).changes, {}, step[1])
  end
  t.eq((l:sh(m, "systemctl is-active containerd; kubeadm version -o short; apt-mark showhold; hostname")),
    "active\nv1.36.1\ncontainerd.io\ncri-tools\nkubeadm\nkubectl\nkubelet\nkubernetes-cni\nnode-1\n")
  machines.restart(m.id)
  connection.close_all()
  local page = require "linux.base"
  local fields = {}
  for name, spec in pairs(page.fields) do fields[name] = spec.default end
  fields.host, fields.hostname = host, "node-1"
  local ctx = ctx_of(fields)
  ctx.prior = { fields = fields, outputs = { tasks = {} } }
  t.eq(page.read(ctx).changes, {}, "after a restart")
end)

test("Git over SSH: a key is good for its own repository, and the one that may read does nothing else", function(t)
  local l = lab.open(t)
  l.world.writes = { add = function() end }
  local admin, routes = require "emulator.admin", {}
  local route = admin.route
  admin.route = function(what, fn) routes[what:match("^%u+")] = fn end
  t.after(function()
    admin.route, machines.on_restart = route, nil
    machines.ask { op = "down", machine = "git-server" }
  end)
  require("emulator.git").start(machines)
  local function put(name) return routes.PUT({ path = "/emulator/git/" .. name, body = "" }).json end
  local one, two = put "one", put "two"
  local function auth(key, from) return { url = from.url, branch = "main", key = key, known_hosts = from.known_hosts } end
  local function commit(key, from)
    local what = auth(key, from)
    what.files, what.message, what.author = { a = "1\n" }, "first", { name = "T", email = "t@example.org" }
    return git.commit(what)
  end
  local made = assert(commit(one.key, one))
  t.eq(git.head(auth(one.deploy_key, one)), made.commit)
  t.eq((commit(one.deploy_key, two)), nil, "pushed with another repository's key for reading")
  t.eq((commit(one.key, two)), nil, "pushed with another repository's key")
  t.eq((git.head(auth(two.deploy_key, one))), nil, "read with another repository's key")

  local host, port = one.url:match("@([%d.]+):(%d+)/")
  local conn = assert(require("ssh").connect { host = host, port = tonumber(port), user = "git", key = one.deploy_key,
    host_keys = { one.known_hosts[1]:match("^%S+ (.*)$") }, timeout = 20 })
  for _, command in ipairs { "git-upload-pack '/one.git'; echo escaped", "git-upload-pack '/x' || echo escaped", "echo escaped",
    "git-receive-pack '/one.git'", "git-upload-pack '/two.git'" } do
    local result = conn:exec(command, { stdin = "", timeout = 10 })
    t.eq({ command, result.stdout:find("escaped"), result.code ~= 0 }, { command, nil, true })
  end
  conn:close()
end)

test.done()
