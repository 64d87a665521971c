--- What the task types about people, certificates, links, archives, packages and firewalls refuse, and that nothing is half
-- done then.
local test = require "tap"
local connection = require "host.connection"
local crypto = require "crypto"
local fs = require "fs"
local lab = require "role_lab"
local machine = require "machine"
local task = require "task"

test.timeout = 60

local STUBS = require "task_cases_accounts".stubs

local function start(t)
  local m = machine.start(t, { commands = STUBS,
    files = { ["/etc/sudoers"] = "@includedir /etc/sudoers.d\n", ["/etc/sudoers.d/README"] = "" } })
  t.after(connection.close_all)
  return m
end

local function check(m, declare) return (lab.check(m, declare)) end
local function apply(m, declare) return lab.apply(m, declare) end

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("a"):rep(43)

-- A leaf of an authority, by how many days it is valid.
local function issued(days)
  local ca = crypto.x509_ca { cn = "ours", days = 3 }
  return ca, crypto.x509_issue { ca = ca, cn = "www", days = days or 2 }
end

test("what is wrong with a declaration is said before anything runs, without the secrets in it", function(t)
  local nowhere = { address = "192.0.2.1", user = "root", host_keys = {} }
  local function wrong(text, kind, name, fields, hidden)
    local function declare(host) host[kind](name)(fields) end
    local err = t.fails(("role test.role: %s \"%s\": %s"):format(kind, name, text), apply, nowhere, declare)
    t.ok(not hidden or not tostring(err):find(hidden, 1, true), "the secret is not told")
  end
  local ca, leaf = issued()
  local _, late = issued(1e-6)
  task.sleep(1.1)
  local _, other = issued()

  wrong("'target' holds a NUL byte", "symlink", "/a", { target = "a\0b" })
  wrong("needs 'target'", "symlink", "/a", {})
  wrong("'path' wants text that matches", "symlink", "/a/", { target = "b" })
  wrong("needs one of 'url' and 'source'", "archive", "/a", {})
  wrong("'url' needs 'sha256'", "archive", "/a", { url = "https://example.org/a.tar" })
  wrong("'sha256' wants a length of at least 64", "archive", "/a", { url = "https://example.org/a.tar", sha256 = "ab" })
  wrong("'comment' holds a NUL byte", "user", "app", { comment = "a\0" })
  wrong("'comment' wants text that matches", "user", "app", { comment = "a:b" })
  wrong("'password_hash' wants what crypt(3) makes", "user", "app", { password_hash = "open sesame" }, "open sesame")
  wrong("'password_hash' wants what crypt(3) makes", "user", "app", { password_hash = "$6$a$b\0c" }, "$b")
  wrong("'password_hash' wants what crypt(3) makes", "user", "app", { password_hash = "$6$a$b\nroot:x" })
  local private = crypto.keypair("ed25519", {}).private
  wrong("'keys[1]' is no line of a public key", "authorized_key", "app", { keys = private }, private:match("\n(%S+)\n"))
  wrong("there is no key in 'keys'", "authorized_key", "app", { keys = { "# nobody\n" } })
  wrong("'options' wants text that matches", "authorized_key", "app", { keys = KEY, options = "restrict\nssh-rsa A" })
  wrong("'name' wants text that matches", "sudoers", "a.b", { content = "" })
  wrong("'content' holds a NUL byte", "sudoers", "a", { content = "\0" })
  wrong("needs one of 'version', 'origin' and 'release'", "package_pin", "a", {})
  wrong("apt knows no 'priority' of 0", "package_pin", "a", { version = "1", priority = 0 })
  wrong("'name' wants text that matches", "timezone", "../../etc/passwd", {})
  wrong("'content' wants one certificate in PEM, got none", "ca_certificate", "a", { content = "x" })
  wrong("'content' wants one certificate in PEM, got 2", "ca_certificate", "a", { content = ca.cert .. leaf.cert })
  wrong("the certificate cannot be read", "ca_certificate", "a",
    { content = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" })
  wrong("the certificate of www is no authority's", "ca_certificate", "a", { content = leaf.cert })
  wrong("'key' is not the key of the certificate of www", "certificate", "/a",
    { certificate = leaf.cert, key = other.key, key_path = "/k" }, other.key)
  wrong("the certificate of www expired on 20", "certificate", "/a", { certificate = late.cert, key = late.key, key_path = "/k" })
  wrong("ours issued it, but the chain begins with www", "certificate", "/a",
    { certificate = leaf.cert, key = leaf.key, chain = other.cert, key_path = "/k" })
  wrong("'key' is no private key in PEM", "certificate", "/a",
    { certificate = leaf.cert, key = "a\0b hush", key_path = "/k" }, "hush")
  wrong("'key_mode' wants text that matches", "certificate", "/a",
    { certificate = leaf.cert, key = leaf.key, key_path = "/k", key_mode = "0644" })
  wrong("the braces of 'rules[1]' do not match", "firewall", "a",
    { rules = { "accept } chain x { type filter hook input priority 0" } })
  wrong("the braces of 'rules[2]' do not match", "firewall", "a", { rules = { "accept comment \"}\"", "tcp dport { 1" } })
  wrong("'rules[1]' wants text that matches", "firewall", "a", { rules = { "accept\ndrop" } })
  wrong("'allow[1].ports[1]' wants", "firewall", "a", { allow = { { ports = { 0 } } } })
end)

test("a link takes no directory's place, and a file's only when told to", function(t)
  local m = start(t)
  m.sh "mkdir /opt; mkdir -p /opt/folder/deep; echo mine >/opt/file"
  t.fails("/opt/folder is a directory, whose place no link takes", apply, m, function(host)
    host.symlink "/opt/folder" { target = "x", force = true }
  end)
  t.fails("/opt/file is a file; 'force = true' lets the link take its place", apply, m, function(host)
    host.symlink "/opt/file" { target = "x" }
  end)
  t.fails("/opt/file is no link, so it is left alone", check, m, function(host)
    host.symlink "/opt/file" { state = "absent" }
  end)
  t.eq(m.read "/opt/file", "mine\n")
  t.eq(m.sh "ls -A /opt/folder /opt", "/opt:\nfile\nfolder\n\n/opt/folder:\ndeep")
end)

test("an archive that is broken, late or another changes nothing", function(t)
  local m = start(t)
  m.sh [[mkdir -p /srv/a/b /opt; seq 100000 >/srv/a/b/long; cd /srv; echo text >text
    tar -czf whole.tar.gz a; head -c 9000 whole.tar.gz >half.tar.gz]]
  local function declare(source, fields)
    return function(host)
      fields.path, fields.source = "/opt/x", "/srv/" .. source
      host.archive "x" (fields)
    end
  end
  t.fails("the checksum of /srv/whole.tar.gz is", apply, m, declare("whole.tar.gz", { sha256 = ("0"):rep(64) }))
  t.fails("nexpected end of file", apply, m, declare("half.tar.gz", {}))
  t.fails("does not look like a tar archive", apply, m, declare("text", {}))
  t.fails("nothing is left of /srv/whole.tar.gz", apply, m, declare("whole.tar.gz", { strip_components = 7 }))
  t.fails("there is no /srv/none", check, m, declare("none", {}))
  t.eq(m.sh "find /opt/x /var/lib/vmrun/archives", "/opt/x\n/var/lib/vmrun/archives")
  t.fails("it was unpacked, but /opt/x/c is not there", apply, m, declare("whole.tar.gz", { creates = "/opt/x/c" }))
  -- What was written of it before its end counts for nothing.
  t.eq(#check(m, declare("whole.tar.gz", {})), 1)
  t.eq(apply(m, declare("whole.tar.gz", {})), 1)
  t.eq(check(m, declare("whole.tar.gz", {})), {})
  m.sh "cd /srv; tar -czf whole.tar.gz text"
  t.eq(apply(m, declare("whole.tar.gz", {})), 1, "another archive of the same name")
  t.eq(m.sh "ls -A /opt/x", "a\ntext")
end)

test("sudo's rules that cannot be read are refused, and the old ones stay", function(t)
  local m = start(t)
  apply(m, function(host) host.sudoers "ops" { content = "fine" } end)
  t.fails("/etc/sudoers.d/ops: syntax error near line 1", apply, m, function(host) host.sudoers "ops" { content = "WRONG" } end)
  t.eq(m.read "/etc/sudoers.d/ops", "fine\n")
  t.eq(m.sh "ls -A /etc/sudoers.d /var/lib/vmrun", "/etc/sudoers.d:\nREADME\nops\n\n/var/lib/vmrun:\nrun")
end)

test("keys are for users with a home, and reach no other place", function(t)
  local m = start(t)
  m.sh [[printf '%s:/bin/sh\n' lost:x:0:0::/srv/lost sly:x:0:0::/srv/sly >>/etc/passwd
    mkdir -p /srv/sly; ln -s /etc /srv/sly/.ssh]]
  local function keys(user, state) return function(host) host.authorized_key(user) { keys = KEY, state = state } end end
  t.fails("there is no user ghost", check, m, keys "ghost")
  t.fails("the home of lost, /srv/lost, is not there: make it first", apply, m, keys "lost")
  t.fails("/srv/sly/.ssh is a link, which is not followed", apply, m, keys "sly")
  t.eq(m.read "/etc/authorized_keys", nil)
  t.eq({ check(m, keys("ghost", "absent")), check(m, keys("lost", "absent")) }, { {}, {} })
  -- A user of an earlier task is not there yet when all is checked.
  t.eq(check(m, function(host)
    host.user "ghost" {}
    host.authorized_key "ghost" { keys = KEY }
  end)[2], { path = "authorized_key ghost", new = "(known after user ghost)" })
end)

test("a firewall that would lock vmrun out is refused before anything is loaded", function(t)
  local m = start(t)
  m.sh "mkdir -p /var/lib/stub/nft"
  m.command("systemctl", "[ $1 != enable ] || : >/run/on; [ ! -e /run/on ] || echo enabled")
  local port = m.port
  local function rules(fields) return function(host) host.firewall "own" (fields) end end
  local refused = ("vmrun itself comes from 127.0.0.1 to port %d, and 'allow' lets nobody in there"):format(port)
  t.fails(refused, apply, m, rules {})
  local others = { 22, port + 1, ("1-%d"):format(port - 1) }
  t.fails(refused, apply, m, rules { allow = { { ports = others }, { protocol = "udp", ports = { port } } } })
  t.fails(refused, apply, m, rules { allow = { { ports = { port }, from = { "10.0.0.0/8", "fd00::/8" } } } })
  t.fails(refused, apply, m, rules { policy = "accept", rules = { ("tcp dport %d accept"):format(port) } })
  t.eq(m.sh "ls -A /var/lib/stub/nft; ls /etc/nftables.d 2>/dev/null || :", "")
  t.fails("syntax error, unexpected string", apply, m, rules { allow = { { ports = { port } } }, rules = { "nonsense" } })
  t.eq(m.sh "ls -A /var/lib/stub/nft; ls /etc/nftables.d 2>/dev/null || :", "")
  t.eq(apply(m, rules { allow = { { ports = { port } } } }), 1)
  t.eq(apply(m, rules { allow_lockout = true }), 1)
  t.eq(check(m, rules { allow_lockout = true }), {})
end)

test("a zone that the host does not know", function(t)
  local m = start(t)
  t.fails("there is no time zone Mars/Base on this host", check, m, function(host) host.timezone "Mars/Base" {} end)
end)

test("secrets of people and certificates are in no argument and no environment", function(t)
  local m = start(t)
  local ca, leaf = issued()
  local hash = "$6$salt$" .. crypto.hex(crypto.random(16))
  local canaries = { hash, leaf.key:match("\n(%S+)\n") }
  local nowhere = lab.look(t, table.unpack(canaries))
  -- The stand-in of chpasswd takes its time, so that it is seen.
  m.command("chpasswd", "sleep 0.2\n" .. STUBS.chpasswd)
  m.command("chmod", "sleep 0.1; exec /usr/bin/chmod \"$@\"")
  local _, _, told, said = apply(m, function(host)
    host.user "app" { password_hash = hash, create_home = false }
    host.certificate "/etc/cert" { certificate = leaf.cert, key = leaf.key, chain = ca.cert, key_path = "/etc/key" }
  end)
  nowhere()
  t.has(m.read "/etc/shadow", "app:" .. hash .. ":")
  t.eq(m.read "/etc/key", leaf.key)
  m.sh "echo >/etc/key; sed -i 's/^app:[^:]*/app:!/' /etc/shadow"
  local all = table.concat(told, "\n") .. table.concat(said, "\n") .. test.show(check(m, function(host)
    host.user "app" { password_hash = hash, create_home = false }
    host.certificate "/etc/cert" { certificate = leaf.cert, key = leaf.key, chain = ca.cert, key_path = "/etc/key" }
  end))
  for _, canary in ipairs(canaries) do t.ok(not all:find(canary, 1, true), "nor in what is shown") end
  t.has(all, "(secret, changed)")
end)

-- A stand-in for apt-get while others hold its locks: LOCK HOLDER is what /run/locked says.
local LOCKED = [[
while :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done
echo "$1" >>/run/tried
if [ -e /run/locked ]; then
  read -r lock holder </run/locked
  echo "E: Could not get lock $lock. It is held by process $holder" >&2
  echo "E: Unable to lock directory ${lock%/*}/" >&2
  exit 100
fi
echo "doing $1"
[ "$1" != install ] || printf 1 >/run/installed]]

local function locked(t)
  local m = start(t)
  m.command("apt-get", LOCKED)
  m.command("dpkg-query", "[ -e /run/installed ] || exit 1; printf 'install ok installed 1'")
  m.write("/run/locked", "/var/lib/apt/lists/lock 4711 (unattended-upgr)\n")
  return m
end

test("apt's locks are waited for, and who has them is told once", function(t)
  local m = locked(t)
  local other = task.spawn(function()
    while select(2, (m.read "/run/tried" or ""):gsub("update", "")) < 2 do task.sleep(0.02) end
    m.write("/run/locked", "/var/lib/dpkg/lock-frontend 4712 (apt)\n")
    while not (m.read "/run/tried"):find "update\nupdate\nupdate" do task.sleep(0.02) end
    fs.remove(m.root .. "/run/locked")
  end)
  local _, _, _, said = apply(m, function(host) host.package "tool" {} end)
  other:join()
  t.eq(said, { "package tool: waiting: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (unattended-upgr)",
    "package tool: waiting: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4712 (apt)",
    "package tool: doing update", "package tool: doing install" })
end)

test("the wait for apt's locks ends with the task's time, and the error says who has them", function(t)
  local m = locked(t)
  local began = task.now()
  local err = t.fails("`package tool` failed: no end after 2 s", apply, m, function(host) host.package "tool" { timeout = 2 } end)
  t.ok(task.now() - began < 15)
  t.has(err.message, "no time is left: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (unattended-upgr)")
  t.eq(m.read "/run/installed", nil)
end)

test("a failure of apt that is no lock is told at once, with its own code", function(t)
  local m = locked(t)
  m.command("apt-get", "echo 'E: Release file is not valid yet' >&2; echo @0; exit 100")
  local err = t.fails("`package tool` failed: exit code 100", apply, m, function(host) host.package "tool" {} end)
  t.has(err.message, "E: Release file is not valid yet")
end)

test.done()
