-- vmrun lua shapes.lua AZ OURS TABLE: where the bodies that az sent and those that our kinds sent differ in shape, which is the set
-- of `path:type` of all bodies of a type. A row of the table explains one or more: type, a pattern of the whole `path:type`, whose it is
-- (az or ours), why. Prints `unexplained TYPE WHO PATH:TYPE`, `idle ROW` for a row that explains nothing, and the types compared.
local fs, json = require "fs", require "json"

-- Where a kind's body stands in that of the resource around it, which the other side may send instead.
local INSIDE = {
  ["Microsoft.Network/networkSecurityGroups/securityRules"] = { "Microsoft.Network/networkSecurityGroups", "securityRules" },
  ["Microsoft.Network/virtualNetworks/subnets"] = { "Microsoft.Network/virtualNetworks", "subnets" },
}
local ADDRESSING = { type = true, apiVersion = true, name = true, dependsOn = true, copy = true } -- of a template's resource

local function note(shape, path, value)
  if value == json.null then return end -- ARM takes it as absent
  if json.is_array(value) or type(value) == "table" and #value > 0 then
    shape[path .. ":list"] = true
    for _, item in ipairs(value) do note(shape, path .. "[]", item) end
  elseif type(value) == "table" then
    if path ~= "" then shape[path .. ":object"] = true end
    for key, item in pairs(value) do
      note(shape, (path == "" and "" or path .. ".") .. (key:find("^/") and "ID" or path == "tags" and "TAG" or key), item)
    end
  else
    shape[path .. ":" .. (math.type(value) or type(value))] = true
  end
end

local function shapes_of(path)
  local shapes = {}
  local function add(type_name, body)
    local inside = INSIDE[type_name]
    if inside then
      body.name = "as the path says"
      type_name, body = inside[1], { properties = { [inside[2]] = json.array { body } } }
    end
    shapes[type_name] = shapes[type_name] or {}
    note(shapes[type_name], "", body)
  end
  for _, kept in ipairs(json.decode(assert(fs.read(path))).bodies) do
    local body = assert(json.decode(kept.body))
    if kept.type == "Microsoft.Resources/deployments" then
      for _, resource in ipairs(body.properties.template.resources) do
        local sent = {}
        for key, value in pairs(resource) do sent[key] = not ADDRESSING[key] and value or nil end
        local mode = (resource.properties or {}).orchestrationMode
        add(resource.type .. (mode and " " .. mode or ""), sent)
      end
    else
      local mode = kept.type:find "virtualMachineScaleSets$" and body.properties.orchestrationMode
      add(kept.type .. (mode and " " .. mode or ""), body)
    end
  end
  return shapes
end

local rows = {}
for line in (assert(fs.read(arg[3]))):gmatch "[^\n]+" do
  local type_name, pattern, who, reason = line:match "^([^\t]+)\t([^\t]+)\t([^\t]+)\t([^\t]+)$"
  rows[#rows + 1] = { type = assert(type_name, line), pattern = "^" .. pattern .. "$", who = who, reason = reason, line = line }
end

local lines = {}
local function differ(type_name, who, one, other)
  for what in pairs(one) do
    if not other[what] then
      local explained = false
      for _, row in ipairs(rows) do
        if (row.type == "*" or row.type == type_name) and row.who == who and what:find(row.pattern) then
          row.used, explained = true, true
        end
      end
      if not explained then lines[#lines + 1] = ("unexplained %s %s %s"):format(type_name, who, what) end
    end
  end
end

local az, ours = shapes_of(arg[1]), shapes_of(arg[2])
for type_name, shape in pairs(az) do
  lines[#lines + 1] = ("%s %s"):format(ours[type_name] and "compared" or "not-ours", type_name)
  if ours[type_name] then
    differ(type_name, "az", shape, ours[type_name])
    differ(type_name, "ours", ours[type_name], shape)
  end
end
for type_name in pairs(ours) do
  if not az[type_name] then lines[#lines + 1] = "not-az " .. type_name end
end
for _, row in ipairs(rows) do
  if not row.used then lines[#lines + 1] = "idle " .. row.line end
end
table.sort(lines)
print(table.concat(lines, "\n"))
