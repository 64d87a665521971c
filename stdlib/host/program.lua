--- Tasks as one program: each task is a check and an apply, and the program reports as it goes. Checking sends the checks
-- alone; applying re-checks each task just before it is changed, stops at the first failure, and checks once more after it.
-- An applying program outlives its connection: see host/journal.lua.
local clock = require "task"
local crypto = require "crypto"
local journal = require "host.journal"
local shell = require "host.shell"
local task = require "host.task"

local M = {}

-- $I is the number of the running task, $D says that one differs. A check may count on r being 0. Where a task has the host
-- restarted, the program ends, and the tasks from that one on are for another.
local CHECK = [[
run() { I=$1 r=0; "c$1"; r=$?
  case $r in 0) say "$1" same; return ;; 1) say "$1" differs ;; *) say "$1" unclear "$r" ;; esac; D=1; }
]]
-- What `glance` was told holds until something is changed that is not one of its paths; then the rest is asked about once more.
local APPLY = [[
run() { # TASK MARKS BEHIND PATHS-BEFORE KEEPS
  [ -z "$4" ] || [ -n "$G" ] || { G=1; ahead "$4"; }
  I=$1 r=0; "c$1"; r=$?
  if [ $r -eq 0 ]; then say "$1" same; return; fi
  say "$1" begins; tell
  for n in $2; do notify "$n" || { say "$1" failed 1; tell; exit 0; }; done
  "a$1"; r=$?
  [ -n "$5" ] || G= SEEN= LISTED= DUE= SUMS= FOLDERS=
  if [ $r -eq 0 ] && [ "$3" = restart ]; then say "$1" restarts; say end; tell; exit 0; fi
  if [ $r -eq 0 ] && [ "$3" = verify ]; then "c$1"; [ $? -eq 0 ] || r=199; fi
  if [ $r -eq 0 ]; then say "$1" changed; else say "$1" failed $r; tell; exit 0; fi; }
]]

local DONE = [[
)
set -- $?; for _s in 1 2; do printf '\n%%s done %%s\n' %s $1 >&$_s; done
]]

local function marks(declared)
  local words = {}
  for i, name in ipairs(declared.notify) do words[i] = task.mark(declared.scope, name) end
  return table.concat(words, " ")
end

-- The path that a task looks at, if it is a plain name, which cannot be taken for another. where: what says so.
local function plain_path(t, where)
  local path = where and where(t.fields)
  return path and not path:find("[^%w/._@+-]") and path or nil
end

-- The most paths that are asked about at once.
local MOST = 500

-- While nothing is changed, the host is asked once about all paths.
local function add_glance(lines, tasks)
  local paths = {}
  for _, t in ipairs(tasks) do paths[#paths + 1] = plain_path(t, t.type.looks_at or t.type.links) end
  for from = 1, #paths, MOST do
    lines[#lines + 1] = "glance " .. table.concat(paths, " ", from, math.min(from + MOST - 1, #paths))
  end
end

-- Where things change, only paths count of which no other can be another name: a folder may have two, a file in it none but its
-- own. Returns task -> how many of them stand before its own.
local function add_glance_ahead(lines, tasks)
  local uses, paths, folders, before = {}, {}, {}, {}
  local function last(path) return path:match("([^/]*)/*$"):lower() end
  for _, t in ipairs(tasks) do
    local path = t.type.looks_at and t.type.looks_at(t.fields)
    local name = path and last(path)
    if name == "." or name == ".." then return before end
    if name then uses[name] = (uses[name] or 0) + 1 end
  end
  for _, t in ipairs(tasks) do
    local path = plain_path(t, t.type.looks_at)
    if path and uses[last(path)] == 1 and #paths < MOST then
      before[t] = #paths
      paths[#paths + 1] = path
      local folder = path:match("^(/.+)/[^/]*$")
      if folder and t.type.puts and not folders[folder] then
        folders[folder] = true
        folders[#folders + 1] = folder
      end
    end
  end
  if #paths > 1 then
    lines[#lines + 1] = ([[ahead() { _n=$1; set -- %s; shift "$_n"; [ $# -eq 1 ] || glance "$@"; }]]):format(table.concat(paths, " "))
  else
    before = {}
  end
  if #folders > 1 then lines[#lines + 1] = "DIRS=" .. shell.quote(table.concat(folders, " ")) end
  return before
end

local function add_shared(lines, tasks)
  local there = {}
  for _, t in ipairs(tasks) do
    local shared = t.type.shared or {}
    if type(shared) == "function" then shared = shared(t.fields) end
    for _, text in ipairs(shared) do
      if not there[text] then lines[#lines + 1] = text end
      there[text] = true
    end
  end
end

-- Snippets have a shell of their own, unless their type says that they need none.
local function add_function(lines, t, name, snippet)
  lines[#lines + 1] = (t.type.inline and "%s() {\n%s\n}" or "%s() ( KEEP= TOLD=\n%s\n)"):format(name, snippet)
end

local function add_tasks(lines, mode, tasks)
  local before = mode == "apply" and add_glance_ahead(lines, tasks)
  for i, t in ipairs(tasks) do
    add_function(lines, t, "c" .. i, task.check(t))
    if mode == "apply" then
      add_function(lines, t, "a" .. i, task.apply(t))
      local trust = t.type.always and t.type.always(t.fields) or t.type.proves and t.type.proves(t.fields)
      local behind = t.type.restarts and "restart" or not trust and "verify" or "trust"
      if not t.type.inline then lines[#lines + 1] = "tell" end -- what its check prints belongs to no task before it
      lines[#lines + 1] = ("run %d %s %s %s %s"):format(i, shell.quote(marks(t)), behind, before[t] or "''",
        trust and t.type.looks_at and "keeps" or "")
    else
      lines[#lines + 1] = ("run %d"):format(i)
    end
  end
end

-- when: shell text in front of each.
local function add_asks(lines, asks, when)
  local names = {}
  for name in pairs(asks or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("%sask %s \"$({ %s\n})\""):format(when, shell.quote(name), asks[name])
  end
end

--- The text of a program. mode: "check" or "apply". options: scope (the role's name, whose journal it keeps), asks (a map of
-- names to snippets whose output is wanted at the end), if_same (more of them, which a check in which a task differs leaves out),
-- home (true: nothing is kept outside the user's home).
-- Returns the text and the mark that its report lines begin with. A text that arrives in part does nothing: it is one group. Behind a
-- check the shell goes on, and says on both streams that it was all.
function M.compile(mode, tasks, options)
  local mark = "@" .. crypto.hex(crypto.random(6))
  local checks = mode == "check"
  local lines = { checks and "(" or "{", "M=" .. mark .. " MODE=" .. mode, shell.PRELUDE, journal.place(options.scope, options.home) }
  lines[#lines + 1] = checks and journal.CHECK .. CHECK or journal.OPEN .. APPLY
  lines[#lines + 1] = "KEEP=1"
  if checks then add_glance(lines, tasks) end
  add_shared(lines, tasks)
  add_tasks(lines, mode, tasks)
  add_asks(lines, options.asks, "")
  add_asks(lines, options.if_same, checks and '[ -n "$D" ] || ' or "")
  lines[#lines + 1] = "say end; tell"
  lines[#lines + 1] = checks and DONE:format(mark) or journal.CLOSE .. "\n}\n"
  return table.concat(lines, "\n"), mark
end

-- A value is a word of its own behind `=`, or base64 of as many words as the host's lines of it.
local function value_of(words, from)
  local word = words[from] or ""
  return word:sub(1, 1) == "=" and word:sub(2) or crypto.unbase64(table.concat(words, "", from)) or ""
end

-- Splits chunks into lines. The empty line in front of report lines is the report's own.
local function splitter(mark, take)
  local rest, empty = "", false
  return function(chunk)
    local from = 1
    rest = rest .. chunk
    for text, behind in rest:gmatch("([^\n]*)\n()") do
      from = behind
      local told = text:sub(1, #mark) == mark
      if empty and not told then take("") end
      empty = text == ""
      if not empty then take(text, told) end
    end
    rest = rest:sub(from)
  end
end

--- What reads a report: `reader:out(chunk)`, `reader:err(chunk)`, then `reader.tasks[i] = {state=, old={}, code=, output=,
-- seconds=}`, `reader.answers`, `reader.ended`, `reader.done` (on how many streams a check has said that it was all) and
-- `reader.code` (how it ended), `reader.over` (the host has closed the journal), `reader.busy` (another program of this role is at
-- work there). `begun(i)` is called as a task begins to change something, `said(i, line)` for a
-- line that its commands printed.
function M.reader(mark, tasks, begun, said)
  local reader, current = {}, nil

  local function reset()
    reader.tasks, reader.answers, reader.tail, current = {}, {}, "", nil
    reader.ended, reader.over, reader.busy, reader.done, reader.code = false, false, false, 0, nil
    for i = 1, #tasks do reader.tasks[i] = { state = "skipped", old = {}, output = "" } end
  end

  local function state_of(number, state, code)
    local t = reader.tasks[number]
    if not t then return end
    t.state, t.code = state, tonumber(code)
    current = state == "begins" and number or nil
    if current then
      t.since = clock.now()
      if begun then begun(number) end
    elseif t.since then
      t.seconds = clock.now() - t.since
    end
  end

  local function report(words)
    local what = words[2]
    if what == "end" then
      reader.ended = true
    elseif what == "over" or what == "busy" then
      reader[what] = true
    elseif what == "done" then
      reader.done, reader.code = reader.done + 1, tonumber(words[3])
    elseif what == "again" then
      reset()
    elseif what == "answer" then
      reader.answers[words[3]] = value_of(words, 4)
    elseif what == "old" then
      local t = reader.tasks[tonumber(words[3])]
      if t then t.old[words[4]] = value_of(words, 5) end
    else
      state_of(tonumber(what), words[3], words[4])
    end
  end

  local function noise(text)
    local t = reader.tasks[current]
    if not t then
      reader.tail = (reader.tail .. text .. "\n"):sub(-4096)
      return
    end
    t.output = (t.output .. text .. "\n"):sub(-16384)
    if said and text:find("%S") then said(current, text) end
  end

  -- One more line of what is there (`+`), of which the last may have no end (`-`).
  local line_of_old = "^" .. mark .. " old (%d+) (%S+) ([+-])(.*)$"

  local function take(text, told)
    if not told then return noise(text) end
    local number, key, more, line = text:match(line_of_old)
    if number then
      local t = reader.tasks[tonumber(number)]
      if t then t.old[key] = (t.old[key] or "") .. line .. (more == "+" and "\n" or "") end
      return
    end
    local words = {}
    for word in text:gmatch("%S+") do words[#words + 1] = word end
    if words[1] == mark then report(words) else noise(text) end
  end

  reset()
  local out, err = splitter(mark, take), splitter(mark, take)
  function reader:out(chunk) out(chunk) end
  function reader:err(chunk) err(chunk) end
  return reader
end

return M
