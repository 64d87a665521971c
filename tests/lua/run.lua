--- Runs every test_*.lua beside this file (or those whose names hold one of the arguments), each in a process of its own.
-- Prints what failed, and `lua: N passed, N failed, N skipped` as its last line.
local task, process, fs = require "task", require "process", require "fs"

local PARALLEL, TIMEOUT = 2, 600
local verbose = process.env "VMRUN_TEST_VERBOSE"

local folder = arg[0]:match "^(.*)/[^/]*$" or "."

local function wanted(name)
  local what = name:match "^test_(.*)%.lua$"
  if not what or #arg == 0 then return what ~= nil end
  for _, part in ipairs(arg) do
    if what:find(part, 1, true) then return true end
  end
  return false
end

--- Counts the lines of tap.lua; returns counts and the text of what failed.
local function read(output)
  local passed, failed, skipped, shown, showing = 0, 0, 0, {}, false
  for line in output:gmatch "[^\n]+" do
    if line:match "^ok " then
      passed, showing = passed + 1, false
    elseif line:match "^not ok " then
      failed, showing = failed + 1, true
    elseif line:match "^skip " then
      skipped, showing = skipped + 1, true
    end
    if showing or verbose then shown[#shown + 1] = "  " .. line end
  end
  return passed, failed, skipped, table.concat(shown, "\n")
end

local total = { passed = 0, failed = 0, skipped = 0 }

local function run(name)
  local start = task.now()
  local result, message = process.run { argv = { process.self(), "lua", folder .. "/" .. name }, timeout = TIMEOUT }
  result = result or { code = 1, stdout = "", stderr = message }
  local passed, failed, skipped, shown = read(result.stdout)
  if result.code ~= 0 and failed == 0 then -- it ended before its tests did
    failed = 1
    shown = shown .. "\n  not ok " .. name .. " ended early" .. (result.signal and " by signal " .. result.signal or "")
  end
  if failed > 0 then shown = shown .. "\n  " .. result.stderr:gsub("\n(.)", "\n  %1") end
  print(string.format("%-28s %3d passed, %d failed, %d skipped (%.1f s)", name, passed, failed, skipped, task.now() - start))
  if shown:match "%S" then print(shown) end
  io.stdout:flush()
  total.passed, total.failed, total.skipped = total.passed + passed, total.failed + failed, total.skipped + skipped
end

local names = {}
for _, name in ipairs(assert(fs.list(folder))) do
  if wanted(name) then names[#names + 1] = name end
end

local next_name = 0
local workers = {}
for i = 1, PARALLEL do
  workers[i] = task.spawn(function()
    while next_name < #names do
      next_name = next_name + 1
      run(names[next_name])
    end
  end)
end
for _, worker in ipairs(workers) do
  local ok, err = worker:join()
  if not ok then error(err, 0) end
end
print(string.format("lua: %d passed, %d failed, %d skipped", total.passed, total.failed, total.skipped))
io.stdout:flush()
if total.failed > 0 then os.exit(1) end
