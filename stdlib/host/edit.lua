--- Edits of one value in a file that others write too; the rest of the file stays byte for byte. The host does them with awk,
-- and the values reach it on its standard input. A format is an awk program (host/awk/NAME.lua) and what a value is in it;
-- values are compared in one canonical form, JSON without blanks and with sorted keys.
local crypto, field, json = require "crypto", require "field", require "json"
local reader = require "host.awk.reader"
local task = require "host.task"

local M = {}

-- Nobody reads the comments and the indentation on the host.
local function shortened(text) return (("\n" .. text):gsub("\n%s+", "\n"):gsub("\n#[^\n]*", ""):gsub("^\n", "")) end

-- `edit PROGRAM FILE`, with the request on the input, prints what is asked for. 3: it is not there. 2: it cannot be told.
local SHELL = "EDIT='" .. shortened(reader) .. [['
edit() {
  if [ -f "$2" ]; then
    [ "$(tr -dc '\000' <"$2" | wc -c)" -eq 0 ] || { echo "$2 holds NUL bytes" >&2; return 2; }
    { cat; cat -- "$2"; printf x; } | awk "$EDIT$1"
  else
    { cat; printf x; } | awk "$EDIT$1"
  fi
}
edited() { p=$(readlink -f -- "$1") || p=$1; [ ! -e "$p" ] || [ -f "$p" ] || { echo "$1 is no file" >&2; return 2; }; }]]

--- The shell text that knows how to edit a format: `edit "$NAME" FILE`.
function M.shared(name)
  return { SHELL, ("%s='%s'"):format(name:upper(), shortened(require("host.awk." .. name))) }
end

local SHORT = { ["\""] = "\\\"", ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\b"] = "\\b", ["\f"] = "\\f" }

--- A text in double quotes, as JSON, TOML and YAML all read it.
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return SHORT[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function text_fault(text)
  return text:find("\0", 1, true) and "holds a NUL byte" or not utf8.len(text) and "is no UTF-8 text" or nil
end

local function number(value, floats)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if floats then
    local text = ("%.17g"):format(value)
    return text:find("[.e]") and text or text .. ".0"
  end
  return (value == math.floor(value) and math.abs(value) < 1e15) and ("%.0f"):format(value) or ("%.17g"):format(value)
end

--- The canonical text of a value. options: floats (1.0 is not 1), null, lists, maps (whether these may be); join (what stands
-- between the items of a list). Returns nil and what is wrong with it.
function M.canonical(value, options)
  local kind = type(value)
  if kind == "boolean" then return tostring(value) end
  if kind == "string" then
    local fault = text_fault(value)
    if fault then return nil, fault end
    return M.quote(value)
  end
  if kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return nil, "is no number that a file can hold" end
    return number(value, options.floats)
  end
  if field.is_null(value) then return options.null and "null" or nil, "cannot be null" end
  if kind ~= "table" then return nil, "cannot be a " .. kind end
  local parts, count = {}, 0
  for _ in pairs(value) do count = count + 1 end
  if json.is_array(value) or #value > 0 or (count == 0 and not options.maps) then
    if count > #value then return nil, "is a list and a table at once" end
    if not options.lists then return nil, "cannot be a list" end
    for i, item in ipairs(value) do
      local text, fault = M.canonical(item, options)
      if not text then return nil, fault end
      parts[i] = text
    end
    return "[" .. table.concat(parts, options.join or ",") .. "]"
  end
  if not options.maps then return nil, "cannot be a table" end
  for key, item in pairs(value) do
    local name, fault = M.canonical(key, options)
    if type(key) ~= "string" then name, fault = nil, "has a key that is no text" end
    local text, wrong = M.canonical(item, options)
    if not name or not text then return nil, fault or wrong end
    parts[#parts + 1] = { name, name .. ":" .. text }
  end
  table.sort(parts, function(a, b) return a[1] < b[1] end)
  for i, part in ipairs(parts) do parts[i] = part[2] end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function next_step(text, at)
  local q = text:sub(at, at)
  if q == "'" then
    local stop = text:find("'", at + 1, true)
    return stop and text:sub(at + 1, stop - 1), stop and stop + 1
  elseif q == '"' then
    local stop = at + 1
    while stop <= #text and text:sub(stop, stop) ~= '"' do stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1) end
    return json.decode(text:sub(at, stop)), stop + 1
  end
  local name = text:match("^[^.%[%]\"']+", at)
  return name, name and at + #name
end

--- The steps of a key: text such as `a."b.c".d[0]`, or a list of names and numbers, which count from 0. nil: it is wrong.
function M.steps(key)
  local steps = {}
  if type(key) == "table" then
    for i, step in ipairs(key) do
      if type(step) == "string" then
        steps[i] = M.quote(step)
      elseif math.type(step) == "integer" and step >= 0 then
        steps[i] = ("[%d]"):format(step)
      else
        return nil
      end
    end
    return #steps > 0 and #steps == #key and steps or nil
  end
  if type(key) ~= "string" then return nil end
  local at = 1
  while at <= #key do
    local index, after = key:match("^%[(%d+)%]()", at)
    if index then
      steps[#steps + 1] = ("[%d]"):format(index)
    else
      local name
      name, after = next_step(key, at)
      if type(name) ~= "string" then return nil end
      steps[#steps + 1] = M.quote(name)
    end
    at = after
    local c = key:sub(at, at)
    if c == "." and at < #key then at = at + 1 elseif c ~= "" and c ~= "[" then return nil end
  end
  return #steps > 0 and steps or nil
end

local function key_text(key)
  if type(key) ~= "table" then return tostring(key) end
  local text = ""
  for _, step in ipairs(key) do
    if type(step) == "number" then
      text = text .. "[" .. step .. "]"
    else
      text = text .. (text ~= "" and "." or "") .. (step:find("^[%w_-]+$") and step or M.quote(step))
    end
  end
  return text
end

--- The lines of a request; see host/awk/reader.lua.
function M.request(verb, arguments)
  return verb .. "\n" .. #arguments .. "\n" .. table.concat(arguments, "\n") .. (#arguments > 0 and "\n" or "")
end

-- What differs is tried before it is told, so that what cannot be done shows in the plan. `v` ends in a dot, which keeps its
-- last newlines.
local CHECK = [[edited {path} || return 2
  v=$(printf %s {ask} | edit "$PROGRAM" "$p"; e=$?; echo .; exit $e); e=$?; v=${v%.}
  case $e in 0) SAME ;; 3) {wanted} || return 0 ;; *) return 2 ;; esac
  printf %s {trial} | edit "$PROGRAM" "$p" >/dev/null || return 2
  [ $e -eq 3 ] || OLD
  return 1]]

local SAME = "[ \"$v\" != {now} ] || return 0"
local SAME_DIGEST = "d=$(printf %s \"$v\" | sha256sum); [ \"${d%% *}\" != {digest} ] || return 0"

--- The check of a task with the fields path, state and secret, and, from its `prepare`: ask, trial (requests), now (what
-- shall be there, a line a value), digest.
function M.check(name)
  return function(t)
    local parts = { PROGRAM = name:upper(), SAME = t.state == "absent" and ":" or t.secret and SAME_DIGEST or SAME,
      OLD = t.secret and "oldis value '(secret)'" or "oldis value \"${v%\"$NL\"}\"" }
    return (CHECK:gsub("%u+", parts))
  end
end

--- The apply, by the request `order`.
function M.apply(name)
  return ([[edited {path} || return
    m={mode} o={owner}
    [ ! -f "$p" ] || { look "$p"; m=$mode o=$ids; }
    new() { printf %%s {order} | edit "$%s" "$p"; }
    put "$p" "$m" "$o"]]):format(name:upper())
end

--- The fields that all such tasks have.
function M.fields(more)
  local fields = {
    path = field.string { required = true, match = "^/." },
    state = field.choice { "present", "absent", default = "present", doc = "Absent takes it out; what is around it stays." },
    secret = field.boolean { default = false, doc = "Never show the value." },
    mode = field.string { default = "0644", match = "^0?[0-7]?[0-7][0-7][0-7]$", doc = "Of a file that is not there." },
    owner = field.string { match = "^[%w_.-]+:[%w_.-]+$", doc = "Of a file that is not there; whoever makes it if not given." },
  }
  for name, spec in pairs(more) do fields[name] = spec end
  return fields
end

--- Fills what check and apply count on. `now`: the canonical value or values; `ask`, `order`, `trial`: requests.
function M.prepare(t, now, ask, order, trial)
  t.now, t.ask, t.order, t.trial = now, ask, order, trial
  t.digest, t.wanted = crypto.sha256(now), t.state == "present" and "true" or "false"
  t.mode, t.owner = ("%o"):format(tonumber(t.mode, 8)), t.owner or ""
end

--- A task type for a format with paths of keys. page: doc, options (see canonical), value (a field), and optionally
-- literal(value, canonical), the value as it is written.
function M.task(name, format, page)
  return task(name) {
    doc = page.doc, key = "key",
    fields = M.fields {
      key = field.any { required = true, doc = "Where the value is, such as `a.\"b.c\".d`"
        .. (page.indexes and " or `a[0].b`" or "") .. ", or a list of the steps; the task's own name unless given." },
      value = page.value,
    },
    title = function(t) return ("%s %s: %s"):format(name, t.path, key_text(t.key)) end,
    prepare = function(t, given)
      local function refuse(text, ...) error(("%s \"%s\": " .. text):format(name, given, ...), 0) end
      local steps = M.steps(t.key)
      if not steps then refuse("'key' wants a path such as a.\"b.c\".d, or a list of names and numbers") end
      for _, step in ipairs(steps) do
        if step:find("^%[") and not page.indexes then
          refuse("'key' has %s, but items of lists cannot be set alone in this format", step)
        end
      end
      if t.state == "absent" and steps[#steps]:find("^%[") then
        refuse("an item of a list cannot be taken out alone: at the next run the one behind it would have its number")
      end
      if t.state == "present" and t.value == nil then refuse("needs 'value'") end
      local text = ""
      if t.state == "present" then
        local fault
        text, fault = M.canonical(t.value, page.options)
        if not text then refuse("'value' %s", fault) end
      end
      t.written = page.literal and t.value ~= nil and page.literal(t.value, text) or text
      local function request(verb, ...)
        local list = table.move(steps, 1, #steps, 1, {})
        for _, argument in ipairs { ... } do list[#list + 1] = argument end
        return M.request(verb, list)
      end
      local del = t.state == "absent" and request "del"
      M.prepare(t, text .. "\n", request "get", del or request("set", text, t.written),
        del or request("set", t.secret and '"x"' or text, t.secret and '"x"' or t.written))
    end,
    shown = function(t)
      return { value = t.secret and "(secret, changed)" or t.state == "present" and t.now:sub(1, -2) or "" }
    end,
    shared = M.shared(format), check = M.check(format), apply = M.apply(format),
  }
end

return M
