--- Tasks as one program: each task is a check and an apply, and the program reports as it goes. Checking sends the checks
-- alone; applying re-checks each task just before it is changed, stops at the first failure, and checks once more after it.
local clock = require "task"
local crypto = require "crypto"
local shell = require "host.shell"
local task = require "host.task"

local M = {}

-- $I is the number of the running task. A check may count on r being 0.
local CHECK = [[
run() { I=$1 r=0; "c$1"; r=$?
  case $r in 0) say "$1" same ;; 1) say "$1" differs ;; *) say "$1" unclear "$r" ;; esac; }
]]
local APPLY = [[
run() { I=$1 r=0; "c$1"; r=$?
  if [ $r -eq 0 ]; then say "$1" same; return; fi
  say "$1" begins; printf '%s %s\n' "$M" "$1" >&2
  for n in $2; do notify "$n" || { say "$1" failed 1; exit 0; }; done
  "a$1"; r=$?
  if [ $r -eq 0 ] && [ "$3" = verify ]; then "c$1"; [ $? -eq 0 ] || r=199; fi
  if [ $r -eq 0 ]; then say "$1" changed; else say "$1" failed $r; exit 0; fi; }
]]

local function marks(declared)
  local words = {}
  for i, name in ipairs(declared.notify) do words[i] = task.mark(declared.scope, name) end
  return table.concat(words, " ")
end

--- The text of a program. mode: "check" or "apply". `asks` is a map of names to snippets whose output is wanted at the end.
-- Returns the text and the mark that its report lines begin with.
function M.compile(mode, tasks, asks)
  local mark = "@" .. crypto.hex(crypto.random(6))
  local lines = { "M=" .. mark .. " MODE=" .. mode, shell.PRELUDE, mode == "check" and CHECK or APPLY }
  for i, t in ipairs(tasks) do
    lines[#lines + 1] = ("c%d() (\n%s\n)"):format(i, task.check(t))
    if mode == "apply" then
      lines[#lines + 1] = ("a%d() (\n%s\n)"):format(i, task.apply(t))
      local verify = not (t.type.always and t.type.always(t.fields)) and "verify" or "trust"
      lines[#lines + 1] = ("run %d %s %s"):format(i, shell.quote(marks(t)), verify)
    else
      lines[#lines + 1] = ("run %d"):format(i)
    end
  end
  local names = {}
  for name in pairs(asks or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("A=$({ %s\n} | base64 | tr -d '\\n') && say answer %s \"$A\""):format(asks[name], shell.quote(name))
  end
  lines[#lines + 1] = "say end"
  return table.concat(lines, "\n") .. "\n", mark
end

--- What reads a report: `reader:out(chunk)`, `reader:err(chunk)`, then `reader.tasks[i] = {state=, old={}, code=, output=,
-- seconds=}`, `reader.answers`, `reader.ended`. `begun(i)` is called as a task begins to change something.
function M.reader(mark, tasks, begun)
  local reader = { tasks = {}, answers = {}, ended = false, tail = "" }
  for i = 1, #tasks do reader.tasks[i] = { state = "skipped", old = {}, output = "" } end
  local rest, err_rest, current = "", "", nil

  local function line(text)
    local words = {}
    for word in text:gmatch("%S+") do words[#words + 1] = word end
    if words[1] ~= mark then return end
    if words[2] == "end" then reader.ended = true return end
    if words[2] == "answer" then reader.answers[words[3]] = crypto.unbase64(words[4] or "") return end
    if words[2] == "old" then
      local t = reader.tasks[tonumber(words[3])]
      if t then t.old[words[4]] = crypto.unbase64(words[5] or "") or "" end
      return
    end
    local t = reader.tasks[tonumber(words[2])]
    if not t then return end
    t.state, t.code = words[3], tonumber(words[4])
    if t.state == "begins" then
      t.since = clock.now()
      if begun then begun(tonumber(words[2])) end
    elseif t.since then
      t.seconds = clock.now() - t.since
    end
  end

  function reader:out(chunk)
    rest = rest .. chunk
    while true do
      local at = rest:find("\n", 1, true)
      if not at then return end
      line(rest:sub(1, at - 1))
      rest = rest:sub(at + 1)
    end
  end

  function reader:err(chunk)
    err_rest = err_rest .. chunk
    while true do
      local at = err_rest:find("\n", 1, true)
      if not at then return end
      local text = err_rest:sub(1, at - 1)
      err_rest = err_rest:sub(at + 1)
      local number = text:match("^" .. mark .. " (%d+)$")
      if number then
        current = reader.tasks[tonumber(number)]
      elseif current then
        current.output = (current.output .. text .. "\n"):sub(-16384)
      else
        reader.tail = (reader.tail .. text .. "\n"):sub(-4096)
      end
    end
  end

  return reader
end

return M
