--- One key in a file of lines with sections: INI, systemd's, sshd's.
local edit, field = require "host.edit", require "field"

local function refuse(name, text, ...) error(("ini_value \"%s\": " .. text):format(name, ...), 0) end

-- What a line cannot say.
local function fault_of(t, value)
  if value:find("[\n\r]") then return "has more than one line" end
  if value:find("^[ \t]") or value:find("[ \t]$") then return "has blanks at an end, which readers of such files drop" end
  if t.style ~= "ssh" and value:find("\\$") then return "ends in a backslash, which would join it with the next line" end
  if t.style == "ssh" and value == "" then return "is empty" end
end

return require "host.task" "ini_value" {
  doc = "A key in a file of lines with sections; the rest of the file is left as it is.", key = "key",
  fields = edit.fields {
    section = field.string { default = "", match = "^[^\n\r%[%]]*$",
      doc = "The section; none for what stands before the first. For `ssh` such as `Match User git`." },
    key = field.string { required = true, match = "^[^%s=#;%[][^\n\r=]*$", doc = "The key; the task's own name unless given." },
    value = field.list { field.string {}, doc = "All that the key shall have, a line each." },
    repeated = field.boolean { default = false, doc = "The key may stand there more than once, and the other values stay." },
    style = field.choice { "ini", "ssh", default = "ini", doc = "`ini`: `key = value`; `ssh`: `Keyword value`, as sshd_config." },
  },
  title = function(t) return ("ini_value %s: %s%s"):format(t.path, t.section ~= "" and "[" .. t.section .. "] " or "", t.key) end,
  prepare = function(t, name)
    local values = t.value or {}
    if t.key:find("[ \t]$") or (t.style == "ssh" and t.key:find("[ \t]")) then refuse(name, "'key' has blanks") end
    if t.section:find("^[ \t]") or t.section:find("[ \t]$") then refuse(name, "'section' has blanks at an end") end
    local first = t.section:lower():match("^%a+%f[%s]")
    if t.style == "ssh" and t.section ~= "" and first ~= "match" and first ~= "host" then
      refuse(name, "'section' wants a line such as Match User git")
    end
    if t.repeated and #values ~= 1 then refuse(name, "with 'repeated' it needs one 'value'") end
    if t.repeated and t.secret then refuse(name, "'secret' and 'repeated' do not go together") end
    if t.state == "present" and #values == 0 then refuse(name, "needs 'value'") end
    for _, value in ipairs(values) do
      local fault = fault_of(t, value)
      if fault then refuse(name, "'value' %s", fault) end
    end
    local function request(verb, list)
      local arguments = { t.style, t.section, t.key, t.repeated and "one" or "all" }
      return edit.request(verb, table.move(list, 1, #list, #arguments + 1, arguments))
    end
    local hidden = {}
    for i in ipairs(values) do hidden[i] = "x" end
    local present = t.state == "present"
    t.new = table.concat(values, "\n")
    edit.prepare(t, t.new .. "\n", t.repeated and request("has", values) or request("get", {}),
      request(present and "set" or "del", (present or t.repeated) and values or {}),
      request(present and "set" or "del", t.secret and hidden or (present or t.repeated) and values or {}))
  end,
  shown = function(t) return { value = t.secret and "(secret, changed)" or t.state == "present" and t.new or "" } end,
  shared = edit.shared "ini", check = edit.check "ini", apply = edit.apply "ini",
}
