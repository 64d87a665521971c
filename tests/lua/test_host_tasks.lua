--- Every task type of roles, on a root of its own behind a real sshd, with dash and with busybox's shell: what a check says
-- and does not do, what an apply does, that a second one does nothing, and what is seen of changes made by others.
local test = require "tap"
local connection = require "host.connection"
local crypto = require "crypto"
local fs = require "fs"
local machine = require "machine"
local process = require "process"
local lab = require "role_lab"
local task = require "task"
local types = require "host.task"

test.timeout = 280

-- Commands that would act on the real machine: they keep what they are told in files.
local STUBS = {
  ["apt-get"] = [[
d=/var/lib/stub; mkdir -p $d; echo "apt-get $*" >>/var/log/stub
while :; do case $1 in -o) shift 2 ;; -s) dry=1; shift ;; -*) shift ;; *) break ;; esac; done
verb=$1; shift
case $verb in
upgrade) [ -z "$dry" ] || cat "$d/newer" ;;
update) mkdir -p /var/lib/apt/lists; : >/var/lib/apt/lists/x_Packages ;;
install) for p; do case $p in -*) continue ;; esac
    n=${p%%=*} v=${p#*=}; [ "$v" != "$p" ] || v=1.0
    case $n in no-such*) echo "E: Unable to locate package $n" >&2; exit 100 ;; esac
    printf '%s' "${v%\*}1" >"$d/package.$n"; done ;;
remove) for p; do case $p in -*) continue ;; esac; rm -f "$d/package.$p"; done ;;
*) exit 64 ;;
esac]],
  ["dpkg-query"] = [[
shift 3; f=/var/lib/stub/package.$1
[ -e "$f" ] || { echo "dpkg-query: no packages found matching $1" >&2; exit 1; }
[ -e "/var/lib/stub/hold.$1" ] && printf 'hold ok installed ' || printf 'install ok installed '; cat "$f"]],
  ["apt-mark"] = [[
d=/var/lib/stub; verb=$1; shift
case $verb in
showhold) [ -e "$d/hold.$1" ] && echo "$1" || : ;;
hold) for p; do : >"$d/hold.$p"; done ;;
esac]],
  lsmod = "echo 'Module  Size  Used by'; cat /var/lib/stub/modules 2>/dev/null || :",
  modprobe = [[
case $1 in no_such*) echo "modprobe: FATAL: Module $1 not found" >&2; exit 1 ;; esac
mkdir -p /var/lib/stub; echo "$1 16384 0" | tr - _ >>/var/lib/stub/modules]],
  sysctl = [[
d=/var/lib/stub; mkdir -p $d
case $1 in
-n) [ -e "$d/sysctl.$2" ] && cat "$d/sysctl.$2" || exit 255 ;;
-q) printf '%s\n' "${3#*=}" | tr ' ' '\t' >"$d/sysctl.${3%%=*}" ;;
esac]],
  swapon = "[ ! -e /var/lib/stub/swap ] || cat /var/lib/stub/swap",
  swapoff = "rm -f /var/lib/stub/swap",
  curl = [[
while [ $# -gt 1 ]; do case $1 in -o) out=$2; shift 2 ;; --retry | --max-time) shift 2 ;; *) shift ;; esac; done
case $1 in *missing*) echo "curl: (22) The requested URL returned error: 404" >&2; exit 22 ;; esac
printf 'content of %s\n' "$1" >"$out"]],
}

local HOSTILE = {
  "it's \"quoted\"", "$(touch /tmp/pwned)`touch /tmp/pwned`${HOME}$HOME", "-rf --help", "back\\slash \\n %s %% \\047",
  "na\u{ef}ve \u{2713} \u{6f22}\u{5b57}", "  spaces  ", "; touch /tmp/pwned & # {path} {{", "*?[a-z]~!", "tab\there\r",
}

local URL = "https://example.org/file"

-- As `apt-get -s upgrade --with-new-pkgs` says it.
local NEWER = [[
Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian-Security:12/oldstable-security [amd64])
Inst linux-image-amd64 [6.1.140-1] (6.1.153-1 Debian-Security:12/oldstable-security [amd64]) []
Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64])
Inst tool [1-security] (2 Debian:12.15/oldstable, Ubuntu:22.04/jammy-security [amd64])
Conf bash (5.2.15-2+b13 Debian:12.15/oldstable [amd64])
]]

-- A type: `declare(host)`; `before(m)` makes the fresh host; `drift(m)` is what somebody else does; `seen` are the changes that
-- a check then tells: {path, old, new}; `after(t, m)` looks at what was made.
local CASES = {
  package_upgrade = {
    declare = function(host)
      host.package_upgrade "all" { once = "it's $(x)" }
      host.package_upgrade "some" { once = "1", security = true }
    end,
    before = function(m) m.write("/var/lib/stub/newer", NEWER) end,
    drift = function(m) m.sh "for f in /var/lib/vmrun/upgrades/*.some; do echo 0 >$f; done; rm /var/lib/vmrun/upgrades/*.all; touch -d 2026-01-02 /var/lib/apt/lists" end,
    seen = {
      { path = "package_upgrade all.waiting", old = "3 newer by the lists of 2026-01-02", new = "none" },
      { path = "package_upgrade some.done", old = "0", new = "1" },
      { path = "package_upgrade some.waiting", old = "2 newer by the lists of 2026-01-02", new = "none" },
    },
    after = function(t, m)
      local log = m.sh "grep -v ' -s ' /var/log/stub"
      t.has(log, "update -qq\napt-get -o DPkg::Lock::Timeout=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -y -qq upgrade --with-new-pkgs\n")
      t.has(log, " install --only-upgrade --no-install-recommends linux-image-amd64 tool")
      t.eq(m.sh "cat /var/lib/vmrun/upgrades/*.all", "it's $(x)")
      m.write("/var/lib/stub/newer", "")
      m.sh "mv /var/log/stub /var/log/stub.before"
      lab.apply(m, function(host) host.package_upgrade "other" { once = "2", security = true } end)
      t.ok(not m.read "/var/log/stub":find "install", "where nothing waits nothing is installed")
      m.write("/var/lib/stub/newer", NEWER)
    end,
  },
  apt_repository = {
    declare = function(host)
      host.apt_repository "demo" { url = "https://example.org/deb", suite = "/",
        key = "-----BEGIN PGP-----\nit's $KEY\n-----END-----\n" }
      host.apt_repository "far" { url = "https://example.org/far", suite = "stable", components = { "main", "more" },
        key_url = URL }
    end,
    drift = function(m)
      m.sh("echo '# mine' >/etc/apt/sources.list.d/demo.list; echo x >/etc/apt/keyrings/demo.asc; "
        .. "chmod 600 /etc/apt/keyrings/far.asc")
    end,
    seen = {
      { path = "apt_repository demo.entry", old = "# mine\n",
        new = "deb [signed-by=/etc/apt/keyrings/demo.asc] https://example.org/deb /" },
      { path = "apt_repository demo.key", old = "x", new = "-----BEGIN PGP-----\nit's $KEY\n-----END-----" },
    },
    after = function(t, m)
      t.eq(m.read "/etc/apt/sources.list.d/far.list",
        "# key: " .. URL .. "\ndeb [signed-by=/etc/apt/keyrings/far.asc] https://example.org/far stable main more\n")
      t.eq(m.read "/etc/apt/keyrings/far.asc", "content of " .. URL .. "\n")
    end,
  },
  command = {
    declare = function(host)
      host.command "made" { run = "echo made >/etc/made", creates = "/etc/made" }
      host.command "unless" { run = "echo 2 >/etc/count", unless = "grep -qx 2 /etc/count" }
      host.command "onlyif" { run = "rm /etc/rubbish", onlyif = "[ -e /etc/rubbish ]" }
      host.command "input" { run = "cat >/etc/input", input = "in\nput $(x)", creates = "/etc/input" }
    end,
    before = function(m) m.write("/etc/rubbish", "") end,
    drift = function(m) m.sh "rm /etc/made; echo 3 >/etc/count; : >/etc/rubbish" end,
    seen = { { path = "command made", new = "echo made >/etc/made" }, { path = "command unless", new = "echo 2 >/etc/count" },
      { path = "command onlyif", new = "rm /etc/rubbish" } },
    after = function(t, m)
      t.eq(m.read "/etc/input", "in\nput $(x)")
      t.eq(m.read "/etc/rubbish", nil)
    end,
  },
  directory = {
    declare = function(host)
      host.directory "/srv/a/it's $(x)" { mode = "0750" }
      host.directory "/srv/sticky" { mode = "1777" }
      host.directory "/etc/unwanted" { state = "absent" }
    end,
    before = function(m) m.sh "mkdir -p /etc/unwanted/deep; : >/etc/unwanted/deep/file" end,
    drift = function(m) m.sh "chmod 700 \"/srv/a/it's \\$(x)\"; mkdir /etc/unwanted" end,
    seen = { { path = "directory /srv/a/it's $(x).mode", old = "700", new = "750" },
      { path = "directory /etc/unwanted.mode", old = "755", new = "" } },
  },
  download = {
    declare = function(host)
      host.download "/opt/tools/file" { url = URL, sha256 = crypto.sha256("content of " .. URL .. "\n"):upper(), mode = "0755" }
    end,
    drift = function(m) m.sh "echo other >/opt/tools/file; chmod 644 /opt/tools/file" end,
    seen = { { path = "download /opt/tools/file.mode", old = "644", new = "755" },
      { path = "download /opt/tools/file.sha256", old = crypto.sha256("other\n"),
        new = crypto.sha256("content of " .. URL .. "\n") } },
  },
  file = {
    declare = function(host)
      host.file "/etc/plain" { content = "one\ntwo\n\n" }
      host.file "/etc/mode" { content = "", mode = "0640", owner = "0:0" }
      host.file "/etc/secret" { content = "hush", mode = "0600", secret = true }
      host.file "/etc/link" { content = "a file, not a link" }
      host.file "/etc/gone" { state = "absent" }
      for i, value in ipairs(HOSTILE) do host.file("/etc/" .. i .. value:gsub("/", "_")) { content = value .. "\n" .. value } end
    end,
    before = function(m) m.sh "ln -s /etc/hosts /etc/link; : >/etc/gone" end,
    drift = function(m)
      m.sh("echo three >/etc/plain; chmod 666 /etc/mode; echo other >/etc/secret; printf 'a\\377' >'/etc/7; "
        .. "touch _tmp_pwned & # {path} {{'; echo >/etc/gone; rm /etc/3-rf*")
    end,
    seen = {
      { path = "file /etc/plain.content", old = "three\n", new = "one\ntwo\n\n" },
      { path = "file /etc/mode.mode", old = "666", new = "640" },
      { path = "file /etc/secret.digest", old = "(secret)", new = "(secret, changed)" },
      { path = "file /etc/gone.content", old = "present", new = "" },
      { path = "file /etc/3-rf --help", new = "-rf --help\n-rf --help" },
      { path = "file /etc/7; touch _tmp_pwned & # {path} {{.content", old = "(2 bytes that are no text)",
        new = HOSTILE[7] .. "\n" .. HOSTILE[7] },
    },
    after = function(t, m)
      t.eq(m.read "/etc/plain", "one\ntwo\n\n")
      t.eq(m.read "/etc/link", "a file, not a link")
      t.eq(m.read "/etc/hosts", "127.0.0.1 localhost\n")
      for i, value in ipairs(HOSTILE) do t.eq(m.read("/etc/" .. i .. value:gsub("/", "_")), value .. "\n" .. value) end
    end,
  },
  handler = {
    declare = function(host)
      host.handler "tell" { run = "echo told >>/var/log/told" }
      host.file "/etc/a" { content = "a\n", notify = "tell" }
      host.file "/etc/b" { content = "b\n", notify = { "tell" } }
    end,
    drift = function(m) m.sh "rm /etc/a" end,
    seen = { { path = "file /etc/a", new = "a\n" } },
    after = function(t, m) t.eq(m.read "/var/log/told", "told\n") end,
    mended = function(t, m) t.eq(m.read "/var/log/told", "told\ntold\n") end,
  },
  host_entry = {
    declare = function(host)
      host.host_entry "api.internal" { address = "10.0.0.4" }
      host.host_entry "fresh" { address = "127.0.1.1" }
    end,
    before = function(m) m.write("/etc/hosts",
      "# api.internal\n127.0.0.1 localhost\n127.0.1.1 fresh.domain fresh # api.internal\n10.0.0.3\tapi.internal\n") end,
    drift = function(m) m.sh "echo '10.9.9.9 api.internal other' >>/etc/hosts" end,
    seen = { { path = "host_entry api.internal.address", old = "10.0.0.4\n10.9.9.9", new = "10.0.0.4" } },
    after = function(t, m)
      t.eq(m.read "/etc/hosts",
        "# api.internal\n127.0.0.1 localhost\n127.0.1.1 fresh.domain fresh # api.internal\n10.0.0.4 api.internal\n")
    end,
    mended = function(t, m)
      t.has(m.read "/etc/hosts", "10.9.9.9 other\n10.0.0.4 api.internal\n")
    end,
  },
  hostname = {
    declare = function(host) host.hostname "cp-1" {} end,
    drift = function(m) m.sh "hostname other" end,
    seen = { { path = "hostname cp-1.name", old = "other", new = "cp-1" } },
  },
  kernel_module = {
    declare = function(host)
      host.kernel_module "br_netfilter" {}
      host.kernel_module "nf-conntrack" {}
    end,
    before = function(m) m.write("/var/lib/stub/modules", "overlay 1 0\n") end,
    drift = function(m) m.sh "echo >/var/lib/stub/modules; rm /etc/modules-load.d/nf-conntrack.conf" end,
    seen = { { path = "kernel_module br_netfilter.loaded", old = "no", new = "yes" },
      { path = "kernel_module nf-conntrack.loaded", old = "no", new = "yes" },
      { path = "kernel_module nf-conntrack.persistent", old = "", new = "nf-conntrack" } },
  },
  line = {
    declare = function(host)
      host.line "PermitRootLogin no" { path = "/etc/conf", replaces = "^#?[[:space:]]*PermitRootLogin\\>" }
      host.line "gone: yes" { path = "/etc/conf", state = "absent" }
      host.line "only" { path = "/etc/only", state = "absent" }
      for i, value in ipairs(HOSTILE) do host.line("v" .. i) { path = "/etc/new", line = value } end
    end,
    before = function(m)
      m.write("/etc/conf", "first\n# PermitRootLogin yes\nmiddle\ngone: yes\nPermitRootLogin yes\n\nlast without end", 416)
      m.write("/etc/only", "only\n")
    end,
    drift = function(m) m.sh "printf 'PermitRootLogin maybe\\ngone: yes\\n' >>/etc/conf; sed -i 1d /etc/new" end,
    seen = {
      { path = "line /etc/conf: PermitRootLogin no.line", old = "PermitRootLogin maybe", new = "PermitRootLogin no" },
      { path = "line /etc/conf: gone: yes.line", old = "gone: yes", new = "" },
      { path = "line /etc/new: " .. HOSTILE[1], new = HOSTILE[1] },
    },
    after = function(t, m)
      t.eq(m.read "/etc/conf", "first\nPermitRootLogin no\nmiddle\n\nlast without end\n")
      t.eq(m.sh "stat -c %a /etc/conf", "640")
      t.eq(m.read "/etc/new", table.concat(HOSTILE, "\n") .. "\n")
      t.eq(m.read "/etc/only", "")
    end,
  },
  package = {
    declare = function(host)
      host.package "curl" {}
      host.package "tools" { names = { "kubelet", "kubeadm" }, version = "1.36.1-*", hold = true }
      host.package "snapd" { state = "absent" }
    end,
    before = function(m) m.write("/var/lib/stub/package.snapd", "2") end,
    drift = function(m)
      m.sh("echo 1.35.0-1 >/var/lib/stub/package.kubeadm; rm /var/lib/stub/hold.kubelet; "
        .. "echo 1 >/var/lib/stub/package.snapd; rm /var/lib/stub/package.curl")
    end,
    seen = { { path = "package curl.installed", old = "", new = "yes" }, { path = "package tools.held", old = "no", new = "yes" },
      { path = "package tools.installed", old = "1.35.0-1", new = "1.36.1-*" },
      { path = "package snapd.installed", old = "snapd", new = "" } },
    after = function(t, m)
      t.eq(m.read "/var/lib/stub/package.kubelet", "1.36.1-1")
      t.eq(select(2, m.read("/var/log/stub"):gsub("update", "")), 1)
    end,
  },
  swap = {
    declare = function(host) host.swap "swap" {} end,
    before = function(m)
      m.write("/etc/fstab", "# swap\n/dev/sda1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n", 384)
      m.write("/var/lib/stub/swap", "/swapfile\n")
      m.write("/var/lib/stub/swap-unit", "dev-sda2.swap loaded active active Swap\n")
    end,
    drift = function(m) m.sh "echo /dev/zram0 >/var/lib/stub/swap; echo '/dev/sdb none  swap sw' >>/etc/fstab" end,
    seen = { { path = "swap swap.active", old = "/dev/zram0", new = "" },
      { path = "swap swap.fstab", old = "/dev/sdb none  swap sw", new = "" } },
    after = function(t, m)
      t.eq(m.read "/etc/fstab", "# swap\n/dev/sda1 / ext4 defaults 0 1\n#/swapfile none swap sw 0 0\n")
      t.eq(m.sh "stat -c %a /etc/fstab", "600")
      t.eq(m.read "/var/lib/stub/swap-unit", nil)
    end,
  },
  sysctl = {
    declare = function(host)
      host.sysctl "net.ipv4.ip_forward" { value = "1" }
      host.sysctl "net.ipv4.tcp_rmem" { value = "4096 87380 6291456" }
      host.sysctl "kernel.core_pattern" { value = "|/bin/false '%e' $(x)" }
    end,
    before = function(m) m.write("/var/lib/stub/sysctl.net.ipv4.ip_forward", "0\n") end,
    drift = function(m)
      m.sh("echo 0 >/var/lib/stub/sysctl.net.ipv4.ip_forward; "
        .. "echo '# x' >/etc/sysctl.d/90-net.ipv4.tcp_rmem.conf")
    end,
    seen = { { path = "sysctl net.ipv4.ip_forward.value", old = "0", new = "1" },
      { path = "sysctl net.ipv4.tcp_rmem.persistent", old = "# x\n", new = "net.ipv4.tcp_rmem = 4096 87380 6291456" } },
    after = function(t, m) t.eq(m.read "/etc/sysctl.d/90-net.ipv4.ip_forward.conf", "net.ipv4.ip_forward = 1\n") end,
  },
  template = {
    declare = function(host)
      host.template "/etc/rendered" { template = "name={{ who.name }}\nall={{all}}\n",
        values = { who = { name = "it's $(x)" }, all = 12 } }
    end,
    drift = function(m) m.sh "echo >>/etc/rendered" end,
    seen = { { path = "template /etc/rendered.content", old = "name=it's $(x)\nall=12\n\n", new = "name=it's $(x)\nall=12\n" } },
  },
}

for _, name in ipairs { "task_cases_accounts", "task_cases_settings" } do
  local page = require(name)
  for command, text in pairs(page.stubs) do STUBS[command] = text end
  for kind, case in pairs(page.cases) do CASES[kind] = case end
end

local SHELLS = { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" }

local function start(t, options)
  options = options or {}
  local m = machine.start(t, { commands = STUBS, user = options.user })
  m.hostname = "fresh" -- as recipes say it; it must not hide the task of that name
  if options.shell then m.command("sh", options.shell) end
  t.after(connection.close_all)
  return m
end

local check, apply = lab.check, lab.apply

-- Everything on the root that counts, as a list of texts; and the temporary files that were found.
local function snapshot(m)
  local seen, temporary = {}, {}
  local function walk(path)
    local st = fs.stat(path)
    seen[#seen + 1] = ("%s %s %o %d:%d %s"):format(path, st.type, st.mode, st.uid, st.gid,
      st.type == "file" and crypto.sha256(fs.read(path)) or st.type == "link" and fs.readlink(path) or "")
    if path:find("/%.vmrun[^/]*$") or path:find("^" .. m.root .. "/tmp/.") then temporary[#temporary + 1] = path end
    if st.type == "directory" then
      for _, name in ipairs(fs.list(path)) do walk(path .. "/" .. name) end
    end
  end
  for _, name in ipairs { "etc", "opt", "srv", "root", "var/lib", "tmp" } do
    if fs.stat(m.root .. "/" .. name) then walk(m.root .. "/" .. name) end
  end
  return seen, temporary
end

for _, name in ipairs(types.NAMES) do
  test("task " .. name .. " has a case", function(t) t.ok(CASES[name], "a case for " .. name) end)
end

for shell, path in pairs(SHELLS) do
  test("tasks with " .. shell, function(t)
    local ran = {}
    local m = start(t, { shell = path })
    m.sh "mkdir -p /opt /srv"
    for _, name in ipairs(types.NAMES) do
      local case = CASES[name]
      if case.before then case.before(m) end
      m.sh "rm -f /var/log/stub"
      local before = snapshot(m)
      local found = check(m, case.declare)
      t.ok(#found > 0, name .. " differs on a fresh root")
      t.eq(snapshot(m), before, name .. " checks without a change")
      t.ok(apply(m, case.declare) > 0, name .. " changes something")
      if case.after then case.after(t, m) end
      t.eq(check(m, case.declare), {}, name .. " is as it should be")
      local made = snapshot(m)
      t.eq(apply(m, case.declare), 0, name .. " has nothing more to do")
      t.eq(snapshot(m), made, name .. " applied again")
      case.drift(m)
      t.eq(check(m, case.declare), case.seen, name .. " sees what others did")
      t.ok(apply(m, case.declare) > 0)
      if case.mended then case.mended(t, m) end
      t.eq(check(m, case.declare), {}, name .. " is mended")
      t.eq(select(2, snapshot(m)), {}, name .. " leaves no temporary file")
      ran[#ran + 1] = name
    end
    t.eq(#ran, #types.NAMES)
  end)
end

test("a task that differs does not make the next one differ", function(t)
  local m = start(t)
  m.sh "mkdir /etc/there; chown 0:0 /etc/there"
  t.eq(check(m, function(host)
    host.file "/etc/x" { content = "x" }
    host.directory "/etc/there" {}
  end), { { path = "file /etc/x", new = "x" } })
end)

test("a file of 10 MB", function(t)
  local m = start(t)
  local content = ("0123456789 it's $(x) `y`\n"):rep(420000)
  local function declare(host) host.file "/etc/big" { content = content } end
  t.eq(apply(m, declare), 1)
  t.eq(crypto.sha256(m.read "/etc/big"), crypto.sha256(content))
  t.eq(check(m, declare), {})
  m.write("/etc/big", "x" .. content)
  local found = check(m, declare)
  t.eq(#found, 1)
end)

-- Short texts come line by line, others in base64: both to the byte.
test("a check tells what a file holds", function(t)
  local line = "it's \\n $(x) +-= \t \r  "
  local contents = { "", "\n", "\n\n", line, line .. "\n", "-\n+\n=\n", line .. "\n\n" .. line, ("x"):rep(2048),
    ("x\n"):rep(1024),
    ("x"):rep(2049), ("long\n"):rep(4000), ("\u{6f22}\n"):rep(20) }
  for shell, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    for i, content in ipairs(contents) do m.write("/etc/seen/" .. i, content, 420) end
    m.write("/etc/seen/zero", "a\0b\n", 420)
    m.write("/etc/seen/many", ("x"):rep(65537), 420)
    local found = check(m, function(host)
      for i in ipairs(contents) do host.file ("/etc/seen/" .. i) { content = "new" } end
      host.file "/etc/seen/zero" { content = "new" }
      host.file "/etc/seen/many" { content = "new" }
    end)
    t.eq(#found, #contents + 2)
    for i, content in ipairs(contents) do
      t.eq(found[i], { path = ("file /etc/seen/%d.content"):format(i), old = content, new = "new" }, shell)
    end
    t.eq(found[#contents + 1].old, "a\0b\n")
    t.eq(found[#contents + 2], { path = "file /etc/seen/many", new = "new" })
  end
end)

test("a new file has its mode and owner whatever its folder hands down", function(t)
  for shell, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    m.sh "mkdir /etc/down; chmod 2777 /etc/down; ln -s down /etc/up"
    local modes = { "0644", "0600", "0640", "0444", "0666", "0755", "0700", "000", "0040", "4755", "1644", "0111" }
    local function declare(host)
      for i, mode in ipairs(modes) do host.file ("/etc/up/" .. i) { content = mode, mode = mode } end
    end
    t.eq(apply(m, declare), #modes)
    for i, mode in ipairs(modes) do
      t.eq(m.sh("stat -c '%a %u:%g' /etc/down/" .. i), ("%o 0:0"):format(tonumber(mode, 8)), shell)
    end
    t.eq(check(m, declare), {})
  end
end)

test("folders that hand down access rights", function(t)
  -- A default list as setfacl writes it: rwx for everybody, whatever the umask says.
  local list = "import os, sys; [os.setxattr(p, 'system.posix_acl_default', bytes.fromhex("
    .. "'02000000' + ''.join(tag + '000700ffffffff' for tag in ('01', '04', '20')))) for p in sys.argv[1:]]"
  for shell, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    m.sh "mkdir /etc/one /etc/two /etc/three"
    local result = assert(process.run { argv = { "python3", "-c", list, m.root .. "/etc/one", m.root .. "/etc/two" } })
    t.eq(result.code, 0, result.stderr)
    t.eq(m.sh("umask 077; : >/etc/one/x; stat -c %a /etc/one/x; rm /etc/one/x"), "666", "the rights are handed down")
    local function declare(host)
      for i, mode in ipairs { "0644", "0600", "0755" } do
        for _, folder in ipairs { "one", "two", "three" } do
          host.file ("/etc/" .. folder .. "/" .. folder .. i) { content = mode, mode = mode }
        end
      end
      host.directory "/etc/one/new" { mode = "0750" }
    end
    apply(m, declare)
    t.eq(m.sh "cd /etc; stat -c '%n %a' one/* two/* three/*", ("one/new 750\none/one1 644\none/one2 600\none/one3 755\n"
      .. "two/two1 644\ntwo/two2 600\ntwo/two3 755\nthree/three1 644\nthree/three2 600\nthree/three3 755"), shell)
    t.eq(check(m, declare), {})
  end
end)

test("a line of a file behind a link", function(t)
  for shell, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    m.sh "mkdir -p /etc/l; cd /etc/l; printf 'x\ny' >real; chmod 640 real; ln -s real link"
    local function declare(state)
      return function(host)
        host.line "one" { path = "/etc/l/link", state = state }
        host.line "two" { path = "/etc/l/link", state = state, replaces = state == "present" and "^x" or nil }
      end
    end
    apply(m, declare "present")
    t.eq(check(m, declare "present"), {})
    t.eq(m.sh "cd /etc/l; readlink link; stat -c %a real; cat real", "real\n640\ntwo\ny\none", shell)
    apply(m, declare "absent")
    t.eq(m.sh "cd /etc/l; readlink link; stat -c %a real; cat real", "real\n640\ny", shell)
  end
end)

-- What was asked about at once must not be believed when something else has changed it since.
test("what is known of paths ends with what changes them", function(t)
  for shell, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    local function declare(host)
      host.file "/etc/k/a" { content = "a" }
      host.file "/etc/k/b" { content = "b" }
      host.line "one" { path = "/etc/k/lines" }
      host.line "two" { path = "/etc/k/lines" }
      host.line "three" { path = "/etc/k/link" }
      host.file "/etc/k/f" { content = "f" }
      host.command "spoils" { run = "echo spoiled >/etc/k/c; chmod 600 /etc/k/d" }
      host.file "/etc/k/c" { content = "c" }
      host.file "/etc/k/d" { content = "d" }
      host.symlink "/etc/k/current" { target = "v2" }
      host.file "/etc/k/current/app" { content = "v2" }
      host.file "/etc/k/v1/other" { content = "v1" }
      host.file "/etc/k/alias/other" { content = "v2" }
    end
    m.sh("mkdir -p /etc/k/v1 /etc/k/v2; cd /etc/k; ln -s v1 current; ln -s v1 alias; printf v2 >v1/app; "
      .. "printf old >v2/app; printf c >c; printf d >d; printf f >f; ln -s f link")
    m.sh "cd /etc/k; printf v2 >v1/other; printf a >a; echo x >b; printf zero >lines"
    apply(m, declare)
    t.eq(m.sh "cd /etc/k; cat a b c d f v2/app lines; stat -c %a d; cat v1/other", "abcdfv2zero\none\ntwo\n644\nv2", shell)
  end
end)

-- A check asks about all paths at once; names that could be taken for others are asked apart.
test("paths that resemble each other are told apart", function(t)
  for _, path in pairs(SHELLS) do
    local m = start(t, { shell = path })
    local names = { "/etc/a", "/etc/a /etc/b", "/etc/b", "/etc/a\\b", "/etc/644 root:root 0:0 1 ", "/etc/*" }
    local function declare(host)
      for i, name in ipairs(names) do host.file (name) { content = name, mode = "064" .. i % 5 } end
    end
    m.sh "mkdir -p '/etc/a '; mkdir '/etc/a /etc' '/etc/644 root:root 0:0 1 ' && rmdir '/etc/644 root:root 0:0 1 '"
    apply(m, declare)
    t.eq(check(m, declare), {})
    for i, name in ipairs(names) do
      local others = m.read(name)
      m.write(name, "other", tonumber("064" .. i % 5, 8))
      local found = check(m, declare)
      t.eq(#found, 1, name)
      t.eq(found[1].path, "file " .. name .. ".content")
      m.write(name, others, tonumber("064" .. i % 5, 8))
    end
  end
end)

test("secrets are in no argument and no environment", function(t)
  local m = start(t)
  local canary = "canary-" .. crypto.hex(crypto.random(8))
  local nowhere = lab.look(t, canary)
  apply(m, function(host)
    host.command "input" { run = "sleep 0.2; cat >/etc/got; sleep 0.1", input = canary }
    host.file "/etc/secret" { content = canary .. ("x"):rep(1000000), secret = true }
    host.line "secret" { path = "/etc/line", line = "password=" .. canary }
    host.user "secret" { password_hash = "$6$salt$" .. canary }
  end)
  nowhere()
  t.eq(m.read "/etc/got", canary)
end)

test("a package's version may be somebody else's matter from some point on", function(t)
  local m = start(t)
  local function declare(host)
    host.package "tools" { names = { "kubelet", "kubeadm" }, version = "1.36.1-*", hold = true, version_until = "/etc/joined" }
  end
  apply(m, declare)
  t.eq(m.read "/var/lib/stub/package.kubelet", "1.36.1-1")
  m.sh "echo 1.35.0-1 >/var/lib/stub/package.kubelet"
  t.eq(#check(m, declare), 1, "not yet")
  m.sh "echo >/etc/joined"
  t.eq(#check(m, declare), 0)
  m.sh "rm /var/lib/stub/package.kubeadm; rm /var/lib/stub/hold.kubelet"
  t.eq(#check(m, declare), 2, "what is missing is, and so is a hold")
  apply(m, declare)
  t.eq({ (m.read "/var/lib/stub/package.kubelet"):match "%S+", m.read "/var/lib/stub/package.kubeadm" },
    { "1.35.0-1", "1.36.1-1" })
  t.eq(#check(m, declare), 0)
end)

test("a failing task says its last lines and stops the rest", function(t)
  local m = start(t)
  local function declare(host)
    host.command "one" { run = "echo fine" }
    host.command "two" { run = "echo on the way; echo 'no $space left' >&2; exit 7" }
    host.file "/etc/three" { content = "3" }
  end
  local err = t.fails("`command two` failed: exit code 7\non the way\nno $space left", apply, m, declare)
  t.eq(err.code, "task")
  t.ok(not err.message:find("fine", 1, true), "the first task's words are its own")
  t.eq(m.read "/etc/three", nil)
  t.fails("it ran, but what it should have changed did not change", apply, m, function(host)
    host.command "x" { run = "true", creates = "/etc/nothing" }
  end)
  t.fails("Unable to locate package no-such", apply, m, function(host) host.package "no-such" {} end)
  t.fails("Unit ghost.service not found.", apply, m, function(host) host.service "ghost" {} end)
  t.fails("the checksum of https://example.org/file is " .. crypto.sha256("content of " .. URL .. "\n"), apply, m, function(host)
    host.download "/opt/x" { url = URL, sha256 = ("0"):rep(64) }
  end)
  t.fails("404", apply, m, function(host) host.download "/opt/x" { url = URL .. "/missing", sha256 = ("0"):rep(64) } end)
  t.fails("/etc is a directory", apply, m, function(host) host.file "/etc" { content = "x" } end)
  t.fails("cannot check `line /etc/x: a` (exit code 2)", check, m,
    function(host) host.line "a" { path = "/etc/x", replaces = "(" } end)
  t.eq(select(2, snapshot(m)), {})
end)

test("a task that takes too long is ended with its children", function(t)
  local m = start(t)
  local began = task.now()
  t.fails("`command slow` failed: no end after 1 s\nstarted", apply, m, function(host)
    host.command "slow" { run = "echo started; sleep 771 & sleep 772", timeout = 1 }
  end)
  t.ok(task.now() - began < 15)
  t.eq(m.run({ "pgrep", "-f", "sleep 77[12]" }).stdout, "")
  local err = t.fails("exit code 124", apply, m, function(host) host.command "own" { run = "exit 124" } end)
  t.ok(not err.message:find("no end", 1, true), "the command's own 124 is no timeout")
end)

test("handlers: once, at a flush, and after a crash between notify and act", function(t)
  local m = start(t)
  local function declare(host)
    host.handler "tell" { run = "echo told >>/etc/told" }
    host.file "/etc/a" { content = "a", notify = "tell" }
    host.flush()
    host.command "see" { run = "cp /etc/told /etc/seen", creates = "/etc/seen" }
    host.file "/etc/b" { content = "b", notify = "tell" }
    host.ask "true"
    host.file "/etc/c" { content = "c", notify = "tell" }
  end
  apply(m, declare)
  t.eq(m.read "/etc/seen", "told\n")
  t.eq(m.read "/etc/told", "told\ntold\n", "one for the flush, one for both files behind it")

  local function crash(host)
    host.handler "reload" { run = "echo reloaded >>/etc/reloads" }
    host.file "/etc/d" { content = "d", notify = "reload" }
    host.command "crash" { run = ": >/tmp/here; [ ! -e /etc/wait ] || sleep 60; : >/etc/over", creates = "/etc/over" }
  end
  m.write("/etc/wait", "")
  local running = task.spawn(apply, m, crash, nil, { seconds = 6 })
  while not m.read "/tmp/here" do task.sleep(0.01) end
  m.down()
  local ok, err = running:join()
  t.eq({ ok, err.code }, { false, "unreachable" })
  t.eq(m.read "/etc/reloads", nil)
  fs.remove(m.root .. "/etc/wait")
  m.up()
  t.eq(check(m, crash), { { path = "command crash", new = ": >/tmp/here; [ ! -e /etc/wait ] || sleep 60; : >/etc/over" },
    { path = "handler reload.run", old = "pending", new = "echo reloaded >>/etc/reloads" } })
  t.eq(apply(m, crash), 2)
  t.eq(m.read "/etc/reloads", "reloaded\n")
  t.eq(apply(m, crash), 0)

  -- Another role's handler of the same name is another.
  local page = { name = "other.role", timeouts = lab.PAGE.timeouts }
  m.sh "rm /etc/d; : >/etc/wait; rm /etc/over; rm /tmp/here"
  running = task.spawn(apply, m, crash, nil, { seconds = 6 })
  while not m.read "/tmp/here" do task.sleep(0.01) end
  m.down()
  running:join()
  m.up()
  t.eq(check(m, function(host) host.handler "reload" { run = "false" } end, page), {})
end)

test("answers and facts", function(t)
  local m = start(t)
  local order = {}
  local _, _, told = apply(m, function(host)
    t.eq(host.checking, false)
    t.eq(host.os .. " " .. host.codename, "debian bookworm")
    t.ok(math.type(host.processors) == "integer" and host.memory > 10)
    host.file "/etc/a" { content = "it's\n" }
    order[1] = host.ask "cat /etc/a; echo \"$((1 + 1))\"; echo noise >&2"
    host.file "/etc/b" { content = order[1] }
    t.fails("there is no task type or fact 'memroy'; did you mean 'memory'?", function() return host.memroy end)
  end)
  t.eq(order, { "it's\n2" })
  t.eq(m.read "/etc/b", "it's\n2")
  t.eq(told, { "file /etc/a", "file /etc/b" })
  check(m, function(host)
    t.eq(host.checking, true)
    host.file "/etc/zzz" { content = "z" }
    t.eq(host.ask "[ -e /etc/zzz ] || echo no", "no")
  end)
end)

test("what is wrong with a declaration is said before anything runs", function(t)
  local m = { address = "192.0.2.1", user = "root", host_keys = {} }
  local function wrong(text, declare) t.fails("role test.role: " .. text, apply, m, declare) end
  wrong("there is no task type or fact 'fiel'; did you mean 'file'?", function(host) host.fiel "/etc/x" {} end)
  wrong("file \"/etc/x\": has no field 'contents'; did you mean 'content'?",
    function(host) host.file "/etc/x" { contents = "x" } end)
  wrong("file \"/etc/x\": needs 'content'", function(host) host.file "/etc/x" {} end)
  wrong("file \"/etc/x\": 'content' holds a NUL byte", function(host) host.file "/etc/x" { content = "a\0b" } end)
  wrong("line \"a\0b\": 'line' holds a NUL byte", function(host) host.line "a\0b" { path = "/x" } end)
  wrong("file \"x\": 'path' wants text that matches", function(host) host.file "x" { content = "" } end)
  wrong("file \"/x\": 'mode' wants text that matches", function(host) host.file "/x" { content = "", mode = "rw" } end)
  wrong("package \"a b\": 'names", function(host) host.package "a b" {} end)
  wrong("template \"/etc/t\": no value for {{who.name}}", function(host) host.template "/etc/t" { template = "{{who.name}}" } end)
  wrong("service \"x\" has no fields; write {} after its name", function(host)
    host.service "x"
    host.file "/x" { content = "" }
  end)
  wrong("`file /x` notifies 'nobody', but no service or handler has that name", function(host)
    host.file "/x" { content = "", notify = "nobody" }
  end)
end)

test("a host without sudo, or with a wrong user", function(t)
  local m = start(t, { user = "guest" })
  m.command("sudo", "echo 'sudo: a password is required' >&2; exit 1")
  local err = t.fails("the host's shell ended early (exit code 1): sudo: a password is required", check, m, function(host)
    host.file "/x" { content = "" }
  end)
  t.eq({ err.code, err.hint }, { "shell", "'sudo -n' must work for user guest" })
end)

test.done()
