--- `vmrun why`: what an address needs, what needs it, what the plan would do to it and why, and its part in the last run.
local json = require "json"
local last_run = require "cli.last_run"

local M = {}

-- The declaration that an address stands for: itself, or its instance's template.
local function declared(graph, node)
  local name = node.template or node.parent or node.address
  for _, one in ipairs(graph.nodes) do
    if one.address == name then return one end
  end
  return { address = name }
end

local function neighbours(graph, address, from, to)
  local found, seen = json.array {}, {}
  for _, edge in ipairs(graph.edges) do
    if edge[from] == address then
      local one = seen[edge[to]]
      if not one then
        one = { address = edge[to], fields = {} }
        seen[edge[to]] = one
        found[#found + 1] = one
      end
      if edge.field then table.insert(one.fields, edge.field) end
    end
  end
  for _, one in ipairs(found) do
    for _, node in ipairs(graph.nodes) do
      if node.address == one.address then one.place = node.place end
    end
  end
  return found
end

-- How many declarations an address needs, or is needed by, in all.
local function reach(graph, address, from, to)
  local next_of, seen, count = {}, { [address] = true }, 0
  for _, edge in ipairs(graph.edges) do
    next_of[edge[from]] = next_of[edge[from]] or {}
    table.insert(next_of[edge[from]], edge[to])
  end
  local queue = { address }
  while queue[1] do
    for _, other in ipairs(next_of[table.remove(queue)] or {}) do
      if not seen[other] then
        seen[other], count = true, count + 1
        queue[#queue + 1] = other
      end
    end
  end
  return count
end

-- Its steps of the last run, and whether they are on the critical path.
local function in_last_run(session, address)
  local report = last_run.read(session)
  if not report then return nil end
  local chain, total = last_run.critical(report.events)
  local told = { length = report.length, critical_path = total, steps = json.array {} }
  for _, event in ipairs(report.events) do
    if event.address == address then
      table.insert(told.steps, { verb = event.verb, start = event.start, seconds = event.seconds, ok = event.ok, critical = chain[event] or false })
    end
  end
  return told
end

local function list(lines, title, found, all)
  if not found[1] then
    lines[#lines + 1] = ("  %s nothing"):format(title)
    return
  end
  lines[#lines + 1] = ("  %s%s"):format(title, all > #found and (" (%d in all)"):format(all) or "")
  for _, one in ipairs(found) do
    lines[#lines + 1] = ("    %s%s%s"):format(one.address, one.fields[1] and ", by " .. table.concat(one.fields, ", ") or "",
      one.place and "  (" .. one.place .. ")" or "")
  end
end

local VERBS = { ["no-op"] = "nothing to do", update = "change", delete = "destroy" }
local PAST = { create = "made", update = "changed", delete = "destroyed", add = "members added", remove = "removed", read = "read" }

local function run_lines(lines, run)
  if not run then
    lines[#lines + 1] = "  no run of this stack is known"
  elseif not run.steps[1] then
    lines[#lines + 1] = ("  the last run (%.1f s) had nothing to do with it"):format(run.length)
  end
  for _, step in ipairs(run and run.steps or {}) do
    lines[#lines + 1] = ("  in the last run: %s from %.1f s to %.1f s of %.1f s%s; %s"):format(PAST[step.verb] or step.verb, step.start,
      step.start + step.seconds, run.length, step.ok and "" or ", and failed",
      step.critical and ("on the critical path: %.0f %% of its %.1f s"):format(
        run.critical_path > 0 and step.seconds / run.critical_path * 100 or 0, run.critical_path) or "not on the critical path")
  end
end

function M.run(call)
  local graph, node = call.graph, call.node
  local decl = declared(graph, node)
  local told = {
    address = node.address, kind = node.kind, place = node.file and ("%s:%d"):format(node.file, node.line) or nil,
    action = node.action, reason = node.reason, held = call.held,
    needs = neighbours(graph, decl.address, "from", "to"), needs_all = reach(graph, decl.address, "from", "to"),
    needed_by = neighbours(graph, decl.address, "to", "from"), needed_by_all = reach(graph, decl.address, "to", "from"),
    each = decl.each, last_run = in_last_run(call.session, node.address), changes = node.changes,
  }
  if call.args.json then return { text = json.encode(told, { indent = 2 }) } end
  local lines = { ("%s%s"):format(told.address, told.place and "  (" .. told.place .. ")" or "") }
  lines[2] = ("  now: %s%s"):format(VERBS[told.action] or told.action, told.reason and ", " .. told.reason or "")
  if call.shown ~= "" then lines[#lines + 1] = (call.shown:gsub("\n$", "")) end
  if told.held then lines[#lines + 1] = "  " .. told.held end
  if told.each then lines[#lines + 1] = "  one for each of " .. told.each end
  list(lines, "needs", told.needs, told.needs_all)
  list(lines, "needed by", told.needed_by, told.needed_by_all)
  run_lines(lines, told.last_run)
  return { text = table.concat(lines, "\n") }
end

return M
