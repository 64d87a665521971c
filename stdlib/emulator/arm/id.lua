--- Resource ids: /subscriptions/S/resourceGroups/G/providers/NS/type/name/child/name. They compare without case.
local function split(path)
  local steps = {}
  for step in path:gmatch("[^/]+") do steps[#steps + 1] = step end
  return steps
end

--- Takes an id or a path apart:
-- `subscription, group`; of the last provider `namespace`, `types`, `names`, `type` ("NS/a/b"), `name`, `scope` (what the
-- provider stands below), `parent` (the id one level up, nil at the top), `whole` (every type has its name).
local function parse(path)
  local steps = split(path)
  local id = { path = "/" .. table.concat(steps, "/"), steps = steps }
  local at = 1
  if steps[at] and steps[at]:lower() == "subscriptions" then
    id.subscription = steps[at + 1]
    at = at + 2
  end
  if id.subscription and steps[at] and steps[at]:lower() == "resourcegroups" then
    id.group = steps[at + 1]
    id.in_groups = true
    at = at + 2
  end
  if steps[at] and steps[at]:lower() ~= "providers" then id.rest = table.concat(steps, "/", at) end
  while steps[at] do
    if steps[at]:lower() ~= "providers" then
      at = at + 1
    else
      id.scope = "/" .. table.concat(steps, "/", 1, at - 1)
      if at == 1 then id.scope = "" end
      id.namespace, id.types, id.names, id.first = steps[at + 1], {}, {}, at + 2
      local i = at + 2
      while steps[i] and steps[i]:lower() ~= "providers" do
        id.types[#id.types + 1] = steps[i]
        id.names[#id.names + 1] = steps[i + 1]
        i = i + 2
      end
      at = i
    end
  end
  if id.namespace and #id.types > 0 then
    id.type = id.namespace .. "/" .. table.concat(id.types, "/")
    id.whole = #id.names == #id.types
    id.name = id.whole and id.names[#id.names] or nil
    if #id.types > 1 then
      id.parent = "/" .. table.concat(steps, "/", 1, id.whole and #steps - 2 or #steps - 1)
    end
  end
  return id
end

--- The id of the group that an id lies in, folded; nil outside of groups.
local function group_of(id) return (id:lower():match("^(/subscriptions/[^/]+/resourcegroups/[^/]+)")) end

return { parse = parse, split = split, group_of = group_of }
