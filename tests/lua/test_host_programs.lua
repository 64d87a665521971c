--- How many programs a role starts on a host: each costs the host more than all that the shell itself does for a task.
local test = require "tap"
local connection = require "host.connection"
local lab = require "role_lab"
local machine = require "machine"

test.timeout = 120

-- Commands that write down that they were started.
local NAMES = { "awk", "base64", "cat", "chmod", "chown", "cut", "grep", "head", "install", "ln", "ls", "mkdir", "mkfifo",
  "mktemp", "mv", "readlink", "rm", "sed", "sha256sum", "sleep", "sort", "stat", "tail", "tee", "test", "timeout",
  "touch", "tr", "uname", "wc" }
local HEARD = [[echo %s >>/var/log/started
exec /usr/bin/%s "$@"]]

local function start(t, shell)
  local commands = { ["dpkg-query"] = "echo dpkg-query >>/var/log/started; printf 'install ok installed 1'" }
  for _, name in ipairs(NAMES) do commands[name] = HEARD:format(name, name) end
  local m = machine.start(t, { commands = commands })
  m.command("sh", shell)
  t.after(connection.close_all)
  --- What was started since the last time: "NAME NAME*COUNT ...", sorted.
  function m.started()
    local count, names = {}, {}
    for name in (m.read "/var/log/started" or ""):gmatch "%S+" do
      if not count[name] then names[#names + 1] = name end
      count[name] = (count[name] or 0) + 1
    end
    m.sh "rm -f /var/log/started"
    table.sort(names)
    for i, name in ipairs(names) do if count[name] > 1 then names[i] = name .. "*" .. count[name] end end
    return table.concat(names, " ")
  end
  return m
end

local function node(release)
  local data = "/var/lib/data-" .. release
  return function(host)
    host.file "/etc/one.toml" { content = "rev = " .. release .. "\n" }
    host.line "api" { path = "/etc/hosts", line = "10.0.0." .. release .. " api" }
    host.template "/etc/default/node" { template = "v={{v}}\n", values = { v = release } }
    host.directory (data) { mode = "0750" }
    host.file "/etc/sysctl.d/99-node.conf" { content = "# " .. release .. "\n", mode = "0600" }
    host.file "/etc/systemd/system/node.service" { content = "[Unit]\nDescription=" .. release .. "\n" }
    host.package "bash" {}
    host.command "init" { run = "echo >/var/lib/done-" .. release, creates = "/var/lib/done-" .. release }
    host.symlink "/opt/node" { target = data }
  end
end

local PAGE = { name = "test.role", timeouts = lab.PAGE.timeouts }
local ASKS = { name = "test.role", timeouts = lab.PAGE.timeouts, asks = { kernel = "uname -r" } }

for shell, path in pairs { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" } do
  test("programs that a role of nine tasks starts, with " .. shell, function(t)
    local m = start(t, path)
    m.sh "mkdir -p /etc/default /etc/sysctl.d /etc/systemd/system /opt"
    t.eq(lab.apply(m, node(1), ASKS), 8)
    m.started()

    local changes, answers = lab.check(m, node(1), ASKS)
    t.eq({ #changes, #answers.kernel > 0 }, { 0, true })
    t.eq(m.started(), "dpkg-query ls uname", "where nothing differs")
    changes, answers = lab.check(m, node(2), ASKS)
    t.eq({ #changes, answers }, { 8, {} }, "what only results are made of is not asked for")
    t.eq(m.started(), "dpkg-query ls", "where all differs")
    changes, answers = lab.apply(m, node(2), ASKS)
    t.eq({ changes, #answers.kernel > 0 }, { 8, true })
    t.eq(m.started(), "dpkg-query ln ls mkdir mv*6 readlink rm tee timeout uname", "where all is changed")
    t.eq(lab.apply(m, node(2), ASKS), 0)
    t.eq(m.started(), "dpkg-query ls readlink rm tee uname", "where an apply has nothing to do")
  end)

  test("what a check has to tell arrives whole, whichever way it goes, with " .. shell, function(t)
    local m = start(t, path)
    local was = {}
    for i = 1, 20 do
      was[i] = ("line %d %s\n"):format(i, ("x"):rep(i * 7)):rep(i) .. ("end  of\t%d"):format(i)
      m.write("/etc/file" .. i, was[i])
    end
    was[21] = ("0123456789 \n"):rep(5000)
    m.write("/etc/file21", was[21])
    m.write("/etc/block", "one\n# BEGIN b\n" .. was[3] .. "\n# END b\n")
    m.write("/etc/nul", "a\0b\n")
    local changes = lab.check(m, function(host)
      for i = 1, 21 do host.file ("/etc/file" .. i) { content = "new" } end
      host.block "b" { path = "/etc/block", content = "new\n" }
      host.file "/etc/nul" { content = "new" }
    end, PAGE)
    local old = {}
    for _, one in ipairs(changes) do old[one.path] = one.old end
    for i = 1, 21 do t.eq(old[("file /etc/file%d.content"):format(i)], was[i], "file " .. i) end
    t.eq(old["block /etc/block: b.content"], was[3] .. "\n")
    t.eq(old["file /etc/nul.content"], "a\0b\n")
  end)

  test("what a check prints is not said of the task before, with " .. shell, function(t)
    local m = start(t, path)
    m.command("hostname", "echo noise >&2; echo other")
    local changed, _, _, said = lab.apply(m, function(host)
      host.file "/etc/one" { content = "1" }
      host.hostname "other" {}
    end, PAGE)
    t.ok(changed >= 1 and #said >= 1)
    for _, line in ipairs(said) do t.has(line, "hostname other: ") end
  end)
end

test("what many hosts declare alike is checked once, and what is not alike is not taken for it", function(t)
  local task, field = require "host.task", require "field"
  local file, handler = task.find "file", task.find "handler"
  local check_fields, checked = field.check_fields, 0
  t.after(function() field.check_fields = check_fields end)
  field.check_fields = function(...)
    checked = checked + 1
    return check_fields(...)
  end
  local function declare(given, name, scope, kind) return task.declare(kind or file, name or "/etc/alike", given, scope or "r") end
  local one, same = declare { content = "x", mode = "0600" }, declare { mode = "0600", content = "x" }
  t.eq({ checked, one ~= same, task.apply(one) == task.apply(same) }, { 1, true, true }, "two tasks of one making")
  local others = {
    declare { content = "x", mode = "0601" }, declare { content = "x" }, declare { content = "x 4 mode 4 0600" }, declare({ run = "x" }, "/etc/alike", "r", handler),
    declare({ content = "x", mode = "0600" }, "/etc/other"), declare({ content = "x", mode = "0600", secret = true }),
  }
  t.eq(checked, 7)
  for i, other in ipairs(others) do t.ok(task.check(other) .. task.apply(other) ~= task.check(one) .. task.apply(one), i) end
  local r, s = declare({ run = "x" }, "again", "r", handler), declare({ run = "x" }, "again", "s", handler)
  t.ok(task.check(r) ~= task.check(s), "marks are told apart by the role")
  for _ = 1, 2 do
    t.fails("mode", declare, { content = "x", mode = 600 })
    t.fails("colour", declare, { content = "x", colour = "red" })
  end
end)

test("a snippet is filled with quoted words, each as often as it stands there", function(t)
  local shell = require "host.shell"
  local text = "{a} ${b} ${a}{a}{b};{ echo; }{c"
  for _, snippet in ipairs { text, shell.pieces(text) } do
    t.eq(shell.fill(snippet, { a = "it's", b = 1 }), [['it'\''s' ${b} ${a}'it'\''s'1;{ echo; }{c]])
    t.eq(shell.fill(snippet, { a = false, b = "x" }), "false ${b} ${a}falsex;{ echo; }{c")
    t.fails("no value for {b} in a shell snippet", shell.fill, snippet, { a = 1 })
  end
  t.eq({ shell.fill("", {}), shell.fill("{a}", { a = "x" }) }, { "", "x" })
end)

test("programs do not grow with files, but for the one that moves each", function(t)
  local m = start(t, "/usr/bin/dash")
  local function declare(text)
    return function(host)
      for i = 1, 40 do host.file (("/etc/many/%d/%d"):format(i, i)) { content = text .. i, mode = i > 20 and "0640" or nil } end
    end
  end
  m.sh "for i in $(seq 40); do mkdir -p /etc/many/$i; done"
  for length, sums in pairs { [1] = "", [600] = " sha256sum" } do
    local one, other = ("a"):rep(length), ("b"):rep(length)
    lab.apply(m, declare(one), PAGE)
    m.started()
    lab.apply(m, declare(other), PAGE)
    t.eq(m.started(), ("ls mv*40 rm%s tee"):format(sums))
    t.eq(lab.check(m, declare(other), PAGE), {})
    t.eq(m.started(), "ls" .. sums)
  end
end)

test("where ls is busybox's, it is asked once in vain, and no more for each file", function(t)
  local m = start(t, "/usr/bin/dash")
  m.command("ls", [[echo ls >>/var/log/started
exec /usr/bin/busybox ls "$@"]])
  local function declare(text)
    return function(host)
      for i = 1, 20 do host.file (("/etc/many/%d/%d"):format(i, i)) { content = text .. i } end
    end
  end
  m.sh "for i in $(seq 20); do mkdir -p /etc/many/$i; done"
  lab.apply(m, declare "a", PAGE)
  m.started()
  lab.apply(m, declare "b", PAGE)
  t.eq(m.started(), "chmod*20 ls*2 mv*20 rm stat tee")
  t.eq(lab.check(m, declare "b", PAGE), {})
  t.eq(m.started(), "ls stat")
end)

for shell, path in pairs { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" } do
  test("a file that is as long as what is declared is not taken for it, with " .. shell, function(t)
    local m = start(t, path)
    local function differs(content, there)
      m.write("/etc/one", there)
      local count = 0
      for _, one in ipairs(lab.check(m, function(host) host.file "/etc/one" { content = content } end, PAGE)) do
        if one.path:find "%.content$" then count = count + 1 end
      end
      return count
    end
    for _, length in ipairs { 1, 511, 512, 513, 2048, 2049 } do
      local text = ("x"):rep(length - 1)
      t.eq({ differs(text .. "y", text .. "y"), differs(text .. "y", text .. "z"), differs(text .. "y", text .. "\0") }, { 0, 1, 1 }, length)
      t.eq({ differs(text .. "\n", text .. "\n"), differs(text .. "\n", text .. "x"), differs(text .. "x", text .. "\n") }, { 0, 1, 1 }, length)
    end
    t.eq({ differs("", ""), differs("", "x"), differs("a\n\nb\n\n", "a\n\nb\n\n"), differs("ab", "b\0") }, { 0, 1, 0, 1 })
    t.eq({ differs("\\n\\ ' \"$a", "\\n\\ ' \"$a"), differs("\xff\xc3\n", "\xff\xc3\n"), differs("\xff\xc3\n", "\xff\xc4\n") }, { 0, 0, 1 })
  end)
end

for shell, path in pairs { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" } do
  test("modes, owners and links are told as they are, with " .. shell, function(t)
    local m = start(t, path)
    local function old(declare)
      local told = {}
      for i, one in ipairs(lab.check(m, declare, PAGE)) do told[i] = one.path:match "[^.]*$" .. "=" .. tostring(one.old) end
      return table.concat(told, " ")
    end
    for _, mode in ipairs { "644", "755", "600", "700", "640", "750", "4755", "2755", "1777", "666", "777", "0" } do
      for _, kind in ipairs { "file", "directory" } do
        local name = "/etc/" .. kind .. mode
        m.sh((kind == "file" and "touch %s" or "mkdir %s"):format(name) .. " && chmod " .. mode .. " " .. name)
        local content = kind == "file" and "" or nil
        t.eq(old(function(host) host[kind](name) { content = content, mode = ("%04d"):format(mode) } end), "", name)
        t.eq(old(function(host) host[kind](name) { content = content, mode = "0711" } end), "mode=" .. mode, name)
      end
    end
    -- What a link points to is no line of its own, and no other link's.
    m.sh [[mkdir -p /etc/l; cd /etc/l; printf yes >real; chmod 604 real
      ln -s "x
-rw-r--r-- 1 root root    3  /etc/l/real" a; ln -s 'y /etc/l/c -> z' b; ln -s 'back\slash' c; ln -s ' d ' d; ln -s plain e; ln -s "line
" f; ln -s /etc/l/real g]]
    t.eq(old(function(host)
      for name, target in pairs { b = "y /etc/l/c -> z", c = "back\\slash", d = " d ", e = "plain", f = "line\n", g = "/etc/l/real" } do
        host.symlink("/etc/l/" .. name) { target = target }
      end
      host.symlink "/etc/l/a" { target = "x\n-rw-r--r-- 1 root root    3  /etc/l/real" }
      host.file "/etc/l/real" { content = "yes", mode = "0644" }
    end), "mode=604")
    t.eq(old(function(host) host.symlink "/etc/l/e" { target = "plai" } host.symlink "/etc/l/c" { target = "z" } end), "target=plain target=back\\slash")
  end)
end

-- What dpkg knows of a package, in its order of fields; `more`: of others.
local function status(state, version, more)
  return ("Package: bash-static\nStatus: install ok installed\nSource: bash\nVersion: 7\n\nPackage: bash\nEssential: yes\nStatus: %s\n"
    .. "Priority: required\nArchitecture: amd64\nVersion: %s\nDescription: a shell\n .\n Package: bash\n\n%s"):format(state, version, more or "")
end

for shell, path in pairs { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" } do
  test("dpkg's list tells of packages what dpkg-query would, with " .. shell, function(t)
    local m = start(t, path)
    local function list(text)
      m.sh "mkdir -p /var/lib/dpkg/updates"
      m.write("/var/lib/dpkg/status", text)
    end
    local function differs(fields)
      local told = {}
      for i, one in ipairs(lab.check(m, function(host) host.package "bash" (fields) end, PAGE)) do
        told[i] = one.path:match "[^.]*$" .. "=" .. one.old
      end
      return table.concat(told, " ")
    end
    list(status("install ok installed", "5.2-1"))
    t.eq(differs {}, "")
    t.eq(differs { version = "5.2-*" }, "")
    t.eq(differs { version = "5.3-*" }, "installed=5.2-1")
    t.eq(differs { hold = true }, "held=no")
    t.eq(differs { state = "absent" }, "installed=bash")
    list(status("hold ok installed", "5.2-1"))
    t.eq(differs { version = "5.2-1", hold = true }, "")
    list(status("deinstall ok config-files", "5.2-1"))
    t.eq(differs {}, "installed=")
    t.eq(differs { state = "absent" }, "")
    list(status("install ok half-configured", "5.2-1"))
    t.eq(differs {}, "installed=")
    t.eq(m.started():find("dpkg-query", 1, true), nil, "it is not asked")

    -- dpkg-query itself would say version 1 here.
    list(status("install ok installed", "5.2-1", "Package: bash\nStatus: install ok installed\nArchitecture: i386\nVersion: 5.2-1\n"))
    t.eq(differs { version = "5.2-1" }, "installed=1", "a package of two architectures")
    list "Package: bash-static\nStatus: install ok installed\nVersion: 7\n"
    t.eq(differs { version = "1" }, "", "one that is not in the list")
    list(status("install ok installed", "5.2-1"))
    m.write("/var/lib/dpkg/updates/0000", "")
    t.eq(differs { version = "5.2-1" }, "installed=1", "while dpkg is at work")
  end)
end

test.done()
