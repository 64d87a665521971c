--- vmrun lua roots.lua: the task types of roles on real Debian 12 roots, with Debian's own tools where the other tests have
-- stand-ins. Each type is here, or in REASONS with why it cannot be.
local HERE = arg[0]:match "^(.*)/[^/]*$" or "."
local test, lab = dofile(HERE .. "/../lua/tap.lua"), dofile(HERE .. "/../lua/role_lab.lua")
local connection = require "host.connection"
local crypto = require "crypto"
local debian = require "debian"
local process = require "process"
local repository = require "repository"
local types = require "host.task"

test.timeout = 240

local REASONS = {
  kernel_module = "the modules are the machine's own", swap = "the swap is the machine's own",
  service = "systemd is no process of these roots", unit = "systemd is no process of these roots", timer = "systemd is no process of these roots",
  reboot = "nothing starts these roots again",
  mount = "tried with a loop device in test_host_settings", filesystem = "tried with a loop device in test_host_settings",
}

local check, apply = lab.check, lab.apply

-- A task that differs, is made so, is so, and has nothing more to do; then what `others` did is seen and mended.
local function settles(t, m, name, declare, others)
  t.ok(#check(m, declare) > 0, name .. " differs")
  t.ok(apply(m, declare) > 0, name .. " changes something")
  t.eq(check(m, declare), {}, name .. " is as it should be")
  t.eq(apply(m, declare), 0, name .. " has nothing more to do")
  if not others then return end
  m.sh(others)
  local seen = check(m, declare)
  t.ok(#seen > 0, name .. " sees what others did")
  apply(m, declare)
  t.eq(check(m, declare), {}, name .. " is mended")
  return seen
end

-- Where apt finds the packages of a repository of ours.
local function repository_of(t, m, packages)
  local dir = repository.folder(t)
  local key = repository.make(dir, packages)
  return function(host)
    host.apt_repository "lab" { url = ("http://%s:8000/repo"):format(m.gateway), suite = "/", key = key }
  end, dir
end

-- Somebody takes one of apt's locks for a while, as apt does. Returns who.
local function take(m, lock, seconds)
  return m.sh(([[perl -e 'use Fcntl; $l = pack "ssx4qqlx4", F_WRLCK; open F, "+>>", "%s"; fcntl F, F_SETLK, $l or die; open R, ">", "/run/taken";
    print R $$; close R; select undef, undef, undef, %g' </dev/null >/dev/null 2>&1 &
    while [ ! -s /run/taken ] && kill -0 $!; do sleep 0.02; done; cat /run/taken; rm /run/taken]]):format(lock, seconds))
end

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("a"):rep(43)
local PATHS = { "/etc/it's \"quoted\" $(x)", "/etc/-rf --help", "/etc/na\u{ef}ve \u{6f22} *?[a]" }

local REAL = {
  file = function(t, m)
    m.sh "useradd -M app"
    for _, path in ipairs(PATHS) do
      settles(t, m, "file", function(host) host.file(path) { content = path .. "\n", owner = "app:app", mode = "0640" } end)
    end
    settles(t, m, "file", function(host) host.file "/etc/owned" { content = "x", owner = "app:www-data", mode = "4750" } end,
      "chown root:root /etc/owned; chmod 4750 /etc/owned")
    t.eq(m.sh "stat -c '%a %U:%G' /etc/owned", "4750 app:www-data")
  end,
  directory = function(t, m)
    settles(t, m, "directory", function(host) host.directory "/srv/a/b" { owner = "www-data:adm", mode = "2770" } end, "chown root /srv/a/b")
    t.eq(m.sh "stat -c '%a %U:%G' /srv/a/b; stat -c '%a %U' /srv/a", "2770 www-data:adm\n755 root")
  end,
  template = function(t, m)
    settles(t, m, "template", function(host) host.template "/etc/t" { template = "a={{a}}\n", values = { a = "it's $(x)" } } end, "echo >/etc/t")
  end,
  line = function(t, m)
    settles(t, m, "line", function(host) host.line "PermitEmptyPasswords no" { path = "/etc/ssh/sshd_config", replaces = "^#?PermitEmptyPasswords" } end,
      "sed -i '/PermitEmptyPasswords/d' /etc/ssh/sshd_config")
  end,
  command = function(t, m)
    settles(t, m, "command", function(host) host.command "c" { run = "echo 1 >/etc/c", creates = "/etc/c" } end, "rm /etc/c")
  end,
  handler = function(t, m)
    apply(m, function(host)
      host.handler "tell" { run = "echo told >>/etc/told" }
      host.file "/etc/h" { content = "1", notify = "tell" }
    end)
    t.eq(m.read "/etc/told", "told\n")
  end,
  host_entry = function(t, m)
    settles(t, m, "host_entry", function(host) host.host_entry "api.internal" { address = "10.0.0.4" } end, "sed -i /api/d /etc/hosts")
    t.has(m.sh "getent hosts api.internal", "10.0.0.4")
  end,
  hostname = function(t, m)
    settles(t, m, "hostname", function(host) host.hostname "cp-1" {} end, "hostname other")
    t.eq(m.sh "hostname; cat /etc/hostname", "cp-1\ncp-1")
  end,
  block = function(t, m)
    settles(t, m, "block", function(host) host.block "ours" { path = "/etc/hosts", content = "10.0.0.1 a\n10.0.0.2 b\n" } end, "sed -i '/10.0.0.2/d' /etc/hosts")
  end,
  ini_value = function(t, m)
    settles(t, m, "ini_value", function(host) host.ini_value "NTP" { path = "/etc/systemd/timesyncd.conf", section = "Time", value = "a b" } end,
      "sed -i s/^NTP.*/NTP=c/ /etc/systemd/timesyncd.conf")
  end,
  json_value = function(t, m)
    m.write("/etc/daemon.json", "{\n  \"a\": [1, 2],\n  \"b\": {\"c\": \"d\"}\n}\n", 420)
    settles(t, m, "json_value", function(host) host.json_value "b.c" { path = "/etc/daemon.json", value = "it's" } end, "sed -i s/it.s/x/ /etc/daemon.json")
  end,
  toml_value = function(t, m)
    m.write("/etc/config.toml", "version = 2\n[plugins.\"io.x\"]\n  on = false # why\n", 420)
    settles(t, m, "toml_value", function(host) host.toml_value "plugins.\"io.x\".on" { path = "/etc/config.toml", value = true } end,
      "sed -i s/true/false/ /etc/config.toml")
    t.has(m.read "/etc/config.toml", "  on = true # why\n")
  end,
  yaml_value = function(t, m)
    m.write("/etc/kubelet.yaml", "kind: X\nauth:\n  mode: a # why\n", 420)
    settles(t, m, "yaml_value", function(host) host.yaml_value "auth.mode" { path = "/etc/kubelet.yaml", value = "b" } end, "sed -i 's/mode: b/mode: c/' /etc/kubelet.yaml")
  end,
  symlink = function(t, m)
    settles(t, m, "symlink", function(host) host.symlink "/opt/current" { target = "/opt/it's $(x)" } end, "ln -sfn x /opt/current")
  end,
  group = function(t, m)
    settles(t, m, "group", function(host) host.group "deploy" { gid = 2001, members = { "www-data", "man" } } end, "gpasswd -d man deploy; groupmod -g 2002 deploy")
    t.eq(m.sh "getent group deploy", "deploy:x:2001:man,www-data")
    settles(t, m, "group", function(host) host.group "deploy" { state = "absent" } end)
  end,
  user = function(t, m)
    local function declare(host)
      host.user "app" { uid = 1500, comment = "it's \"$(x)\" na\u{ef}ve -f", home = "/srv/app home", shell = "/bin/sh", groups = { "adm", "sudo" },
        exclusive = true, password_hash = "$6$saltsalt$" .. ("a"):rep(86) }
    end
    local seen = settles(t, m, "user", declare,
      "usermod -u 1501 -s /bin/false -aG games app; gpasswd -d app adm; echo 'app:!' | chpasswd -e; rm -r '/srv/app home'")
    t.eq(#seen, 5)
    t.eq(m.sh "id -un 1500; id -Gn app; stat -c '%u %a' '/srv/app home'; stat -c %U '/srv/app home/.profile'", "app\napp adm sudo\n1500 700\napp")
    t.has(m.sh "getent shadow app", "app:$6$saltsalt$aaa")
    settles(t, m, "user", function(host) host.user "app" { groups = { "games" } } end, "gpasswd -d app games")
    t.eq(m.sh "id -Gn app", "app adm sudo games")
    settles(t, m, "user", function(host) host.user "app" { state = "absent", remove_home = true } end)
    t.eq(m.sh "ls /srv", "")
    settles(t, m, "user", function(host) host.user "svc" { system = true, group = "www-data", shell = "/usr/sbin/nologin" } end)
    t.eq(m.sh "[ $(id -u svc) -lt 1000 ]; id -gn svc; ls /home", "www-data")
    m.sh "groupadd own"
    settles(t, m, "user", function(host) host.user "own" {} end)
    t.eq(m.sh "id -gn own", "own")
    t.fails("there is no group ghosts", check, m, function(host) host.user "own" { groups = { "ghosts" } } end)
  end,
  authorized_key = function(t, m)
    m.sh "useradd -m app"
    settles(t, m, "authorized_key", function(host) host.authorized_key "app" { keys = { KEY .. " me" }, exclusive = true } end,
      "chown root /home/app/.ssh/authorized_keys; echo '" .. KEY:gsub("a", "b") .. "' >>/home/app/.ssh/authorized_keys")
    t.eq(m.sh "stat -c '%a %U:%G' /home/app/.ssh /home/app/.ssh/authorized_keys", "700 app:app\n600 app:app")
  end,
  sudoers = function(t, m)
    settles(t, m, "sudoers", function(host) host.sudoers "deploy" { content = "www-data ALL=(root) NOPASSWD: /bin/true" } end, "chmod 600 /etc/sudoers.d/deploy")
    t.has(m.sh "sudo -l -U www-data", "NOPASSWD: /bin/true")
    local function refused(text, name, content)
      t.fails(text, apply, m, function(host) host.sudoers(name) { content = content } end)
      t.has(m.sh "sudo -l -U www-data", "NOPASSWD: /bin/true")
      t.eq(m.sh "ls -A /etc/sudoers.d", "README\ndeploy")
    end
    refused("/etc/sudoers.d/deploy:1:", "deploy", "www-data ALL=(root")
    -- Fine by itself, but not beside what another file has.
    m.sh "echo 'User_Alias OPS = games' >>/etc/sudoers"
    refused("\"OPS\" already defined", "ops", "User_Alias OPS = man\nOPS ALL=(root) NOPASSWD: ALL")
    -- A rubbish that was there before is no fault of this file.
    m.sh "echo rubbish >>/etc/sudoers"
    apply(m, function(host) host.sudoers "ops" { content = "man ALL=(root) ALL" } end)
    t.eq(m.read "/etc/sudoers.d/ops", "man ALL=(root) ALL\n")
  end,
  apt_repository = function(t, m)
    local declare = repository_of(t, m, { "tool=1.0-1" })
    settles(t, m, "apt_repository", declare, "echo >/etc/apt/keyrings/lab.asc")
    m.sh "apt-get update -qq"
    t.has(m.sh "apt-cache policy tool", "Candidate: 1.0-1")
  end,
  download = function(t, m)
    local _, serve = repository.folder(t)
    serve("file name", "content\n")
    settles(t, m, "download", function(host)
      host.download "/opt/x/it's $(x)" { url = ("http://%s:8000/file%%20name"):format(m.gateway), sha256 = crypto.sha256 "content\n", mode = "0750" }
    end, "chmod 644 /opt/x/*")
    t.eq(m.sh "cat /opt/x/*; stat -c %a /opt/x/*", "content\n750")
    t.fails("404", apply, m, function(host)
      host.download "/opt/y" { url = ("http://%s:8000/none"):format(m.gateway), sha256 = ("0"):rep(64) }
    end)
  end,
  sysctl = function(t, m)
    settles(t, m, "sysctl", function(host)
      host.sysctl "net.ipv4.ip_forward" { value = "1" }
      host.sysctl "net.ipv4.ip_local_port_range" { value = "20000 30000" }
    end, "sysctl -qw net.ipv4.ip_forward=0")
    t.eq(m.sh "cat /proc/sys/net/ipv4/ip_forward", "1")
  end,
  package_pin = function(t, m)
    local declare = repository_of(t, m, { "tool=1.0-1", "tool=1.1-1", "other=2" })
    apply(m, declare)
    settles(t, m, "package_pin", function(host) host.package_pin "tool" { version = "1.0*" } end, "rm /etc/apt/preferences.d/tool.pref")
    apply(m, function(host) host.package "tool" {} end)
    t.eq(m.sh "tool; apt-cache policy tool | sed -n 3p", "1.0-1\n  Candidate: 1.0-1")
    apply(m, function(host) host.package_pin "tool" { state = "absent" } end)
    t.eq(m.sh "apt-cache policy tool | sed -n 3p", "  Candidate: 1.1-1")
    apply(m, function(host) host.package_pin "never" { packages = { "oth*", "tool" }, release = "a=lab", priority = -1 } end)
    t.eq(m.sh "apt-cache policy other | sed -n 3p", "  Candidate: (none)")
  end,
  package = function(t, m)
    local declare = repository_of(t, m, { "tool=1.0-1", "tool=1.1-1", "other=2" })
    apply(m, declare)
    settles(t, m, "package", function(host) host.package "tools" { names = { "tool", "other" }, hold = true } end, "apt-mark unhold tool")
    t.eq(m.sh "tool; apt-mark showhold", "1.1-1\nother\ntool")
    settles(t, m, "package", function(host) host.package "tool" { version = "1.0-*", hold = true } end, "apt-get install -qq -y --allow-change-held-packages tool")
    t.eq(m.sh "tool", "1.0-1")
    settles(t, m, "package", function(host) host.package "tool" { state = "absent" } end)
    t.fails("Unable to locate package no-such-package", apply, m, function(host) host.package "no-such-package" {} end)

    -- dpkg was killed at work.
    m.sh ": >/var/lib/dpkg/updates/0001"
    t.eq(apply(m, function(host) host.package "tool" {} end), 1)
    t.eq(m.sh "ls /var/lib/dpkg/updates", "")

    for _, lock in ipairs { "/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock" } do
      m.sh "apt-get remove -qq -y tool; mkdir -p /var/lib/vmrun/pending; : >/var/lib/vmrun/pending/apt; rm -f /var/cache/apt/archives/*.deb"
      local who = ("Could not get lock %s. It is held by process %s (perl)"):format(lock, take(m, lock, 1000))
      local err = t.fails("`package tool` failed: no end after 2 s", apply, m, function(host) host.package "tool" { timeout = 2 } end)
      t.has(err.message, "no time is left: " .. who)
      m.sh("kill " .. who:match "process (%d+)")
      who = ("waiting: Could not get lock %s. It is held by process %s (perl)"):format(lock, take(m, lock, 2.5))
      local changed, _, _, said = apply(m, function(host) host.package "tool" {} end)
      t.eq(changed, 1)
      t.eq(select(2, table.concat(said, "\n"):gsub("waiting:", "")), 1, "told once")
      t.has(table.concat(said, "\n"), who)
    end
  end,
  timezone = function(t, m)
    settles(t, m, "timezone", function(host) host.timezone "Asia/Tokyo" {} end, "ln -sfn /usr/share/zoneinfo/UTC /etc/localtime")
    t.eq(m.sh "date +%Z", "JST")
  end,
  ca_certificate = function(t, m)
    local ca = crypto.authority and crypto.authority { name = "test" }
    local pem = ca and ca.certificate or assert(process.run { argv = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
      "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=test", "-days", "2" } }).stdout
    settles(t, m, "ca_certificate", function(host) host.ca_certificate "ours" { content = pem } end, "rm /etc/ssl/certs/ours.pem")
    t.has(m.sh "tail -c 4000 /etc/ssl/certs/ca-certificates.crt; cat /etc/ssl/certs/ours.pem", pem:match("\n(%S+)\n"))
    settles(t, m, "ca_certificate", function(host) host.ca_certificate "ours" { state = "absent" } end)
  end,
  certificate = function(t, m)
    local made = assert(process.run { argv = { "sh", "-c", "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/stdout -subj /CN=test -days 20 2>/dev/null" } }).stdout
    local key, pem = made:match "(%-+BEGIN PRIVATE KEY.-END PRIVATE KEY%-+\n)", made:match "(%-+BEGIN CERTIFICATE.-END CERTIFICATE%-+\n)"
    settles(t, m, "certificate", function(host)
      host.certificate "web" { certificate = pem, key = key, certificate_path = "/etc/ssl/web.pem", key_path = "/etc/ssl/private/web.key", owner = "root:www-data" }
    end, "chmod 644 /etc/ssl/private/web.key")
    t.eq(m.sh "stat -c '%a %U:%G' /etc/ssl/private/web.key", "600 root:www-data")
  end,
  archive = function(t, m)
    local dir = repository.folder(t)
    m.sh "useradd -M app"
    assert(process.run { argv = { "sh", "-c", [[cd "$1" && mkdir -p tool-1/bin && echo run >tool-1/bin/run && chmod 755 tool-1/bin/run && ln -s bin/run "tool-1/it's" &&
      chown -R 1234:1234 tool-1 && tar -cJf tool.tar.xz tool-1 && tar -czf tool.tgz tool-1 && python3 -m zipfile -c tool.zip tool-1]], "sh", dir } })
    for _, name in ipairs { "tool.tar.xz", "tool.tgz", "tool.zip" } do
      settles(t, m, "archive", function(host)
        host.archive("/opt/" .. name) { url = ("http://%s:8000/%s"):format(m.gateway, name), sha256 = crypto.sha256(require "fs".read(dir .. "/" .. name)),
          strip_components = 1, owner = "app:www-data", creates = "/opt/" .. name .. "/bin/run" }
      end, ("rm /opt/%s/bin/run"):format(name))
      t.eq(m.sh(("stat -c '%%A %%U:%%G' /opt/%s /opt/%s/bin/run; ls /opt/%s"):format(name, name, name)),
        "drwxr-xr-x app:www-data\n-rwxr-xr-x app:www-data\nbin\nit's")
    end
    -- An unpacking that is killed in its middle is made up for.
    m.sh "mkdir -p /srv/a; seq 2000000 >/srv/a/long; seq 2000000 >/srv/a/last; cd /srv; tar -cf a.tar a; rm -r a"
    local function declare(host) host.archive "/opt/a" { source = "/srv/a.tar", owner = "app:app" } end
    m.write("/usr/local/sbin/tar", [[#!/bin/sh
rm /usr/local/sbin/tar
/usr/bin/tar "$@" & while [ ! -s /opt/a/.vmrun.unpacked/in/a/long ]; do :; done
ls -A /opt/a >/root/left; kill -9 -1
]], 493)
    local _, _, told = apply(m, declare)
    t.has(table.concat(told, "\n"), "connecting again")
    t.eq(m.read "/root/left", ".vmrun.unpacked\n")
    t.eq(check(m, declare), {})
    t.eq(m.sh "cd /opt/a; find . | sort; tail -n 1 a/last; stat -c %U . a a/long", ".\n./a\n./a/last\n./a/long\n2000000\napp\napp\napp")
  end,
  firewall = function(t, m)
    t.ok(m.answers(2222), "a port that nothing guards")
    local function declare(host)
      host.firewall "vmrun" { allow = { { ports = { 22, 6443 } }, { ports = { 8472 }, protocol = "udp", from = { "10.0.0.0/8", "fd00::/8" } } },
        rules = { "tcp dport { 80, 443 } ct count 9 accept comment \"it's $(x) {\"" } }
    end
    -- systemctl has nobody to ask here, but keeps what starts with the host.
    local seen = settles(t, m, "firewall", declare, "nft add rule inet vmrun input tcp dport 2222 accept")
    t.eq(seen, { { path = "firewall vmrun.live", old = "changed or not loaded", new = "as declared" } })
    connection.close_all()
    t.eq({ m.answers(22), m.answers(6443), m.answers(2222) }, { true, true, false })
    m.sh "nft flush ruleset"
    t.ok(m.answers(2222))
    m.sh "nft -f /etc/nftables.conf"
    t.eq({ m.answers(22), m.answers(2222) }, { true, false }, "as the host starts")
    t.eq(check(m, declare), {})

    t.fails("syntax error", apply, m, function(host) host.firewall "x" { allow = { { ports = { 22 } } }, rules = { "nonsense" } } end)
    local refused = ("vmrun itself comes from %s to port 22, and 'allow' lets nobody in there"):format(m.gateway)
    t.fails(refused, apply, m, function(host) host.firewall "vmrun" { allow = { { ports = { 6443 } } } } end)
    t.fails(refused, apply, m, function(host) host.firewall "vmrun" { allow = { { ports = { 22 }, from = { "10.85.0.0/16", "fd00::/8" } } } } end)
    -- Through sudo, which takes the environment away.
    m.sh "useradd -m -s /bin/sh -p '*' ops; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops; cp -r /root/.ssh /home/ops; chown -R ops /home/ops"
    local ops = setmetatable({ user = "ops" }, { __index = m })
    t.fails(refused, apply, ops, function(host) host.firewall "vmrun" { allow = { { ports = { 6443 } } } } end)
    t.eq(check(m, declare), {}, "nothing of them was loaded")
    t.eq(apply(ops, function(host) host.firewall "vmrun" { allow = { { ports = { 22 }, from = { "10.85.0.0/16", (m.gateway:gsub("1$", "0/30")) } } } } end), 1)
    connection.close_all()
    t.eq({ m.answers(22), m.answers(6443) }, { true, false })
    t.eq(m.sh "nft list tables", "table inet filter\ntable inet vmrun", "what asked the kernel has gone")
    t.eq(apply(m, function(host) host.firewall "vmrun" { allow_lockout = true, policy = "reject" } end), 1, "what is established goes on")
    connection.close_all()
    t.ok(not m.answers(22))
    m.sh "nft flush ruleset"
    settles(t, m, "firewall", function(host) host.firewall "vmrun" { state = "absent" } end)
    t.eq(m.sh "ls /etc/nftables.d", "")
  end,
}

local PORTS = { firewall = { 2222, 6443 } }

for _, name in ipairs(types.NAMES) do
  if REAL[name] then
    test(name .. " on a real root", function(t)
      local m = debian.start(t, HERE, PORTS[name])
      t.after(connection.close_all)
      REAL[name](t, m)
      t.eq(m.sh "find / -xdev -name '.vmrun*' -not -path '/proc/*'", "", "no temporary file")
      t.eq(m.sh "ls -A /var/lib/vmrun/run 2>/dev/null || :", "", "no journal")
    end)
  else
    test(name .. " is here or has its reason", function(t) t.ok(REASONS[name], "a reason why " .. name .. " is not tried") end)
  end
end

test.done()
