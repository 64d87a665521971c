--- Edits of single values in structured files (stdlib/host/edit.lua and host/awk/): tables of files, keys and values, with every
-- awk that is installed. What an edit does to a file is told whole; a second look must find the new value.
local test = require "tap"
local edit = require "host.edit"
local json = require "json"
local process = require "process"
local shell = require "host.shell"
local task = require "host.task"

test.timeout = 120

-- Where an awk is, and how the shell calls it.
local AWKS = {}
for _, found in ipairs { { "mawk", "mawk" }, { "gawk", "gawk" }, { "busybox", "busybox awk" }, { "original-awk", "original-awk" } } do
  if process.run({ argv = { "/bin/sh", "-c", "command -v " .. found[1] } }).code == 0 then AWKS[#AWKS + 1] = found end
end

-- A text as a command that prints it.
local function printing(text)
  local before, after = text:match("^(%Z*)%z(.*)$")
  if not before then return "printf %s " .. shell.quote(text) end
  return "printf %s " .. shell.quote(before) .. "; printf '\\000'; " .. printing(after)
end

-- Runs `edit` with an awk on { file, request } each, in one shell: a list of { out, code, err }.
local function run(awk, format, jobs)
  local lines = { table.concat(edit.shared(format), "\n"), "LC_ALL=C; export LC_ALL; d=$(mktemp -d) && cd \"$d\" || exit 9",
    ("awk() { command %s \"$@\"; }"):format(awk[2]) }
  for _, job in ipairs(jobs) do
    lines[#lines + 1] = ("{ %s; } >f; printf %%s %s | edit \"$%s\" ./f 2>e; echo \"@@@ $?\"; [ ! -s e ] || cat e; echo @@@"):format(
      printing(job[1]), shell.quote(job[2]), format:upper())
  end
  lines[#lines + 1] = 'cd / && rm -r "$d"'
  local result = assert(process.run { argv = { "/bin/sh" }, stdin = table.concat(lines, "\n") .. "\n", timeout = 60 })
  local results = {}
  for out, code, err in result.stdout:gmatch("(.-)@@@ (%d+)\n(.-)\n?@@@\n") do
    results[#results + 1] = { out, tonumber(code), err }
  end
  assert(#results == #jobs, result.stderr)
  return results
end

-- As the task of that format would ask.
local function declare(format, key, value)
  local page = require("host.task." .. format .. "_value")
  return task.declare(page, "x", { path = "/x", key = key, value = value, state = value == nil and "absent" or "present" })
end

-- What an edit makes of each row's file: { what =, file =, fields =, wanted = the new file or { a part of the message } }. The new
-- value must then be found there, and stay.
local function edited(t, format, rows)
  for _, awk in ipairs(AWKS) do
    local jobs = {}
    for _, row in ipairs(rows) do
      jobs[#jobs + 1] = { row.file, row.fields.order }
      if type(row.wanted) == "string" then
        jobs[#jobs + 1] = { row.wanted, row.fields.ask }
        if row.fields.state == "present" then jobs[#jobs + 1] = { row.wanted, row.fields.order } end
      end
    end
    local results, at = run(awk, format, jobs), 0
    local function result()
      at = at + 1
      return results[at]
    end
    for i, row in ipairs(rows) do
      local what = ("%s row %d %s"):format(awk[1], i, row.what or "")
      local got = result()
      if type(row.wanted) == "table" then
        t.eq(got[2], 2, what .. ": " .. got[1])
        t.has(got[3], row.wanted[1])
      else
        t.eq(got, { row.wanted, 0, "" }, what)
        local present = row.fields.state == "present"
        t.eq(result(), present and { row.fields.now, 0, "" } or { "", 3, "" }, what .. ", looked at")
        if present then t.eq(result()[1], row.wanted, what .. ", again") end
      end
    end
  end
end

-- A row: file, key, value (nil: taken out), then the file as it shall be, or { "part of the message" }.
local function edits(t, format, rows)
  for i, row in ipairs(rows) do
    local key, value = row[2], row[3]
    rows[i] = { file = row[1], fields = declare(format, key, value).fields, wanted = row[4],
      what = tostring(key) .. " " .. (type(value) == "string" and value or json.encode(value)) }
  end
  edited(t, format, rows)
end

-- A row: file, key, and what is found there (canonical; nil: nothing), or { "part of the message" }.
local function finds(t, format, rows)
  local jobs = {}
  for i, row in ipairs(rows) do jobs[i] = { row[1], declare(format, row[2], "").fields.ask } end
  for _, awk in ipairs(AWKS) do
    for i, got in ipairs(run(awk, format, jobs)) do
      local wanted = rows[i][3]
      local what = ("%s row %d: %s"):format(awk[1], i, tostring(rows[i][2]))
      if type(wanted) == "table" then
        t.eq(got[2], 2, what .. ": " .. got[1])
        t.has(got[3], wanted[1])
      else
        t.eq(got, wanted and { wanted .. "\n", 0, "" } or { "", 3, "" }, what)
      end
    end
  end
end

local HOSTILE = { "it's \"quoted\"", "$(touch /tmp/pwned)`x`$HOME", "-rf --help", "back\\slash \\n %s %% \\047 &", "na\u{ef}ve \u{2713}",
  "  spaces  ", "; # {path} {{ }", "*?[a-z]~!", "tab\there\r", "line\nbreak\n", "", "true", "12", "null", "a: b", "- a", "\1\127", "'", "]", "#" }

test("there are several awks", function(t) t.ok(#AWKS >= 2, #AWKS) end)

test("json: reading", function(t)
  finds(t, "json", {
    { '{"a": 1}', "a", "1" },
    { '{"a": 1}', "b", nil },
    { "", "a", nil },
    { " \n", "a", nil },
    { '{"a": {"b": [1, {"c": "x"}]}}', "a.b[1].c", '"x"' },
    { '{"a": {"b": [1, {"c": "x"}]}}', "a.b[2]", nil },
    { '{"a": {"b": 1}, "b": 2}', "b", "2" },
    { '{"z": 1, "a": [true , null,-0, 1.0, 1e3, 1.5 ]}', "a", "[true,null,0,1,1000,1.5]" },
    { '{"o": {"z": 1, "a": {"y": 2, "x": []}}}', "o", '{"a":{"x":[],"y":2},"z":1}' },
    { '{"u": "\\u00e9\\ud83d\\ude00\\/\\u0022\\u005c\\n\\u0000"}', "u", '"\u{e9}\u{1f600}/\\"\\\\\\n\\u0000"' },
    { '{"a.b": {"c d": 1}}', '"a.b"."c d"', "1" },
    { '{"\\u0061": 1}', "a", "1" },
    { '{"a": "x\\\\"}', "a", '"x\\\\"' },
    { '{"a":1234567890123456789012}', "a", "1234567890123456789012" },
    { '[{"a": 1}, {"a": 2}]', "[1].a", "2" },
    { '{"a": "' .. ("x"):rep(9000) .. '", "b": "' .. ("\\n"):rep(5000) .. '", "c": 3}', "c", "3" },
    { '{"a": 1,}', "a", { "line 1: no name where one must be" } },
    { '{"a": 1\n "b": 2}', "a", { "line 2: no comma between two members" } },
    { '{"a": 1', "a", { "it ends too early" } },
    { '{"a": "x', "a", { "a text has no end" } },
    { '{"a": "x\ny"}', "a", { "control character" } },
    { '{"a": "\\q"}', "b", { "the wrong escape \\q" } },
    { '{"a": "\\u12g4"}', "a", { "the wrong escape \\u12g4" } },
    { '{"a": 01}', "a", { "no JSON value" } },
    { '{"a": tru}', "a", { "no JSON value" } },
    { '{"a": truey}', "a", { "no JSON value" } },
    { '{"a": .5}', "a", { "no JSON value" } },
    { "{'a': 1}", "a", { "no name where one must be" } },
    { '{"a": 1} x', "a", { "something stands behind the value" } },
    { '{"a": 1} {}', "a", { "something stands behind the value" } },
    { '// no\n{"a": 1}', "a", { "line 1: no JSON value" } },
    { '{"a": 1, "a": 2}', "a", { "a\" stands there twice" } },
    { "\u{feff}{}", "a", { "a byte order mark" } },
    { '{"a": 1}\0', "a", { "NUL bytes" } },
  })
end)

test("json: changing", function(t)
  local nested = '{\n\t"log": {\n\t\t"level" : "info", "x":1\n\t},\n\n\t"list": [ 1,2 ,3 ],\n\t"empty": {}\n}\n'
  edits(t, "json", {
    { '{"a": 1}', "a", 2, '{"a": 2}' },
    { '{"a": 1}\r\n', "a", "x", '{"a": "x"}\r\n' },
    { '{"a":1}', "b", true, '{"a":1,"b":true}' },
    { '{"a":1}', "b", { c = { 1, { d = "e" } } }, '{"a":1,"b":{"c":[1,{"d":"e"}]}}' },
    { "", "a.b", 1, '{\n  "a": {\n    "b": 1\n  }\n}\n' },
    { "", "a[0]", 1, '{\n  "a": [\n    1\n  ]\n}\n' },
    { "{}", "a", 1, '{"a":1}' },
    { "{\n}\n", "a", 1, '{\n  "a": 1\n}\n' },
    { nested, "log.level", "debug", (nested:gsub('"info"', '"debug"')) },
    { nested, "log.extra", false, (nested:gsub('"x":1', '"x":1, "extra":false')) },
    { nested, "list[3]", 4, (nested:gsub(",3", ",3,4")) },
    { nested, "list[0]", "x", (nested:gsub("%[ 1", '[ "x"')) },
    { nested, "new", { b = { 1 }, a = {} }, (nested:gsub('{}\n', '{},\n\t"new": {\n\t\t"a": {},\n\t\t"b": [\n\t\t\t1\n\t\t]\n\t}\n')) },
    { nested, "empty.deep.er", 1, (nested:gsub("{}", '{\n\t\t"deep": {\n\t\t\t"er": 1\n\t\t}\n\t}')) },
    { nested, "log", json.null, (nested:gsub('"log": {.-}', '"log": null')) },
    { nested, "log", nil, (nested:gsub('"log": {.-},\n\n\t', "")) },
    { nested, "empty", nil, (nested:gsub(',\n\t"empty": {}', "")) },
    { nested, "log.level", nil, (nested:gsub('"level" : "info", ', "")) },
    { nested, "log.x", nil, (nested:gsub(', "x":1', "")) },
    { '{ "a": 1 }', "a", nil, "{}" },
    { '{"a": {"b": 1}}', "a.b", nil, '{"a": {}}' },
    { '{"a": 1}', "a.b", 2, { "line 1: \"a\" is a single value" } },
    { '{"a": [1]}', "a.b", 2, { "\"a\" is a list, not an object" } },
    { '{"a": {}}', "a[0]", 2, { "\"a\" is an object, not a list" } },
    { '{"a": [1]}', "a[2]", 2, { "\"a\" has 1 items" } },
    { '{"a": [1]}', "b[1]", 2, { "\"b\" is not there, so [1] cannot be its first item" } },
    { "3", "a", 2, { "the whole file is a single value" } },
  })
  local rows = {}
  for i, value in ipairs(HOSTILE) do
    rows[#rows + 1] = { '{"k": "x", "z": 1}', "k", value, '{"k": ' .. edit.quote(value) .. ', "z": 1}' }
    rows[#rows + 1] = { '{"z": 1}', { value, "k" .. i }, i, '{"z": 1,' .. edit.quote(value) .. ': {"k' .. i .. '":' .. i .. "}}" }
  end
  edits(t, "json", rows)
end)

test("toml: reading", function(t)
  local document = [==[
# a comment with = and [brackets]
title = "TOML" # and "another"
"quoted key" . 'b.c' = 1
dotted.a.b = 'C:\no\escape'

[table]
int = +1_000
hex = 0xDEAD_beef
oct=0o755
bin = 0b1010
float = 6.02e23
whole = 1.0
bool = false
date = 1979-05-27 07:32:00Z
list = [ "a", # one
  'b', # ]
  [1, 2], ]
long = """
[not.a.table]
x = "still text" \
    joined"""
raw = '''
it''s "raw" \n'''
inline = { a = 1, "b c" = { d = [ { e = "}" } ] }, f."g" = "x,y" }

  [table."sub.table"]
  # key = 1
  key = "\u00e9\t\"\\ \U0001F600"

[[array]]
key = 1
[array.sub]
key = 2
[[array]]
key = 3
]==]
  local rows = {}
  for key, wanted in pairs { title = '"TOML"', ['"quoted key"."b.c"'] = "1", ["dotted.a.b"] = '"C:\\\\no\\\\escape"', ["table.int"] = "1000",
    ["table.hex"] = "3735928559", ["table.oct"] = "493", ["table.bin"] = "10", ["table.float"] = "6.02e+23",
    ["table.whole"] = "1.0", ["table.bool"] = "false", ["table.date"] = "1979-05-27 07:32:00Z", ["table.list"] = '["a","b",[1,2]]',
    ["table.long"] = [["[not.a.table]\nx = \"still text\" joined"]], ["table.raw"] = [["it''s \"raw\" \\n"]],
    ["table.inline.a"] = "1", ["table.inline.f.g"] = '"x,y"', ['table."sub.table".key'] = '"\u{e9}\\t\\"\\\\ \u{1f600}"',
    table = "[table]", ["table.inline"] = '{ a = 1, "b c" = { d = [ { e = "}" } ] }, f."g" = "x,y" }',
    ["table.missing"] = false, ["table.x"] = false, ["array.key"] = false, ["array.sub.key"] = false, ["not.a.table"] = false, key = false } do
    rows[#rows + 1] = { document, key, wanted or nil }
    rows[#rows + 1] = { document:gsub("\n", "\r\n"), key, wanted and wanted:gsub("%[not.a.table%]\\n", "[not.a.table]\\r\\n") or nil }
  end
  finds(t, "toml", rows)
  finds(t, "toml", {
    { "a = 1 b = 2", "a", { "line 1: something stands behind a value" } },
    { "a = ", "a", { "it ends too early" } },
    { "a = \n", "a", { "no TOML value" } },
    { "a", "a", { "no = behind a name" } },
    { "= 1", "a", { "no name where one must be" } },
    { "a = yes", "a", { "no TOML value" } },
    { "a = 01", "a", { "no TOML value" } },
    { "a = 1__0", "a", { "no TOML value" } },
    { "x = 1\n[a\n", "a", { "line 2: the name of a table has no end" } },
    { "a = \"x\ny\"", "a", { "the end of the line inside a text" } },
    { "a = 'x\ny'", "a", { "a text has no end" } },
    { 'a = """x', "a", { "a text of several lines has no end" } },
    { "a = [1 2]", "a", { "no comma between two items" } },
    { "a = { b = 1 c = 2 }", "a", { "no comma between two members" } },
    { "a = \"\\q\"", "a", { "the wrong escape \\q" } },
    { "a = 1\na = 2", "a", { "stands there twice" } },
    { "[t]\na = 1\n[t]\nb = 2", "t.a", { "line 3: the table \"t\" stands there twice" } },
    { 'a = """"quoted""""', "a", '"\\"quoted\\""' },
    { "a = ''''quoted'''''\n", "a", "\"'quoted''\"" },
  })
end)

test("toml: changing", function(t)
  local file = 'version = 2\n\n# about t\n[t]\n  a = "x" # why\n  # b = 1\n\n[t.u]\n[v] # empty\n\n[t.u.deep]\nz = [1,\n  2] # list\n'
  edits(t, "toml", {
    { file, "t.a", "y", (file:gsub('"x"', '"y"')) },
    { file, "t.b", true, (file:gsub("# why\n", "%0  b = true\n")) },
    { file, "version", 3, (file:gsub("= 2", "= 3")) },
    { file, "root", { "/a", "/b" }, (file:gsub("version = 2\n", '%0root = ["/a", "/b"]\n')) },
    { file, "v.x", 1.5, (file:gsub("# empty\n", "%0  x = 1.5\n")) },
    { file, "t.u.deep.z", 7, (file:gsub("%[1,\n  2%]", "7")) },
    { file, "t.u.x", 1, (file:gsub("%[t.u%]\n", "%0  x = 1\n")) },
    { file, 'n."a.b".c', "d", file .. '\n[n."a.b"]\nc = "d"\n' },
    { file, "t.u.deep.er.x", 1, file .. "\n[t.u.deep.er]\nx = 1\n" },
    { file, "t.a", nil, (file:gsub('  a = "x" # why\n', "")) },
    { file, "t.u.deep.z", nil, (file:gsub("z = .*", "")) },
    { file, "t.u", 1, { "line 8: \"t\".\"u\" is a table" } },
    { file, "t.u", nil, { "\"t\".\"u\" is a table" } },
    { file, "t.a.b", 1, { "line 5: what \"t\".\"a\".\"b\" lies in is a single value" } },
    { file, "t.u.deep.z.x", 1, { "is a list" } },
    { "", "a", 1, "a = 1\n" },
    { "", "a.b.c", 1, "[a.b]\nc = 1\n" },
    { "# only\n", "a", 1, "# only\na = 1\n" },
    { "a = 1", "b", 2, "a = 1\nb = 2\n" },
    { "a = 1", "t.b", 2, "a = 1\n\n[t]\nb = 2\n" },
    { "# licence\n\n# about t\n[t]\n", "a", 1, "# licence\n\na = 1\n\n# about t\n[t]\n" },
    { "[t]\nx = 1\n", "a", 1, "a = 1\n\n[t]\nx = 1\n" },
    { "[t]\r\nx = 1\r\n", "t.y", 1, "[t]\r\nx = 1\r\ny = 1\r\n" },
    { "a.b = 1\n[t]\n", "a.c", 2, "a.b = 1\na.c = 2\n[t]\n" },
    { "[t]\na.b.c = 1\n\n[z]\n", "t.a.d", 2, "[t]\na.b.c = 1\na.d = 2\n\n[z]\n" },
    { "[t]\na.b = 1\n", "t.a.x.y", 2, "[t]\na.b = 1\n\n[t.a.x]\ny = 2\n" },
    { "a = { b = 1 }\n", "a.b", 2, "a = { b = 2 }\n" },
    { "a = { b = 1 }\n", "a.c", 2, "a = { b = 1, c = 2 }\n" },
    { "a = {}\n", "a.c.d", 2, "a = { c.d = 2 }\n" },
    { "a = { x = { y = 1 } } # c\n", "a.x.z.w", "v", 'a = { x = { y = 1, z.w = "v" } } # c\n' },
    { "a = { b = 1, c = 2, d = 3 }\n", "a.b", nil, "a = { c = 2, d = 3 }\n" },
    { "a = { b = 1, c = 2, d = 3 }\n", "a.c", nil, "a = { b = 1, d = 3 }\n" },
    { "a = { b = 1, c = 2 }\n", "a.c", nil, "a = { b = 1 }\n" },
    { "a = { b = 1 }\n", "a.b", nil, "a = {}\n" },
    { "a = { b = 1 }\n", "a", 1, { "\"a\" is an inline table" } },
    { "a = { b = 1 }\nx = 1\n", "a", nil, "x = 1\n" },
    { "[[a]]\nb = 1\n", "a.b", 1, { "line 1: what \"a\".\"b\" lies in is a list of tables" } },
    { "[[a]]\nb = 1\n[a.c]\nd = 1\n", "a.c.d", 1, { "is a list of tables" } },
    { "[[a]]\nb = 1\n[t]\nb = 2\n", "t.b", 3, "[[a]]\nb = 1\n[t]\nb = 3\n" },
    { 'a = """\n[t]\nb = 1\n"""\n[t]\nb = 2\n', "t.b", 3, 'a = """\n[t]\nb = 1\n"""\n[t]\nb = 3\n' },
    { 'a = """\nx"""\n', "a", "y", 'a = "y"\n' },
    { 'a = "two"\n', "a", json.array {}, "a = []\n" },
    { "a = 1\n", "a", 1.0, "a = 1.0\n" },
    { "'it''s' = 1\n", "x", 1, { "no = behind a name" } },
  })
  local rows = {}
  for i, value in ipairs(HOSTILE) do
    local name = value:find("^[%w_-]+$") and value or edit.quote(value)
    rows[#rows + 1] = { "k = 'x'\nz = 1\n", "k", value, "k = " .. edit.quote(value) .. "\nz = 1\n" }
    rows[#rows + 1] = { "z = 1\n", { value, "k" }, i, "z = 1\n\n[" .. name .. "]\nk = " .. i .. "\n" }
  end
  edits(t, "toml", rows)
end)

-- A part of what `containerd config default` prints, for where there is none.
local CONTAINERD = [==[
disabled_plugins = []
oom_score = 0
root = "/var/lib/containerd"
version = 2

[cgroup]
  path = ""

[plugins]

  [plugins."io.containerd.gc.v1.scheduler"]
    pause_threshold = 0.02
    schedule_delay = "0s"

  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.6"
    stream_server_port = "0"

    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"

      [plugins."io.containerd.grpc.v1.cri".containerd.default_runtime]
        runtime_type = ""

        [plugins."io.containerd.grpc.v1.cri".containerd.default_runtime.options]

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]

        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          container_annotations = []
          runtime_type = "io.containerd.runc.v2"

          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            BinaryName = ""
            SystemdCgroup = false

    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = ""

      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]

[timeouts]
  "io.containerd.timeout.bolt.open" = "0s"
]==]

test("toml: containerd's own configuration", function(t)
  local own = process.run { argv = { "/bin/sh", "-c", "exec containerd config default" }, timeout = 20 }
  local file = own.code == 0 and own.stdout:find("\nversion = 2\n", 1, true) and own.stdout or CONTAINERD
  local cri = 'plugins."io.containerd.grpc.v1.cri"'
  local function changed(old, new)
    local made, count = file:gsub(old, (new:gsub("%%", "%%%%")))
    t.eq(count, 1, old)
    return made
  end
  edits(t, "toml", {
    { file, cri .. ".containerd.runtimes.runc.options.SystemdCgroup", true, changed("SystemdCgroup = false", "SystemdCgroup = true") },
    { file, cri .. ".sandbox_image", "a%b", changed('sandbox_image = "[^"]*"', 'sandbox_image = "a%b"') },
    { file, cri .. ".containerd.default_runtime.options.BinaryName", "x",
      changed('%.containerd%.default_runtime%.options%]\n', '.containerd.default_runtime.options]\n          BinaryName = "x"\n') },
    { file, 'timeouts."io.containerd.timeout.bolt.open"', nil, changed(' *"io.containerd.timeout.bolt.open" = "0s"\n', "") },
    { file, "version", 3, changed("version = 2", "version = 3") },
    { file, cri .. '.registry.mirrors."docker.io".endpoint', { "https://m" },
      file .. '\n[' .. cri .. '.registry.mirrors."docker.io"]\nendpoint = ["https://m"]\n' },
    { file, cri .. ".containerd", "x", { "is a table, not a single value" } },
  })
end)

test("yaml: reading", function(t)
  local document = [==[
# a comment: with a colon
apiVersion: kubelet.config.k8s.io/v1beta1
"quoted key": 'it''s'
clusterDNS:
- 10.96.0.10   # first
- "10.96.0.11"
empty:
nothing: ~
flow: {a: 1, b: [x, "}]"], c: 'it''s'}
list: [a, b
  , c]
text: |
  key: not a key
  - not an item

  end
folded: >-
  key: no
  more
last: |+
  kept

webhook:
  cache: 0s
  on: yes
  nested:
      deep:
      - - a
        - b
      - name: x
        value: "1"

      - name: yy
        args: &anchor
          - z
plain: many words: no
url: http://x:80/#frag
time: 2m0s
neg: -1
octal: 0755
half: 0.5
long: first
  second
anchor: *anchor
tagged: !!str 12
]==]
  document = document:gsub("plain: many words: no\n", "plain: many words\n")
  local rows = {}
  for key, wanted in pairs { apiVersion = '"kubelet.config.k8s.io/v1beta1"', ['"quoted key"'] = '"it\'s"', ["clusterDNS[0]"] = '"10.96.0.10"',
    ["clusterDNS[1]"] = '"10.96.0.11"', ["clusterDNS[2]"] = false, clusterDNS = "[list]", empty = "null", nothing = "null",
    flow = [[{a: 1, b: [x, "}]"], c: 'it''s'}]], text = [["key: not a key\n- not an item\n\nend\n"]], ["webhook.cache"] = '"0s"',
    ["webhook.on"] = "yes", ["webhook.nested.deep[0][1]"] = '"b"', ["webhook.nested.deep[1].value"] = '"1"',
    ["webhook.nested.deep[2].name"] = '"yy"', ["webhook.nested.deep[2].args[0]"] = '"z"', plain = '"many words"', url = '"http://x:80/#frag"',
    time = '"2m0s"', neg = "-1", octal = "0755", half = "0.5", long = "first\n  second", anchor = "*anchor", tagged = "!!str 12",
    ["text.key"] = false, ["folded.key"] = false, webhook = "[mapping]", last = '"kept\\n\\n"', more = false,
    ["flow.a"] = [==[[a part of {a: 1, b: [x, "}]"], c: 'it''s'}]]==], ["anchor.x"] = "[a part of *anchor]" } do
    rows[#rows + 1] = { document, key, wanted or nil }
    rows[#rows + 1] = { document:gsub("\n", "\r\n"), key, wanted or nil }
  end
  finds(t, "yaml", rows)
  finds(t, "yaml", {
    { "", "a", nil }, { "# nothing\n", "a", nil }, { "---\n", "a", nil },
    { "---\na: 1\n", "a", "1" }, { "---\na: 1\n...\n", "a", "1" },
    { '{"a": 1}\n', "a", '[a part of {"a": 1}]' },
    { "- a: 1\n  b: 2\n- a: 3\n", "[1].a", "3" },
    { "a:\n  - b:\n    - c\n    d: 1\n", "a[0].d", "1" },
    { 'a: "x # y"\nb: 1 # c\n', "a", '"x # y"' },
    { 'a: "\\x41\\u00e9\\e\\_"\n', "a", '"A\u{e9}\\u001b\u{a0}"' },
    { "a: ''\n", "a", '""' },
    { "a:\n  'x'\n", "a", '"x"' },
    { "a: -\n", "a", { "a list inside a line" } },
    { "a: 'x\n  y'\nb: 1\n", "b", "1" },
    { "a: \"x: 1\n\n  y: 2\\\"\n  \"\nb: 1\n", "b", "1" },
    { "a: 1\n---\nb: 2\n", "a", { "line 2: there is more than one document" } },
    { "%YAML 1.1\n---\na: 1\n", "a", { "a directive" } },
    { "--- {a: 1}\n", "a", { "content behind ---" } },
    { "a: 1\n\tb: 2\n", "a", { "line 2: a tab indents this line" } },
    { "a: 1\n  b: 2\n", "a", { "line 2: this line is indented otherwise" } },
    { "a:\n   b: 1\n  c: 2\n", "a.b", { "line 3: this line is indented otherwise" } },
    { "a: b: c\n", "a", { "a mapping inside a line" } },
    { "? a\n: b\n", "a", { "a key in a form that cannot be edited safely" } },
    { "&x a: 1\n", "a", { "a key in a form" } },
    { "a: [1, 2\nb: 3\n", "a", { "a collection in brackets has no end" } },
    { "a: 'x\nb: 3\n", "a", { "a text in quotes has no end" } },
    { "a: 'x' y\n", "a", { "something stands behind a value" } },
    { "a: [x] y\n", "a", { "something stands behind a value" } },
    { "a: `x`\n", "a", { "a value in a form" } },
    { "a: - b\n", "a", { "a list inside a line" } },
    { "a: 1\na: 2\n", "a", { "line 2: \"a\" stands there twice" } },
    { "a: 1\n- b\n", "a", { "no key of a mapping" } },
    { "a: 1\nb\n", "a", { "no key of a mapping" } },
  })
end)

test("yaml: changing", function(t)
  local file = "# top\na: 1 # one\nb:\n  c: x\n\n  # about d\n  d: 'y'\n\nlist:\n- k: v\n  w: z # w\n- k: u\nempty: {}\nnone:\ntext: |\n  x: 1\n\n  y\nend: e\n"
  edits(t, "yaml", {
    { file, "a", 2, (file:gsub("a: 1", "a: 2")) },
    { file, "a", "2", (file:gsub("a: 1", 'a: "2"')) },
    { file, "b.c", "yes", (file:gsub("c: x", 'c: "yes"')) },
    { file, "b.d", "it's", (file:gsub("'y'", '"it\'s"')) },
    { file, "b.e", false, (file:gsub("d: 'y'\n", "%0  e: false\n")) },
    { file, "b.f.g[0].h", "/x", (file:gsub("d: 'y'\n", "%0  f:\n    g:\n      - h: /x\n")) },
    { file, "list[0].w", "new", (file:gsub("w: z", "w: new")) },
    { file, "list[0].m", 1, (file:gsub("z # w\n", "%0  m: 1\n")) },
    { file, "list[0].n", 1, (file:gsub("z # w\n", '%0  "n": 1\n')) },
    { file, "list[2]", "x", (file:gsub("k: u\n", "%0- x\n")) },
    { file, "list[2].k.l", "x", (file:gsub("k: u\n", "%0- k:\n    l: x\n")) },
    { file, "empty.x", 1, (file:gsub("empty: {}\n", "empty:\n  x: 1\n")) },
    { file, "none", "some", (file:gsub("none:", "none: some")) },
    { file, "none[0]", "some", (file:gsub("none:\n", "none:\n  - some\n")) },
    { file, "none", json.null, (file:gsub("none:", "none: null")) },
    { file, "text", "short", (file:gsub("|\n.-y\n", "short\n")) },
    { file, "text", "a\nb", (file:gsub("|\n.-y\n", '"a\\nb"\n')) },
    { file, "new", 1.0, file .. "new: 1.0\n" },
    { file, "a", nil, (file:gsub("a: 1 # one\n", "")) },
    { file, "b.c", nil, (file:gsub("  c: x\n", "")) },
    { file, "b", nil, (file:gsub("b:.-'y'\n", "")) },
    { file, "text", nil, (file:gsub("text.*end", "end")) },
    { file, "list[0].w", nil, (file:gsub("  w: z # w\n", "")) },
    { file, "list[0].k", nil, { "shares its line with the dash of a list" } },
    { "a:\n  b: 1 # x\nc: 2\n", "a.b", nil, "a: {}\nc: 2\n" },
    { "a: # x\n  b: 1\nc: 2\n", "a.b", nil, "a: {} # x\nc: 2\n" },
    { "a: 1\n", "a", nil, "" },
    { file, "b", 1, { "line 4: \"b\" is a mapping, not a single value" } },
    { file, "list", 1, { "\"list\" is a list" } },
    { file, "empty", 1, { "collection in brackets" } },
    { file, "a.x", 1, { "line 2: \"a\" is a single value" } },
    { file, "list.x", 1, { "is a list, not a mapping" } },
    { file, "b[0]", 1, { "is a mapping, not a list" } },
    { file, "list[5]", 1, { "\"list\" has 2 items" } },
    { file, "q[1]", 1, { "is not there, so [1] cannot be its first item" } },
    { "a: {b: 1}\n", "a.b", 2, { "\"a\" is a collection in brackets" } },
    { "a: {b: 1}\n", "a.b", nil, { "\"a\" is a collection in brackets" } },
    { "a: &x 1\nb: *x\n", "a", 2, { "\"a\" has an anchor" } },
    { "a: &x\n  c: 1\nb: *x\n", "a.c", 2, { "\"a\" has an anchor" } },
    { "a: &x\n  c: 1\nb: *x\n", "a.d", 2, { "\"a\" has an anchor" } },
    { "a:\n  c: &x 1\nb: *x\n", "a", nil, { "has an anchor that others may refer to" } },
    { "a: &x 1\nb: *x\n", "b", 2, "a: &x 1\nb: 2\n" },
    { "a: *x\n", "a.b", 2, { "a reference to an anchor" } },
    { "a: !!int 3\n", "a", 2, { "\"a\" has a tag" } },
    { "a: &x {}\n<<: *x\nb: 1\n", "b", 2, "a: &x {}\n<<: *x\nb: 2\n" },
    { "", "a.b", 1, "a:\n  b: 1\n" },
    { "", "[0].b", 1, "- b: 1\n" },
    { "# c", "a", 1, "# c\na: 1\n" },
    { "---\n# c\n", "a", 1, "---\n# c\na: 1\n" },
    { "---\na: 1\n...\n", "b", 1, "---\na: 1\nb: 1\n...\n" },
    { "{}\n", "a", 1, "a: 1\n" },
    { "[]\n", "[0]", 1, "- 1\n" },
    { "a: 1", "b", 1, "a: 1\nb: 1\n" },
    { "a: 1", "a", 2, "a: 2" },
    { "a: 1\r\nb: 2\r\n", "a", 2, "a: 2\r\nb: 2\r\n" },
    { "a:\r\n  b: 1\r\n", "a.c.d", 2, "a:\r\n  b: 1\r\n  c:\r\n    d: 2\r\n" },
    { "a: first\n  second\nb: 1\n", "a", "x", "a: x\nb: 1\n" },
    { "a: [] # c\n", "a[0]", "x", "a: # c\n  - x\n" },
    { "- - a\n  - b\n- c\n", "[0][1]", "x", "- - a\n  - x\n- c\n" },
    { "- - a\n  - b\n- c\n", "[0][2]", "x", "- - a\n  - b\n  - x\n- c\n" },
    { "a:\n- b\nc: 1\n", "a[1]", "x", "a:\n- b\n- x\nc: 1\n" },
    { "a: |+\n  x\n\nb: 1\n", "c", "x", "a: |+\n  x\n\nb: 1\nc: x\n" },
    { "b: 1\na:\n  x: |+\n    x\n\n", "a.c", "x", "b: 1\na:\n  x: |+\n    x\n\n  c: x\n" },
  })
  local rows = {}
  for i, value in ipairs(HOSTILE) do
    local written = declare("yaml", "k", value).fields.written
    local name = value:find("^[%a]+$") and value ~= "true" and value ~= "null" and value or edit.quote(value)
    rows[#rows + 1] = { "k: x # c\nz: 1\n", "k", value, "k: " .. written .. " # c\nz: 1\n" }
    rows[#rows + 1] = { "z: 1\n", { value, "k" }, i, "z: 1\n" .. name .. ":\n  k: " .. i .. "\n" }
  end
  edits(t, "yaml", rows)
end)

-- A row: file, the task's fields, then the file as it shall be, or { "part of the message" }.
local function ini_edits(t, rows)
  local page = require "host.task.ini_value"
  for i, row in ipairs(rows) do
    local given = row[2]
    given.path = "/x"
    rows[i] = { file = row[1], fields = task.declare(page, "x", given).fields, wanted = row[3] }
  end
  edited(t, "ini", rows)
end

test("ini: sections, repeated keys, sshd's files", function(t)
  local file = "; top\nglobal = 1\n\n[Journal]\n#Storage=auto\nCompress=yes\n\n# about B\n[B]\nkey = a ; b\nkey = c\n\n[Empty]\n"
  local sshd = "# sshd\nInclude /etc/ssh/sshd_config.d/*.conf\n#PermitRootLogin yes\nport 22\nPort 2222\nX11Forwarding=yes\n\nMatch User git\n\tPermitRootLogin no\n"
  local unit = "[Service]\nEnvironment=A=1\nExecStart=/bin/x \\\n  --long \\\n  --more\nEnvironment=B=2\n"
  ini_edits(t, {
    { file, { section = "Journal", key = "Compress", value = "no" }, (file:gsub("=yes", "=no")) },
    { file, { section = "Journal", key = "Storage", value = "persistent" }, (file:gsub("Compress=yes\n", "%0Storage=persistent\n")) },
    { file, { section = "B", key = "key", value = "x" }, (file:gsub("a ; b\nkey = c", "x")) },
    { file, { section = "B", key = "key", value = { "a ; b", "d", "e" } }, (file:gsub("= c\n", "= d\nkey = e\n")) },
    { file, { section = "B", key = "key", value = "c", repeated = true }, file .. "" },
    { file, { section = "B", key = "other", value = "1" }, (file:gsub("= c\n", "%0other = 1\n")) },
    { file, { section = "Empty", key = "k", value = "v" }, file .. "k = v\n" },
    { file, { section = "New", key = "k", value = "v" }, file .. "\n[New]\nk = v\n" },
    { file, { key = "global", value = "2" }, (file:gsub("= 1", "= 2")) },
    { file, { key = "g2", value = "" }, (file:gsub("global = 1\n", "%0g2 = \n")) },
    { file, { key = "key", state = "absent" }, file },
    { file, { section = "B", key = "key", state = "absent" }, (file:gsub("key = a ; b\nkey = c\n", "")) },
    { file, { section = "B", key = "key", value = "c", repeated = true, state = "absent" }, (file:gsub("key = c\n", "")) },
    { "", { key = "a", value = "b" }, "a=b\n" },
    { "", { section = "S", key = "a", value = "b" }, "[S]\na=b\n" },
    { "# c\n[S]\nx=1\n", { key = "a", value = "b" }, "a=b\n\n# c\n[S]\nx=1\n" },
    { "[S]\na=1", { section = "S", key = "a", value = "2" }, "[S]\na=2" },
    { "[S]\na=1", { section = "S", key = "b", value = "2" }, "[S]\na=1\nb=2\n" },
    { "[S]\r\na=1\r\n", { section = "S", key = "b", value = "2" }, "[S]\r\na=1\r\nb=2\r\n" },
    { "[S]\r\na=1\r\n", { section = "S", key = "a", value = "2" }, "[S]\r\na=2\r\n" },
    { "[core]\n\tname = x\n\temail = y\n", { section = "core", key = "z", value = "1" }, "[core]\n\tname = x\n\temail = y\n\tz = 1\n" },
    { "[S]\na=1\n[T]\nb=1\n[S]\na=2\n", { section = "S", key = "a", value = "3" }, "[S]\na=3\n[T]\nb=1\n[S]\n" },
    { "[m]\nskip-x\nb=1\n", { section = "m", key = "skip-x", value = "" }, "[m]\nskip-x=\nb=1\n" },
    { unit, { section = "Service", key = "ExecStart", value = { "", "/bin/y" } }, (unit:gsub("ExecStart.-more\n", "ExecStart=\nExecStart=/bin/y\n")) },
    { unit, { section = "Service", key = "Environment", value = "C=3", repeated = true }, unit .. "Environment=C=3\n" },
    { unit, { section = "Service", key = "Environment", value = "A=1", repeated = true, state = "absent" }, (unit:gsub("Environment=A=1\n", "")) },
    { "[a]\nk = 1 \\\nz = 2\ny = 3\n", { section = "a", key = "k", value = "2" }, "[a]\nk = 2\ny = 3\n" },
    { "[a]\nk = 1 \\\nz = 2\n", { section = "a", key = "z", value = "3" }, "[a]\nk = 1 \\\nz = 2\nz = 3\n" },
    { "[a]\nk = 1\n   more\n\nz=1\n", { section = "a", key = "k", value = "2" }, "[a]\nk = 2\n\nz=1\n" },
    { "[a]\nk = 1\n   x = y\n", { section = "a", key = "k", value = "2" }, { "line 3: some would read this line as a part of the entry above it" } },
    { "[a]\nk = 1\n   x = y\n", { section = "a", key = "x", value = "2" }, { "line 3: some would read" } },
    { "[a]\nk = 1\n   x = y\nz = 1\n", { section = "a", key = "z", value = "2" }, "[a]\nk = 1\n   x = y\nz = 2\n" },
    { sshd, { style = "ssh", key = "PermitRootLogin", value = "no" }, (sshd:gsub("X11Forwarding=yes\n", "%0PermitRootLogin no\n")) },
    { sshd, { style = "ssh", key = "Port", value = "22" }, (sshd:gsub("Port 2222\n", "")) },
    { sshd, { style = "ssh", key = "x11forwarding", value = "no" }, (sshd:gsub("=yes", "=no")) },
    { sshd, { style = "ssh", section = "match  User git", key = "PermitRootLogin", value = "yes" }, (sshd:gsub("\tPermitRootLogin no", "\tPermitRootLogin yes")) },
    { sshd, { style = "ssh", section = "Match User git", key = "AllowTcpForwarding", value = "no" }, sshd .. "\tAllowTcpForwarding no\n" },
    { sshd, { style = "ssh", section = "Match User ci", key = "AllowTcpForwarding", value = "no" }, sshd .. "\nMatch User ci\nAllowTcpForwarding no\n" },
    { "Match all\n X y\n", { style = "ssh", key = "Port", value = "1" }, " Port 1\n\nMatch all\n X y\n" },
  })
  local rows = {}
  for _, value in ipairs(HOSTILE) do
    if not value:find("[\n\r]") and not value:find("^%s") then
      rows[#rows + 1] = { "[a]\nk = x\nz = 1\n", { section = "a", key = "k", value = value }, "[a]\nk = " .. value .. "\nz = 1\n" }
    end
  end
  ini_edits(t, rows)
end)

test("what is no value or key is said at once", function(t)
  local function wrong(text, kind, given)
    given.path = "/x"
    t.fails(text, task.declare, require("host.task." .. kind), "n", given)
  end
  wrong("'value' holds a NUL byte", "json_value", { key = "a", value = { "x\0" } })
  wrong("'value' is no UTF-8 text", "toml_value", { key = "a", value = "\xff" })
  wrong("'value' cannot be a list", "yaml_value", { key = "a", value = { 1 } })
  wrong("'value' cannot be a table", "toml_value", { key = "a", value = { b = 1 } })
  wrong("'value' is a list and a table at once", "json_value", { key = "a", value = { 1, b = 1 } })
  wrong("'value' cannot be null", "toml_value", { key = "a", value = json.null })
  wrong("'value' is no number", "json_value", { key = "a", value = 1 / 0 })
  wrong("needs 'value'", "json_value", { key = "a" })
  wrong("an item of a list cannot be taken out alone", "json_value", { key = "a[0]", state = "absent" })
  wrong("items of lists cannot be set alone", "toml_value", { key = "a[0].b", value = 1 })
  for _, key in ipairs { "", "a.", ".a", "a..b", "a[x]", "a[0", 'a."b', "a.'b", "a'b", "a]b", 'a"b"c', "a[0]b" } do
    wrong("'key' wants a path", "json_value", { key = key, value = 1 })
  end
  wrong("'key' wants a path", "json_value", { key = { "a", -1 }, value = 1 })
  wrong("'value' has more than one line", "ini_value", { key = "a", value = "x\ny" })
  wrong("'value' has blanks at an end", "ini_value", { key = "a", value = "x " })
  wrong("'value' ends in a backslash", "ini_value", { key = "a", value = "C:\\" })
  wrong("'value[1]' holds a NUL byte", "ini_value", { key = "a", value = "x\0" })
  wrong("'key' wants text that matches", "ini_value", { key = "a=b", value = "x" })
  wrong("'secret' and 'repeated' do not go together", "ini_value", { key = "a", value = "x", secret = true, repeated = true })
  wrong("'section' wants a line such as Match User git", "ini_value", { key = "a", value = "x", style = "ssh", section = "b" })
end)

test.done()
