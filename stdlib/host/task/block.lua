--- A block of lines between two markers, in a file that others write too.
local crypto, field, task = require "crypto", require "field", require "host.task"

-- `a` and `b` are the numbers of the lines with the markers. Nothing of the content is an argument: the markers reach grep on
-- its input, and the lines around are copied by number, byte for byte.
local FIND = [=[p=$(readlink -f -- {path}) || p={path}
  [ ! -e "$p" ] || [ -f "$p" ] || { echo {path}" is no file" >&2; return 2; }
  a= b=
  if [ -f "$p" ]; then
    a=$(printf '%s\n' {first} | grep -nxFf - -- "$p" | cut -d: -f1)
    b=$(printf '%s\n' {last} | grep -nxFf - -- "$p" | cut -d: -f1)
  fi
  whole=1
  case $a,$b in ,) ;; *[!0-9,]* | ,* | *,) whole= ;; *) [ "$a" -lt "$b" ] || whole= ;; esac
  [ -n "$whole" ] || {
    printf '%s: the block begins at line %s and ends at line %s: it is not whole, or there is more than one\n' {path} \
      "$(echo ${a:-none})" "$(echo ${b:-none})" >&2
    return 2
  }
]=]

local CHECK = [=[
  grep -E -e {pattern} </dev/null || [ $? -eq 1 ] || return 2
  [ -n "$a" ] || { [ {state} = absent ]; return; }
  inside() { tail -n +$((a + 1)) <"$p" | head -n $((b - a - 1)); }
  if [ {state} = present ]; then
    d=$(inside | sha256sum); [ "${d%% *}" != {digest} ] || return 0
  fi
]=]

-- Where the block goes that is not there yet: behind line `at`.
local APPLY = [=[
  m={mode} o={owner} f=/dev/null at=0 n=0
  if [ -f "$p" ]; then
    look "$p"; m=$mode o=$ids f=$p; n=$(wc -l <"$p"); at=$n
    [ -z "$(tail -c 1 "$p" | tr -d '\n')" ] || at=$((n + 1))
  fi
  if [ -n "$a" ]; then at=$((a - 1)) from=$((b + 1)); else
    case {place} in
    after) l=$(grep -nE -e {pattern} -- "$f" | tail -n 1); l=${l%%:*}; [ -z "$l" ] || at=$l ;;
    before) l=$(grep -nE -e {pattern} -- "$f" | head -n 1); l=${l%%:*}; [ -z "$l" ] || at=$((l - 1)) ;;
    esac
    from=$((at + 1))
  fi
  new() {
    head -n "$at" <"$f" && { [ "$at" -le "$n" ] || echo; } &&
    { [ {state} = absent ] || { printf '%s\n' {first} && printf %s {content} && printf '%s\n' {last}; }; } &&
    tail -n "+$from" <"$f"
  }
  put "$p" "$m" "$o"]=]

return task "block" {
  doc = "A block of lines between markers; the rest of the file is left alone.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[^\n\r]+$",
      doc = "Stands in the markers; the task's own name if not given." },
    path = field.string { required = true, match = "^/." },
    content = field.string { doc = "The lines between the markers." },
    comment = field.string { default = "#", match = "^[^\n\r]+$", doc = "What begins a comment in that file." },
    comment_end = field.string { match = "^[^\n\r]+$", doc = "What ends it, such as `-->`." },
    after = field.string { match = "^[^\n]+$",
      doc = "An extended regular expression: a new block goes behind the last line that matches, or to the end." },
    before = field.string { match = "^[^\n]+$",
      doc = "A new block goes in front of the first line that matches, or to the end." },
    secret = field.boolean { default = false, doc = "Never show the content." },
    mode = field.string { default = "0644", match = "^0?[0-7]?[0-7][0-7][0-7]$", doc = "Of a file that is not there." },
    owner = field.string { match = "^[%w_.-]+:[%w_.-]+$", doc = "Of a file that is not there; whoever makes it if not given." },
    state = field.choice { "present", "absent", default = "present" },
  },
  title = function(t) return ("block %s: %s"):format(t.path, t.name) end,
  prepare = function(t, name)
    local function refuse(text) error(("block \"%s\": %s"):format(name, text), 0) end
    if t.state == "present" and not t.content then refuse "needs 'content'" end
    if t.after and t.before then refuse "takes 'after' or 'before', not both" end
    local tail = t.comment_end and " " .. t.comment_end or ""
    t.first = ("%s BEGIN %s%s"):format(t.comment, t.name, tail)
    t.last = ("%s END %s%s"):format(t.comment, t.name, tail)
    local content = t.content or ""
    if content ~= "" and content:sub(-1) ~= "\n" then content = content .. "\n" end
    for line in content:gmatch("([^\n]*)\n") do
      if line == t.first or line == t.last then refuse "'content' holds a line that is its own marker" end
    end
    t.content, t.digest = content, crypto.sha256(content)
    t.pattern, t.place = t.after or t.before or "", t.after and "after" or t.before and "before" or "end"
    t.mode, t.owner = ("%o"):format(tonumber(t.mode, 8)), t.owner or ""
  end,
  shown = function(t)
    return { content = t.secret and "(secret, changed)" or t.state == "present" and t.content or "" }
  end,
  check = function(t)
    return FIND .. CHECK .. (t.secret and "oldis content '(secret)'; return 1" or "inside | old content; return 1")
  end,
  apply = function() return FIND .. APPLY end,
}
