--- vmrun lua roots.lua: the task types of roles on real Debian 12 roots, with Debian's own tools where the other tests have
-- stand-ins, with dash and with busybox's shell. Each type is here, or in REASONS with why it cannot be.
local HERE = arg[0]:match "^(.*)/[^/]*$" or "."
local test, lab = dofile(HERE .. "/../lua/tap.lua"), dofile(HERE .. "/../lua/role_lab.lua")
local connection = require "host.connection"
local crypto = require "crypto"
local debian = require "debian"
local fs = require "fs"
local process = require "process"
local repository = require "repository"
local types = require "host.task"

test.timeout = 240

local REASONS = {
  kernel_module = "the modules are the machine's own", swap = "the swap is the machine's own",
  service = "systemd is no process of these roots", unit = "systemd is no process of these roots",
  timer = "systemd is no process of these roots", reboot = "nothing starts these roots again",
  mount = "tried with a loop device in test_host_settings", filesystem = "tried with a loop device in test_host_settings",
}

local check, apply = lab.check, lab.apply

-- What the root has been given beside what debootstrap made.
local function written(m)
  local argv = { "find", m.dir .. "/upper", "-not", "-path", "*/var/log/*", "-printf", "%P %T@ %s %m\n" }
  return assert(process.run { argv = argv }).stdout
end

-- A task that differs, is made so, is so, and has nothing more to do; then what others did is seen and mended.
local function settles(t, m, declare, others)
  lab.check(m, function() end) -- a login leaves traces of its own
  local before = written(m)
  t.ok(#check(m, declare) > 0, "it differs")
  t.eq(written(m), before, "a check writes nothing")
  t.ok(apply(m, declare) > 0, "it changes something")
  t.eq(check(m, declare), {}, "it is as it should be")
  t.eq(apply(m, declare), 0, "it has nothing more to do")
  if not others then return end
  m.sh(others)
  local seen = check(m, declare)
  t.ok(#seen > 0, "it sees what others did")
  apply(m, declare)
  t.eq(check(m, declare), {}, "it is mended")
  return seen
end

-- Where apt finds the packages of a repository of ours.
local function repository_of(t, m, packages)
  local dir = repository.folder(t)
  local key = repository.make(dir, packages)
  return function(host)
    host.apt_repository "lab" { url = ("http://%s:8000/repo"):format(m.gateway), suite = "/", key = key }
  end
end

-- Somebody takes one of apt's locks for a while, as apt does. Returns who.
local function take(m, lock, seconds)
  return m.sh(([[
    perl -e 'use Fcntl; $l = pack "ssx4qqlx4", F_WRLCK; open F, "+>>", "%s"; fcntl F, F_SETLK, $l or die;
      open R, ">", "/run/taken"; print R $$; close R; select undef, undef, undef, %g' </dev/null >/dev/null 2>&1 &
    while [ ! -s /run/taken ] && kill -0 $!; do sleep 0.02; done; cat /run/taken; rm /run/taken]]):format(lock, seconds))
end

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("a"):rep(43)
local PATHS = { "/etc/it's \"quoted\" $(x)", "/etc/-rf --help", "/etc/na\u{ef}ve \u{6f22} *?[a]" }

local REAL = {}

function REAL.file(t, m)
  m.sh "useradd -M app"
  for _, path in ipairs(PATHS) do
    settles(t, m, function(host) host.file(path) { content = path .. "\n", owner = "app:app", mode = "0640" } end)
  end
  settles(t, m, function(host) host.file "/etc/owned" { content = "x", owner = "app:www-data", mode = "4750" } end,
    "chown root:root /etc/owned; chmod 4750 /etc/owned")
  t.eq(m.sh "stat -c '%a %U:%G' /etc/owned", "4750 app:www-data")
end

function REAL.directory(t, m)
  settles(t, m, function(host) host.directory "/srv/a/b" { owner = "www-data:adm", mode = "2770" } end, "chown root /srv/a/b")
  t.eq(m.sh "stat -c '%a %U:%G' /srv/a/b; stat -c '%a %U' /srv/a", "2770 www-data:adm\n755 root")
end

function REAL.template(t, m)
  settles(t, m, function(host)
    host.template "/etc/t" { template = "a={{a}}\n", values = { a = "it's $(x)" } }
  end, "echo >/etc/t")
end

function REAL.line(t, m)
  settles(t, m, function(host)
    host.line "PermitEmptyPasswords no" { path = "/etc/ssh/sshd_config", replaces = "^#?PermitEmptyPasswords" }
  end, "sed -i '/PermitEmptyPasswords/d' /etc/ssh/sshd_config")
end

function REAL.command(t, m)
  settles(t, m, function(host) host.command "c" { run = "echo 1 >/etc/c", creates = "/etc/c" } end, "rm /etc/c")
end

function REAL.handler(t, m)
  apply(m, function(host)
    host.handler "tell" { run = "echo told >>/etc/told" }
    host.file "/etc/h" { content = "1", notify = "tell" }
  end)
  t.eq(m.read "/etc/told", "told\n")
end

function REAL.host_entry(t, m)
  settles(t, m, function(host) host.host_entry "api.internal" { address = "10.0.0.4" } end, "sed -i /api/d /etc/hosts")
  t.has(m.sh "getent hosts api.internal", "10.0.0.4")
end

function REAL.hostname(t, m)
  settles(t, m, function(host) host.hostname "cp-1" {} end, "hostname other")
  t.eq(m.sh "hostname; cat /etc/hostname", "cp-1\ncp-1")
end

function REAL.block(t, m)
  settles(t, m, function(host)
    host.block "ours" { path = "/etc/hosts", content = "10.0.0.1 a\n10.0.0.2 b\n" }
  end, "sed -i '/10.0.0.2/d' /etc/hosts")
end

function REAL.ini_value(t, m)
  settles(t, m, function(host)
    host.ini_value "NTP" { path = "/etc/systemd/timesyncd.conf", section = "Time", value = "a b" }
  end, "sed -i s/^NTP.*/NTP=c/ /etc/systemd/timesyncd.conf")
end

function REAL.json_value(t, m)
  m.write("/etc/daemon.json", "{\n  \"a\": [1, 2],\n  \"b\": {\"c\": \"d\"}\n}\n", 420)
  settles(t, m, function(host)
    host.json_value "b.c" { path = "/etc/daemon.json", value = "it's" }
  end, "sed -i s/it.s/x/ /etc/daemon.json")
end

function REAL.toml_value(t, m)
  m.write("/etc/config.toml", "version = 2\n[plugins.\"io.x\"]\n  on = false # why\n", 420)
  settles(t, m, function(host)
    host.toml_value "plugins.\"io.x\".on" { path = "/etc/config.toml", value = true }
  end, "sed -i s/true/false/ /etc/config.toml")
  t.has(m.read "/etc/config.toml", "  on = true # why\n")
end

function REAL.yaml_value(t, m)
  m.write("/etc/kubelet.yaml", "kind: X\nauth:\n  mode: a # why\n", 420)
  settles(t, m, function(host)
    host.yaml_value "auth.mode" { path = "/etc/kubelet.yaml", value = "b" }
  end, "sed -i 's/mode: b/mode: c/' /etc/kubelet.yaml")
end

function REAL.symlink(t, m)
  settles(t, m, function(host) host.symlink "/opt/current" { target = "/opt/it's $(x)" } end, "ln -sfn x /opt/current")
end

function REAL.group(t, m)
  settles(t, m, function(host) host.group "deploy" { gid = 2001, members = { "www-data", "man" } } end,
    "gpasswd -d man deploy; groupmod -g 2002 deploy")
  t.eq(m.sh "getent group deploy", "deploy:x:2001:man,www-data")
  settles(t, m, function(host) host.group "deploy" { members = {} } end)
  t.eq(m.sh "getent group deploy", "deploy:x:2001:")
  settles(t, m, function(host) host.group "deploy" { state = "absent" } end)
  settles(t, m, function(host) host.group "daemons" { system = true } end)
  t.ok(tonumber((m.sh "getent group daemons":match ":(%d+):")) < 1000)
  t.fails("cannot remove the primary group of user 'man'", apply, m, function(host) host.group "man" { state = "absent" } end)
end

function REAL.user(t, m)
  local function declare(host)
    host.user "app" { uid = 1500, comment = "it's \"$(x)\" na\u{ef}ve -f", home = "/srv/app home", shell = "/bin/sh",
      groups = { "adm", "sudo" }, exclusive = true, password_hash = "$6$saltsalt$" .. ("a"):rep(86) }
  end
  local seen = settles(t, m, declare, "usermod -u 1501 -s /bin/false -aG games app; gpasswd -d app adm; "
    .. "echo 'app:!' | chpasswd -e; rm -r '/srv/app home'")
  t.eq(#seen, 5)
  t.eq(m.sh "id -un 1500; id -Gn app; cd /srv/app*; stat -c '%u %a' .; stat -c %U .profile", "app\napp adm sudo\n1500 700\napp")
  t.has(m.sh "getent shadow app", "app:$6$saltsalt$aaa")
  settles(t, m, function(host) host.user "app" { groups = { "games" } } end, "gpasswd -d app games")
  t.eq(m.sh "id -Gn app", "app adm sudo games")
  settles(t, m, function(host) host.user "app" { state = "absent", remove_home = true } end)
  t.eq(m.sh "ls /srv", "")
  settles(t, m, function(host) host.user "svc" { system = true, group = "www-data", shell = "/usr/sbin/nologin" } end)
  t.eq(m.sh "[ $(id -u svc) -lt 1000 ]; id -gn svc; ls /home", "www-data")
  m.sh "groupadd own"
  settles(t, m, function(host) host.user "own" {} end)
  t.eq(m.sh "id -gn own", "own")
  t.fails("there is no group ghosts", check, m, function(host) host.user "own" { groups = { "ghosts" } } end)
  -- Whose home has gone already.
  m.sh "rm -r /home/own"
  settles(t, m, function(host) host.user "own" { state = "absent", remove_home = true } end)
end

function REAL.authorized_key(t, m)
  m.sh "useradd -m app"
  settles(t, m, function(host) host.authorized_key "app" { keys = { KEY .. " me" }, exclusive = true } end,
    "cd /home/app/.ssh; chown root authorized_keys; echo '" .. KEY:gsub("a", "b") .. "' >>authorized_keys")
  t.eq(m.sh "cd /home/app; stat -c '%a %U:%G' .ssh .ssh/authorized_keys", "700 app:app\n600 app:app")
  -- The key lets its user in, and stops doing so.
  m.sh "usermod -p '*' app"
  local pair = crypto.keypair("ed25519", { comment = "it's $(x)" })
  local app = setmetatable({ user = "app", key = pair.private }, { __index = m })
  local function hello() return lab.apply(app, function(host) host.command "c" { run = "echo 1 >hello" } end,
    { name = "test.role", timeouts = lab.PAGE.timeouts, become = false }) end
  settles(t, m, function(host)
    host.authorized_key "app" { keys = { pair.public }, options = "environment=\"A=it's $(x)\",no-pty" }
  end)
  hello()
  t.eq(m.read "/home/app/hello", "1\n")
  connection.close_all()
  settles(t, m, function(host) host.authorized_key "app" { keys = { pair.public }, state = "absent" } end)
  t.fails("refused user 'app'", hello)
end

function REAL.sudoers(t, m)
  settles(t, m, function(host)
    host.sudoers "deploy" { content = "www-data ALL=(root) NOPASSWD: /bin/true" }
  end, "chmod 600 /etc/sudoers.d/deploy")
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
  m.sh "rm /usr/sbin/visudo"
  t.fails("visudo is not on this host: install it first (package \"sudo\")", apply, m, function(host)
    host.sudoers "ops" { content = "man ALL=(root) NOPASSWD: ALL" }
  end)
end

function REAL.apt_repository(t, m)
  settles(t, m, repository_of(t, m, { "tool=1.0-1" }), "echo >/etc/apt/keyrings/lab.asc")
  m.sh "apt-get update -qq"
  t.has(m.sh "apt-cache policy tool", "Candidate: 1.0-1")
end

function REAL.download(t, m)
  local _, serve = repository.folder(t)
  serve("file name", "content\n")
  settles(t, m, function(host)
    host.download "/opt/x/it's $(x)" { url = ("http://%s:8000/file%%20name"):format(m.gateway),
      sha256 = crypto.sha256 "content\n", mode = "0750" }
  end, "chmod 644 /opt/x/*")
  t.eq(m.sh "cat /opt/x/*; stat -c %a /opt/x/*", "content\n750")
  t.fails("404", apply, m, function(host)
    host.download "/opt/y" { url = ("http://%s:8000/none"):format(m.gateway), sha256 = ("0"):rep(64) }
  end)
end

function REAL.sysctl(t, m)
  settles(t, m, function(host)
    host.sysctl "net.ipv4.ip_forward" { value = "1" }
    host.sysctl "net.ipv4.ip_local_port_range" { value = "20000 30000" }
  end, "sysctl -qw net.ipv4.ip_forward=0")
  t.eq(m.sh "cat /proc/sys/net/ipv4/ip_forward", "1")
end

function REAL.package_pin(t, m)
  apply(m, repository_of(t, m, { "tool=1.0-1", "tool=1.1-1", "other=2" }))
  local function candidate(name) return m.sh("apt-cache policy " .. name):match "Candidate: (%S+)" end
  settles(t, m, function(host) host.package_pin "tool" { version = "1.0*" } end, "rm /etc/apt/preferences.d/tool.pref")
  apply(m, function(host) host.package "tool" {} end)
  t.eq({ m.sh "tool", candidate "tool" }, { "1.0-1", "1.0-1" })
  apply(m, function(host) host.package_pin "tool" { state = "absent" } end)
  t.eq(candidate "tool", "1.1-1")
  apply(m, function(host) host.package_pin "never" { packages = { "oth*" }, release = "a=lab", priority = -1 } end)
  t.eq({ candidate "other", candidate "tool" }, { "(none)", "1.1-1" })
  apply(m, function(host) host.package_pin "never" { packages = { "*" }, origin = m.gateway, priority = -1 } end)
  t.eq({ candidate "other", candidate "tool" }, { "(none)", "1.0-1" }, "what is installed stays")
end

function REAL.package_upgrade(t, m)
  apply(m, repository_of(t, m, { "tool=1.0-1", "tool=1.1-1", "kept=1", "kept=2" }))
  apply(m, function(host)
    host.package "tool" { version = "1.0-*" }
    host.package "kept" { version = "1*", hold = true }
  end)
  local function all(host) host.package_upgrade "all" { once = "1" } end
  t.has(check(m, all)[1].old, "1 newer by the lists of 20")
  settles(t, m, function(host) host.package_upgrade "some" { once = "1", security = true } end)
  t.eq(m.sh "tool", "1.0-1", "it is not of the security archive")
  settles(t, m, all, "for f in /var/lib/vmrun/upgrades/*.all; do echo 0 >$f; done")
  t.eq(m.sh "tool; kept; apt-mark showhold", "1.1-1\n1\nkept")
  m.sh "rm /etc/apt/keyrings/lab.asc"
  t.fails("`package_upgrade all` failed", apply, m, function(host) host.package_upgrade "all" { once = "2" } end)
  t.eq(m.sh "cat /var/lib/vmrun/upgrades/*.all", "1", "without newer lists nothing is done")
end

-- Another has the lock: until the task's time is over, and for a while.
local function waits(t, m, lock)
  local function declare(host) host.package "tool" {} end
  m.sh [[apt-get remove -qq -y tool; rm -f /var/cache/apt/archives/*.deb
    mkdir -p /var/lib/vmrun/pending; : >/var/lib/vmrun/pending/apt]]
  local pid = take(m, lock, 1000)
  local who = ("Could not get lock %s. It is held by process %s (perl)"):format(lock, pid)
  local err = t.fails("`package tool` failed: no end after 2 s", apply, m, function(host) host.package "tool" { timeout = 2 } end)
  t.has(err.message, "no time is left: " .. who)
  m.sh("kill " .. pid)
  who = ("waiting: Could not get lock %s. It is held by process %s (perl)"):format(lock, take(m, lock, 2.5))
  local changed, _, _, said = apply(m, declare)
  t.eq(changed, 1)
  said = table.concat(said, "\n")
  t.has(said, who)
  t.eq(select(2, said:gsub("waiting:", "")), 1, "told once")
end

function REAL.package(t, m)
  apply(m, repository_of(t, m, { "tool=1.0-1", "tool=1.1-1", "other=2" }))
  settles(t, m, function(host) host.package "tools" { names = { "tool", "other" }, hold = true } end, "apt-mark unhold tool")
  t.eq(m.sh "tool; apt-mark showhold", "1.1-1\nother\ntool")
  settles(t, m, function(host) host.package "tool" { version = "1.0-*", hold = true } end,
    "apt-get install -qq -y --allow-change-held-packages tool")
  t.eq(m.sh "tool", "1.0-1")
  settles(t, m, function(host) host.package "tool" { state = "absent" } end)
  t.fails("Unable to locate package no-such-package", apply, m, function(host) host.package "no-such-package" {} end)
  -- dpkg was killed at work.
  m.sh ": >/var/lib/dpkg/updates/0001"
  t.eq(apply(m, function(host) host.package "tool" {} end), 1)
  t.eq(m.sh "ls /var/lib/dpkg/updates", "")
  for _, lock in ipairs { "/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock",
    "/var/cache/apt/archives/lock" } do
    waits(t, m, lock)
  end
end

function REAL.timezone(t, m)
  settles(t, m, function(host) host.timezone "Asia/Tokyo" {} end, "ln -sfn /usr/share/zoneinfo/UTC /etc/localtime")
  t.eq(m.sh "date +%Z", "JST")
end

function REAL.ca_certificate(t, m)
  local ca = crypto.x509_ca { cn = "lab", days = 3 }
  local leaf = crypto.x509_issue { ca = ca, cn = "www", days = 2, usage = { "server" } }
  m.write("/srv/leaf.pem", leaf.cert)
  -- By the store's one file, and by its folder.
  local function trusted()
    local file = { "openssl", "verify", "-no-CApath", "-CAfile", "/etc/ssl/certs/ca-certificates.crt", "/srv/leaf.pem" }
    local folder = { "openssl", "verify", "-no-CAfile", "-CApath", "/etc/ssl/certs", "/srv/leaf.pem" }
    return { m.run(file).code == 0, m.run(folder).code == 0 }
  end
  t.eq(trusted(), { false, false })
  local function declare(host) host.ca_certificate "ours" { content = ca.cert } end
  settles(t, m, declare, "rm /etc/ssl/certs/ours.pem")
  t.eq(trusted(), { true, true })
  m.sh "cp /usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt /etc/ssl/certs/ca-certificates.crt"
  t.eq(check(m, declare), { { path = "ca_certificate ours.trusted", old = "no", new = "yes" } })
  apply(m, declare)
  -- Another authority of the same name: the store's links are named by what is in the file.
  local other = crypto.x509_ca { cn = "another", days = 3 }
  m.write("/srv/leaf.pem", crypto.x509_issue { ca = other, cn = "www", days = 2, usage = { "server" } }.cert)
  settles(t, m, function(host) host.ca_certificate "ours" { content = other.cert } end)
  t.eq(trusted(), { true, true })
  settles(t, m, function(host) host.ca_certificate "ours" { state = "absent" } end)
  t.eq(trusted(), { false, false })
  t.eq(m.sh "find -L /etc/ssl/certs -type l", "", "no link that leads nowhere")
end

function REAL.certificate(t, m)
  local made = assert(process.run { argv = { "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/stdout",
    "-subj", "/CN=test", "-days", "20" } }).stdout
  local key = made:match "(%-+BEGIN PRIVATE KEY.-END PRIVATE KEY%-+\n)"
  local pem = made:match "(%-+BEGIN CERTIFICATE.-END CERTIFICATE%-+\n)"
  settles(t, m, function(host)
    host.certificate "web" { certificate = pem, key = key, certificate_path = "/etc/ssl/web.pem",
      key_path = "/etc/ssl/private/web.key", owner = "root:www-data" }
  end, "chmod 644 /etc/ssl/private/web.key")
  t.eq(m.sh "stat -c '%a %U:%G' /etc/ssl/private/web.key", "600 root:www-data")
  t.eq(m.sh "openssl x509 -noout -pubkey -in /etc/ssl/web.pem", m.sh "openssl pkey -pubout -in /etc/ssl/private/web.key")
end

function REAL.archive(t, m)
  local dir = repository.folder(t)
  m.sh "useradd -M app"
  local result = assert(process.run { argv = { "sh", "-ec", [[cd "$1"; mkdir -p tool-1/bin
    echo run >tool-1/bin/run; chmod 755 tool-1/bin/run; ln -s bin/run "tool-1/it's"; chown -R 1234:1234 tool-1
    tar -cJf tool.tar.xz tool-1; tar -czf tool.tgz tool-1; python3 -m zipfile -c tool.zip tool-1]], "sh", dir } })
  t.eq(result.code, 0, result.stderr)
  for _, name in ipairs { "tool.tar.xz", "tool.tgz", "tool.zip" } do
    local path = "/opt/" .. name
    settles(t, m, function(host)
      host.archive(path) { url = ("http://%s:8000/%s"):format(m.gateway, name),
        sha256 = crypto.sha256(fs.read(dir .. "/" .. name)), strip_components = 1, owner = "app:www-data", creates = path .. "/bin/run" }
    end, ("rm %s/bin/run"):format(path))
    t.eq(m.sh(("cd %s; stat -c '%%A %%U:%%G' . bin/run; ls"):format(path)),
      "drwxr-xr-x app:www-data\n-rwxr-xr-x app:www-data\nbin\nit's")
  end
  m.write("/srv/tool.tgz", fs.read(dir .. "/tool.tgz"))
  apply(m, function(host) host.archive "/opt/rooted" { source = "/srv/tool.tgz" } end)
  t.eq(m.sh "stat -c %u:%g /opt/rooted/tool-1 /opt/rooted/tool-1/bin/run", "0:0\n0:0", "who had it elsewhere is nobody here")
  -- All is killed in the middle of an unpacking.
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
  t.eq(m.sh "cd /opt/a; find . | sort; tail -n 1 a/last; stat -c %U . a a/long",
    ".\n./a\n./a/last\n./a/long\n2000000\napp\napp\napp")
end

function REAL.firewall(t, m)
  local function reach(...)
    connection.close_all()
    local list = {}
    for i, port in ipairs { ... } do list[i] = m.answers(port) end
    return list
  end
  t.eq(reach(22, 2222), { true, true }, "nothing is guarded")
  local function declare(host)
    host.firewall "vmrun" {
      allow = { { ports = { 22, 6443 } }, { ports = { 8472 }, protocol = "udp", from = { "10.0.0.0/8", "fd00::/8" } } },
      rules = { "tcp dport { 80, 443 } ct count 9 accept comment \"it's $(x) {\"" } }
  end
  local seen = settles(t, m, declare, "nft add rule inet vmrun input tcp dport 2222 accept")
  t.eq(seen, { { path = "firewall vmrun.live", old = "changed or not loaded", new = "as declared" } })
  t.eq(reach(22, 6443, 2222), { true, true, false })
  m.sh "nft flush ruleset"
  t.eq(reach(2222), { true })
  m.sh "nft -f /etc/nftables.conf"
  t.eq(reach(22, 2222), { true, false }, "as nftables.service loads it when the host starts")
  t.eq(check(m, declare), {})

  local function rules(fields) return function(host) host.firewall "vmrun" (fields) end end
  t.fails("syntax error", apply, m, rules { allow = { { ports = { 22 } } }, rules = { "nonsense" } })
  local refused = ("vmrun itself comes from %s to port 22, and 'allow' lets nobody in there"):format(m.gateway)
  t.fails(refused, apply, m, rules { allow = { { ports = { 6443 } } } })
  t.fails(refused, apply, m, rules { allow = { { ports = { 22 }, from = { "10.85.0.0/16", "fd00::/8" } } } })
  -- Through sudo, which takes the environment away.
  m.sh [[useradd -m -s /bin/sh -p '*' ops; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
    cp -r /root/.ssh /home/ops; chown -R ops /home/ops]]
  local ops = setmetatable({ user = "ops" }, { __index = m })
  t.fails(refused, apply, ops, rules { allow = { { ports = { 6443 } } } })
  t.eq(check(m, declare), {}, "nothing of them was loaded")
  t.eq(apply(ops, rules { allow = { { ports = { 22 }, from = { "10.85.0.0/16", (m.gateway:gsub("1$", "0/30")) } } } }), 1)
  t.eq(reach(22, 6443), { true, false })
  t.eq(m.sh "nft list tables", "table inet filter\ntable inet vmrun", "what asked the kernel has gone")
  t.eq(apply(m, rules { allow_lockout = true, policy = "reject" }), 1, "what is established goes on")
  t.eq(reach(22), { false })
  m.sh "nft flush ruleset"
  settles(t, m, rules { state = "absent" })
  t.eq(m.sh "ls /etc/nftables.d", "")
end

local PORTS = { firewall = { 2222, 6443 } }
local SHELLS = { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" }

for _, name in ipairs(types.NAMES) do
  for shell, path in pairs(REAL[name] and SHELLS or {}) do
    test(("%s on a real root, with %s"):format(name, shell), function(t)
      local m = debian.start(t, HERE, PORTS[name])
      t.after(connection.close_all)
      m.sh("ln -s " .. path .. " /usr/local/sbin/sh; ln -s " .. path .. " /usr/local/bin/sh")
      check(m, function(host) t.eq(host.ask "readlink /proc/$$/exe", path, "the shell") end)
      REAL[name](t, m)
      t.eq(m.sh "find / -xdev -name '.vmrun*' -not -path '/proc/*'", "", "no temporary file")
      t.eq(m.sh "ls -A /var/lib/vmrun/run 2>/dev/null | grep -v '[.]life$' || :", "", "no journal")
    end)
  end
  if not REAL[name] then
    test(name .. " is here or has its reason", function(t) t.ok(REASONS[name], "a reason why " .. name .. " is not tried") end)
  end
end

test.done()
