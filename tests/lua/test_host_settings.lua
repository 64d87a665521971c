--- What task types about units, disks and restarts refuse, and what happens when something dies in the middle. Real disks where
-- the tests run as root with loop devices.
local test = require "tap"
local connection = require "host.connection"
local crypto = require "crypto"
local fs = require "fs"
local lab = require "role_lab"
local machine = require "machine"
local process = require "process"
local program = require "host.program"
local shell = require "host.shell"
local task = require "task"
local types = require "host.task"

test.timeout = 90

local STUBS = require "task_cases_settings".stubs

local function start(t)
  local m = machine.start(t, { commands = STUBS })
  t.after(connection.close_all)
  return m
end

local function check(m, declare) return (lab.check(m, declare)) end
local function apply(m, declare) return (lab.apply(m, declare)) end

-- A name of ours over the kernel's boot id; a start of the machine takes it off.
local function cover_boot_id(m)
  m.sh("printf '%s\\n' 00000000-0000-0000-0000-000000000001 >/run/boot_id; "
    .. "mount --bind /run/boot_id /proc/sys/kernel/random/boot_id")
end

local function restarting(host)
  host.file "/etc/before" { content = "b" }
  host.reboot "now" { once = "1", timeout = 5 }
  host.file "/etc/behind" { content = "b" }
end

test("a host that does not come back, or never goes", function(t)
  local m = start(t)
  cover_boot_id(m)
  local err = t.fails("`reboot now`: the host did not restart within 5 s: it still is in the same boot "
    .. "(00000000-0000-0000-0000-000000000001)", apply, m, restarting)
  t.eq(err.code, "task")
  t.eq({ m.read "/etc/before", (m.read "/etc/behind") }, { "b" }, "what lies behind it waits")
  t.eq(check(m, restarting), { { path = "reboot now.restart", old = "asked for, but not done yet", new = "done for 1" },
    { path = "file /etc/behind", new = "b" } })

  m.command("reboot", "echo 'Call failed: not now' >&2; exit 3")
  t.fails("`reboot now`: the host cannot be restarted (exit code 3): Call failed: not now", apply, m, restarting)

  m.command("reboot", ": >/run/going")
  local goer = task.spawn(function()
    while not m.read "/run/going" do task.sleep(0.02) end
    m.down()
  end)
  err = t.fails("`reboot now`: the host did not come back within 5 s after its restart", apply, m, restarting)
  t.eq(err.code, "unreachable")
  goer:join()

  -- It was restarted after all: there is nothing left but what lies behind.
  m.up()
  t.eq(apply(m, restarting), 1)
  t.eq(check(m, restarting), {})
end)

test("a run that dies between the request and the restart", function(t)
  local m = start(t)
  cover_boot_id(m)
  m.command("reboot", ": >/run/going; sleep 30")
  local running = task.spawn(apply, m, restarting)
  while not m.read "/run/going" do task.sleep(0.02) end
  running:cancel()
  running:join()
  t.eq(check(m, restarting)[1].old, "asked for, but not done yet")
  -- Somebody else restarts it.
  m.down()
  m.up()
  connection.close_all()
  t.eq(check(m, restarting), { { path = "file /etc/behind", new = "b" } })
end)

test("a reboot that does not help is an error, and no second one", function(t)
  local m = start(t)
  cover_boot_id(m)
  m.sh ": >/run/reboot-required"
  m.command("reboot", ": >/run/going")
  local count = 0
  local goer = task.spawn(function()
    while not m.read "/run/going" do task.sleep(0.02) end
    count = count + 1
    m.down()
    m.up()
  end)
  t.fails("`reboot x` failed: the host was restarted, and it still says that it must be", apply, m,
    function(host) host.reboot "x" {} end)
  goer:join()
  t.eq(count, 1)
end)

test("which kernels want a restart", function(t)
  local m = start(t)
  m.sh "mkdir /boot"
  local function found(running, ...)
    m.command("uname", "echo " .. running)
    m.sh "rm -f /boot/*"
    for _, name in ipairs { ... } do m.write("/boot/" .. name, "") end
    local changes = check(m, function(host) host.reboot "x" {} end)
    return changes[1] and changes[1].old
  end
  t.eq(found("6.1.0-18-amd64"), nil)
  t.eq(found("6.1.0-18-amd64", "vmlinuz-6.1.0-18-amd64", "vmlinuz-6.1.0-9-amd64"), nil)
  t.eq(found("6.1.0-18-amd64", "vmlinuz-6.1.0-18-amd64", "vmlinuz-6.1.0-20-amd64", "vmlinuz-6.1.0-19-amd64"),
    "needed: 6.1.0-18-amd64 runs, 6.1.0-20-amd64 is installed")
  t.eq(found("6.1.0-18-cloud-amd64", "vmlinuz-6.1.0-18-cloud-amd64", "vmlinuz-6.1.0-20-amd64"), nil, "another flavour")
  t.eq(found("6.1.0-18-amd64", "vmlinuz-6.1.0-20-cloud-amd64"), nil)
  t.eq(found("6.5.0-0.deb12.4-amd64", "vmlinuz-6.5.0-0.deb12.10-amd64"),
    "needed: 6.5.0-0.deb12.4-amd64 runs, 6.5.0-0.deb12.10-amd64 is installed")
  t.eq(found("5.15.0-1051-azure", "vmlinuz-5.15.0-1049-azure"), nil, "an older one")
  t.eq(found("5.15.0-1051-azure", "vmlinuz-5.15.0-1052-azure"), "needed: 5.15.0-1051-azure runs, 5.15.0-1052-azure is installed")
  t.eq(found("6.18.5", "vmlinuz-6.18.6"), "needed: 6.18.5 runs, 6.18.6 is installed")
end)

test("a disk that holds anything is refused", function(t)
  local m = start(t)
  m.sh "mkdir /srv"
  local function refused(what, make, given)
    m.sh("rm -f /srv/disk; truncate -s 16M /srv/disk; " .. make)
    local before = crypto.sha256(m.read "/srv/disk")
    given = given or {}
    local function declare(host) host.filesystem "/srv/disk" (given) end
    t.fails("cannot check `filesystem /srv/disk` (exit code 2): /srv/disk is not empty: it holds " .. what, check, m, declare)
    t.fails("/srv/disk is not empty: it holds " .. what, apply, m, declare)
    t.eq(crypto.sha256(m.read "/srv/disk"), before, what .. " is not touched")
  end
  refused("ext4, labelled data. Only an empty disk", "mkfs.ext4 -q -L data /srv/disk", { label = "other" })
  refused("ext4. Only", "mkfs.ext4 -q /srv/disk", { fstype = "xfs" })
  refused("swap. Only", "mkswap -q /srv/disk")
  refused("partitions of type dos. Only", "printf '\\125\\252' | dd of=/srv/disk bs=1 seek=510 conv=notrunc 2>/dev/null; "
    .. "printf '\\203' | dd of=/srv/disk bs=1 seek=450 conv=notrunc 2>/dev/null; "
    .. "printf '\\000\\010\\000\\000\\000\\010' | dd of=/srv/disk bs=1 seek=454 conv=notrunc 2>/dev/null")
  refused("data within the first 4 MiB", "printf x | dd of=/srv/disk bs=1 seek=4000000 conv=notrunc 2>/dev/null")
  refused("data within the last 4 MiB", "printf x | dd of=/srv/disk bs=1 seek=16777215 conv=notrunc 2>/dev/null")
  refused("data at 8192 KiB", "printf x | dd of=/srv/disk bs=1 seek=8388608 conv=notrunc 2>/dev/null")
  refused("no room at all: its size is 0", ": >/srv/disk")
  m.sh "rm /srv/disk; mkdir /srv/disk"
  t.fails("/srv/disk is neither a disk nor an image", check, m, function(host) host.filesystem "/srv/disk" {} end)
  m.sh "rmdir /srv/disk"

  local began = task.now()
  local function late(host) host.filesystem "/srv/disk" { wait = 1 } end
  t.eq(check(m, late), { { path = "filesystem /srv/disk", new = "ext4" } }, "a disk may come with the apply")
  t.fails("/srv/disk did not come within 1 s", apply, m, late)
  t.ok(task.now() - began < 15)
  local comes = task.spawn(function()
    task.sleep(0.5)
    m.sh "truncate -s 16M /srv/disk.new; mv /srv/disk.new /srv/disk"
  end)
  t.eq(apply(m, function(host) host.filesystem "/srv/disk" { wait = 10 } end), 1)
  comes:join()
  t.eq(apply(m, late), 0)
  m.command("blkid", "exit 4")
  t.fails("signatures that contradict each other", check, m, late)
  t.fails("there is no mkfs.btrfs: install btrfs-progs", function()
    m.command("blkid", "exit 2")
    m.sh "rm /srv/disk; truncate -s 16M /srv/disk"
    apply(m, function(host) host.filesystem "/srv/disk" { fstype = "btrfs" } end)
  end)
end)

test("a restart that was missed is made up for", function(t)
  local m = start(t)
  m.sh "mkdir -p /var/lib/stub; : >/var/lib/stub/unit.demo; echo 1 >/etc/conf"
  local function declare(host)
    host.file "/etc/conf" { content = m.content }
    host.command "crash" { run = "[ ! -e /etc/crash ]", onlyif = "[ -e /etc/crash ]" }
    host.service "demo" { watches = "/etc/conf" }
  end
  m.content = "2\n"
  apply(m, declare)
  m.content = "3\n"
  m.sh ": >/etc/crash"
  t.fails("`command crash` failed", apply, m, declare)
  m.sh "rm /etc/crash"
  t.eq(check(m, declare), { { path = "service demo.restart", old = "/etc/conf changed since its start", new = "done" } })
  m.sh ": >/var/log/stub"
  t.eq(apply(m, declare), 1)
  t.has(m.read "/var/log/stub", "systemctl restart demo")

  -- One that cannot start is said, and tried again.
  m.content = "4\n"
  m.command("systemctl", "[ $1 != restart ] || { echo 'Job for demo.service failed.' >&2; exit 1; }; " .. STUBS.systemctl)
  t.fails("`service demo` failed: exit code 1\nJob for demo.service failed.", apply, m, declare)
  m.command("systemctl", STUBS.systemctl)
  t.eq(check(m, declare)[1].path, "service demo.restart")

  -- A unit whose restart was missed, too.
  local function unit(host)
    host.unit "web" { state = "running", content = "[Service]\nExecStart=/bin/true\n" .. (m.more or "") }
  end
  apply(m, unit)
  m.command("systemctl", "[ $1 != restart ] || { echo 'no' >&2; exit 1; }; " .. STUBS.systemctl)
  m.more = "Nice=1\n"
  t.fails("`unit web.service` failed", apply, m, unit)
  m.command("systemctl", STUBS.systemctl)
  t.eq(check(m, unit), { { path = "unit web.service.restart", old = "pending", new = "done" } })
  t.eq(apply(m, unit), 1)
  t.eq(check(m, unit), {})
end)

test("what is no unit, timer, mount or block is said at once", function(t)
  local function wrong(text, kind, name, given) t.fails(text, types.declare, require("host.task." .. kind), name, given) end
  wrong("unit \"x\": needs 'sections' or 'content'", "unit", "x", {})
  wrong("not both", "unit", "x", { sections = {}, content = "" })
  wrong("[Service] ExecStart has more than one line", "unit", "x", { sections = { Service = { ExecStart = "a\nb" } } })
  wrong("[Service] ExecStart ends in a backslash", "unit", "x", { sections = { Service = { ExecStart = "a\\" } } })
  wrong("[Service] a b is no key", "unit", "x", { sections = { Service = { ["a b"] = "a" } } })
  wrong("[Service] A holds a table", "unit", "x", { sections = { Service = { A = { { 1 } } } } })
  wrong("'sections' wants sections such as", "unit", "x", { sections = { ["a]"] = {} } })
  wrong("'content' holds a NUL byte", "unit", "x", { content = "\0" })
  wrong("'name' wants text that matches", "unit", "../x", { content = "" })
  wrong("timer \"x\": needs 'run'", "timer", "x", { calendar = "daily" })
  wrong("timer \"x\": needs a time", "timer", "x", { run = "true" })
  wrong("'calendar[1]' wants text that matches", "timer", "x", { run = "true", calendar = "a\nb" })
  wrong("mount \"/x\": needs 'device'", "mount", "/x", {})
  wrong("'path' wants a path without // and dots", "mount", "/x/../y", { device = "a" })
  wrong("'options[1]' wants text that matches", "mount", "/x", { device = "a", options = "a b" })
  wrong("'label' has more than the 12 bytes that xfs has room for", "filesystem", "/x", { fstype = "xfs", label = ("x"):rep(13) })
  wrong("block \"x\": 'content' holds a line that is its own marker", "block", "x", { path = "/x", content = "a\n# END x" })
  wrong("takes 'after' or 'before', not both", "block", "x", { path = "/x", content = "", after = "a", before = "b" })
  wrong("block \"x\": needs 'content'", "block", "x", { path = "/x" })
  wrong("'content' holds a NUL byte", "block", "x", { path = "/x", content = "\0" })
end)

test("broken markers, wrong expressions and files that are none", function(t)
  local m = start(t)
  local function declare(host) host.block "x" { path = "/etc/f", content = "y", after = "a" } end
  for _, content in ipairs { "# BEGIN x\n", "# END x\n", "# END x\n# BEGIN x\n", "# BEGIN x\n# END x\n# BEGIN x\n# END x\n" } do
    m.write("/etc/f", content)
    t.fails("it is not whole, or there is more than one", check, m, declare)
    t.fails("it is not whole, or there is more than one", apply, m, declare)
    t.eq(m.read "/etc/f", content)
  end
  t.fails("/etc is no file", check, m, function(host) host.block "x" { path = "/etc", content = "y" } end)
  t.fails("/etc is no file", check, m, function(host) host.json_value "x" { path = "/etc", value = 1 } end)
  m.sh "rm /etc/f"
  t.fails("cannot check `block /etc/f: x` (exit code 2)", check, m, function(host)
    host.block "x" { path = "/etc/f", content = "y", after = "(" }
  end)
  m.write("/etc/j", "{\n\"a\": }")
  t.fails("cannot check `json_value /etc/j: a` (exit code 2): line 2: no JSON value", check, m,
    function(host) host.json_value "a" { path = "/etc/j", value = 1 } end)
  t.fails("line 2: no JSON value", apply, m, function(host) host.json_value "a" { path = "/etc/j", value = 1 } end)
  t.eq(m.read "/etc/j", "{\n\"a\": }")
  -- What is right, but cannot be edited, shows in the plan.
  m.write("/etc/y", "a: {b: 1}\nc: hush\n")
  t.fails("\"a\" is a collection in brackets", check, m, function(host) host.yaml_value "a.b" { path = "/etc/y", value = 2 } end)
  t.fails("\"a\" is a collection in brackets", check, m,
    function(host) host.yaml_value "a.b" { path = "/etc/y", state = "absent" } end)
  t.fails("\"c\" is a single value", check, m,
    function(host) host.yaml_value "c.d" { path = "/etc/y", value = "x", secret = true } end)
end)

test("secret values are in no argument, no environment and no check", function(t)
  local m = start(t)
  local canary = "canary-" .. crypto.hex(crypto.random(8))
  m.write("/etc/i", "[a]\n" .. ("# x\n"):rep(20000) .. "b=1\n")
  local function declare(host)
    for i = 1, 5 do
      host.toml_value("a" .. i) { path = "/etc/t", value = canary, secret = true }
      host.json_value("a" .. i) { path = "/etc/j", value = { canary }, secret = true }
      host.yaml_value("a" .. i) { path = "/etc/y", value = canary, secret = true }
      host.ini_value("a" .. i) { path = "/etc/i", section = "a", value = canary, secret = true }
      host.block("a" .. i) { path = "/etc/b", content = canary, secret = true }
    end
  end
  local declared = {}
  declare(setmetatable({}, { __index = function(_, kind)
    return function(name) return function(given) declared[#declared + 1] = types.declare(types.find(kind), name, given) end end
  end }))
  t.ok(not program.compile("check", declared, { scope = "x" }):find(canary, 1, true), "the check does not hold it")
  t.ok(program.compile("apply", declared, { scope = "x" }):find(canary, 1, true))

  local nowhere = lab.look(t, canary)
  local changes = check(m, declare)
  t.eq(apply(m, declare), 25)
  nowhere()
  for _, change in ipairs(changes) do t.ok(not (change.new .. (change.old or "")):find(canary, 1, true)) end
  t.has(m.read "/etc/y", canary)
  t.eq(check(m, declare), {})
end)

-- Runs programs as root on this machine, where they see an /etc and a /var/lib of their own.
local function run_real(mode, declare)
  local declared = {}
  declare(setmetatable({}, { __index = function(_, kind)
    return function(name)
      return function(given) declared[#declared + 1] = types.declare(types.find(kind), name, given, "real") end
    end
  end }))
  local text, mark = program.compile(mode, declared, { scope = "real" })
  local reader = program.reader(mark, declared)
  local result = process.run { argv = { "sh", "-c", text }, timeout = 60 }
  reader:out(result.stdout)
  reader:err(result.stderr)
  local states = {}
  for i, told in ipairs(reader.tasks) do states[i] = told.state .. (told.state == "failed" and ": " .. told.output or "") end
  return states, reader.tasks, result
end

-- The test of real disks runs once more, in a mount namespace of its own, where this names the disk.
local REAL = process.env "VMRUN_TEST_DEVICE"
test("a real disk: made, mounted, remounted, taken off", function(t)
  if not REAL then
    local probe = process.run { argv = { "sh", "-c", "[ $(id -u) = 0 ] && losetup -f >/dev/null && unshare -m true" } }
    if probe.code ~= 0 then t.skip "needs root, loop devices and mount namespaces" end
    local dir = t.tmp()
    local script = ("set -e; mount --make-rprivate /; cd %s; truncate -s 32M disk; d=$(losetup -f --show disk); "
      .. "trap 'losetup -d $d' EXIT\n"):format(shell.quote(dir))
      .. "mkdir etc lib mnt; cp -a /etc/. etc; mount --bind etc /etc; mount --bind lib /var/lib; "
      .. "mount --bind mnt /mnt; printf '# mine\\n' >/etc/fstab\n"
      .. ("VMRUN_TEST_DEVICE=$d %s lua %s 'a real disk: made, mounted, remounted, taken off'; "
        .. "umount /mnt/data 2>/dev/null || :"):format(
        shell.quote(process.self()), shell.quote(fs.realpath(arg[0])))
    local result = process.run { argv = { "unshare", "-m", "sh", "-c", script }, timeout = 60 }
    t.eq(result.code, 0, result.stdout .. result.stderr)
    t.has(result.stdout, "ok a real disk")
    return
  end
  local device, label = REAL, "data-" .. process.pid() -- all of the machine see labels
  local function declare(more)
    return function(host)
      host.filesystem(device) { label = label }
      host.mount "/mnt/data" { device = "LABEL=" .. label, fstype = "ext4", options = more or { "noatime" } }
    end
  end
  t.eq(run_real("check", declare()), { "differs", "differs" })
  t.eq(run_real("apply", declare()), { "changed", "changed" })
  t.eq(run_real("check", declare()), { "same", "same" })
  t.eq(run_real("apply", declare()), { "same", "same" })
  t.has(fs.read "/proc/self/mountinfo", "/mnt/data rw,noatime")
  t.eq(fs.read "/etc/fstab", "# mine\nLABEL=" .. label .. " /mnt/data ext4 noatime 0 0\n")
  assert(fs.write("/mnt/data/file", "kept"))
  t.eq(run_real("apply", declare { "noatime", "ro", "nosuid" }), { "same", "changed" })
  t.has(fs.read "/proc/self/mountinfo", "/mnt/data ro,nosuid,noatime")
  t.eq(run_real("apply", declare { "noatime" }), { "same", "changed" })
  t.eq(fs.read "/mnt/data/file", "kept")
  local states, told = run_real("check", function(host) host.filesystem(device) { label = "other" } end)
  t.eq(states, { "unclear" })
  t.eq(told[1].code, 2)
  t.eq(run_real("apply", function(host) host.mount "/mnt/data" { state = "absent" } end), { "changed" })
  t.eq(fs.read "/etc/fstab", "# mine\n")
  t.ok(not fs.read("/proc/self/mountinfo"):find("/mnt/data", 1, true))
  -- An image without a device of its own is mounted by a loop that mount makes.
  local image = "/mnt/image"
  process.run { argv = { "truncate", "-s", "16M", image } }
  local function by_image(host)
    host.filesystem(image) {}
    host.mount "/mnt/data" { device = image, fstype = "ext4", options = "loop" }
  end
  t.eq(run_real("apply", by_image), { "changed", "changed" })
  t.eq(run_real("check", by_image), { "same", "same" })
  t.eq(run_real("apply", function(host)
    host.mount "/mnt/data" { device = image, state = "unmounted", options = "loop", fstype = "ext4" }
  end), { "changed" })
  t.has(fs.read "/etc/fstab", "/mnt/image /mnt/data ext4 loop 0 0")
end)

test.done()
