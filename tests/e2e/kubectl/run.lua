--- vmrun lua run.lua KUBECTL [--update]: the commands of commands.lua by that kubectl against the emulator's API, in order and
-- with a cold cache. What each ends with and says must be what CLIENT.golden has; where VMRUN_KUBERNETES_RECORDINGS names a
-- folder, also what the same command ended with and said against a real API server, but for exceptions.tsv; then what all
-- recorded clients sent is sent again (exchanges.lua). --update writes the golden file anew.
local folder = arg[0]:match "^(.*)/[^/]*$" or "."
local fs = require "fs"
local json = require "json"
local process = require "process"
local commands = require "commands"
local exchanges = require "exchanges"
local normal = require "normal"
local World = require "world"

local CLIENTS = { 20, 27, 33 }  -- minor versions that were recorded
local CUT = 3000                -- a recorded text of that length went on

local kubectl, update = arg[1] or "kubectl", arg[2] == "--update"
local recordings = process.env "VMRUN_KUBERNETES_RECORDINGS"
if recordings == "" then recordings = nil end
local passed, failed = 0, 0

local function judge(name, ok, shown)
  if ok then passed = passed + 1 else
    failed = failed + 1
    print("not ok - " .. name .. "\n" .. shown:gsub("[^\n]+", "    %0"))
  end
end

local tmp = assert(fs.mktemp "vmrun-kubectl-")
local environment = { PATH = process.env "PATH", HOME = tmp .. "/home", KUBECONFIG = tmp .. "/config", TMPDIR = tmp, LC_ALL = "C", TZ = "UTC" }

local function run(argv, ends)
  if ends then argv = table.move(argv, 1, #argv, 3, { "timeout", tostring(ends) }) end
  local r, why = process.run { argv = argv, cwd = tmp, env = environment, clear_env = true, stdin = "", timeout = 40 }
  return r or error(argv[1] .. ": " .. why, 0)
end

local function nearest()
  local r = run { kubectl, "version", "--client", "-o", "json" }
  local version = (json.decode(r.stdout) or error(r.stderr, 0)).clientVersion
  local minor = tonumber(version.minor:match "%d+")
  local best = CLIENTS[1]
  for _, m in ipairs(CLIENTS) do
    if math.abs(m - minor) < math.abs(best - minor) then best = m end
  end
  return "1." .. best, version.gitVersion
end

-- What of the recordings is not asked for: a list of {pattern, replacement, reason} by command.
local function read_exceptions(client)
  local known, out = {}, {}
  for _, c in ipairs(commands) do known[c[1]] = true end
  for line in (fs.read(folder .. "/exceptions.tsv") or ""):gmatch "[^\n]+" do
    if line:sub(1, 1) ~= "#" then
      local clients, name, pattern, replacement, reason = line:match "^([^\t]+)\t([^\t]+)\t([^\t]+)\t([^\t]*)\t(.+)$"
      judge("exceptions.tsv: " .. line, reason ~= nil and known[name] ~= nil,
        "it has not the form CLIENTS, COMMAND, PATTERN, REPLACEMENT, REASON, or there is no such command")
      if reason and (" " .. clients .. " "):find(" " .. client .. " ", 1, true) then
        out[name] = out[name] or {}
        table.insert(out[name], { pattern = pattern, replacement = replacement, reason = reason })
      end
    end
  end
  return out
end

local function as_text(r)
  local out = { "exit " .. r.code }
  for _, stream in ipairs { { "| ", r.stdout }, { "! ", r.stderr } } do
    local text = normal.text(stream[2])
    if text ~= "" then out[#out + 1] = stream[1] .. text:gsub("\n", "\n" .. stream[1]) end
  end
  return (table.concat(out, "\n"):gsub("[ ]+\n", "\n"):gsub("[ ]+$", ""))
end

local function read_golden(path)
  local out, name = {}, nil
  for line in (fs.read(path) or ""):gmatch "([^\n]*)\n" do
    local head = line:match "^# ([%w-]+)$"
    if head then name = head elseif name and line ~= "" then out[name] = (out[name] and out[name] .. "\n" or "") .. line end
  end
  return out
end

local function filled(text, namespace) return (text:gsub("{ns}", namespace)) end

local function arguments(command, namespace)
  local argv = { kubectl }
  for word in filled(command[2], namespace):gmatch "%S+" do argv[#argv + 1] = word end
  return argv
end

local function difference(want, got)
  fs.write(tmp .. "/want", want .. "\n")
  fs.write(tmp .. "/got", got .. "\n")
  return run({ "diff", "-U1", "--label", "want", "--label", "got", tmp .. "/want", tmp .. "/got" }).stdout
end

-- Of a text that was cut there is only a beginning of unknown order: each of its lines must be in ours as often.
local function holds(ours, recorded)
  local lines, missing = {}, {}
  for line in ours:gmatch "[^\n]+" do lines[line] = (lines[line] or 0) + 1 end
  for line in recorded:gmatch "[^\n]+" do
    if (lines[line] or 0) == 0 then missing[#missing + 1] = line end
    lines[line] = (lines[line] or 0) - 1
  end
  return #missing == 0, table.concat(missing, "\n")
end

local function agree(theirs, ours, cut)
  if cut then return holds(ours, theirs) end
  return theirs == ours, theirs ~= ours and difference(theirs, ours) or ""
end

-- Both texts with all exceptions applied but the one at `left_out`.
local function excused(exceptions, theirs, ours, left_out)
  for i, e in ipairs(exceptions) do
    if i ~= left_out then theirs, ours = theirs:gsub(e.pattern, e.replacement), ours:gsub(e.pattern, e.replacement) end
  end
  return theirs, ours
end

local function judge_recording(path, command, r, namespace, exceptions)
  local recorded = assert(json.decode(assert(fs.read(path))))
  local name = path:match "[^/]+$"
  judge(name .. ": its command is ours", recorded.command == "kubectl " .. filled(command[2], namespace), recorded.command)
  local cut = #recorded.stdout == CUT
  local theirs = as_text { code = recorded.exit, stdout = cut and recorded.stdout:gsub("[^\n]*$", "") or recorded.stdout, stderr = recorded.stderr }
  local ours = as_text(r)
  local t, o = excused(exceptions, theirs, ours)
  judge(name .. ": as recorded", agree(t, o, cut))
  for i, e in ipairs(exceptions) do
    local t, o = excused(exceptions, theirs, ours, i)
    judge(name .. ": still differs", not agree(t, o, cut), ("exceptions.tsv says %s, but without it all is as recorded"):format(e.reason))
  end
end

local function main()
  local client, version = nearest()
  local namespace = "app-" .. client:gsub("%.", "")
  local exceptions = read_exceptions(client)
  local path = ("%s/%s.golden"):format(folder, client)
  local golden, written = read_golden(path), {}
  assert(fs.mkdir(environment.HOME))
  local world = World.open(tmp)
  local closing <close> = setmetatable({}, { __close = function() world:close() end })
  assert(fs.write(environment.KUBECONFIG, world:kubeconfig(), { mode = tonumber("600", 8) }))
  local recorded = 0
  for i, command in ipairs(commands) do
    for file, text in pairs(command.files or {}) do assert(fs.write(tmp .. "/" .. file, filled(text, namespace))) end
    world:tick()
    local r = run(arguments(command, namespace), command.ends)
    world:settle()
    local text = as_text(r)
    written[i] = "# " .. command[1] .. "\n" .. text .. "\n"
    if not update then
      local want = golden[command[1]] or ""
      judge(command[1], text == want, text ~= want and difference(want, text) or "")
    end
    if recordings and not command.own then
      recorded = recorded + 1
      judge_recording(("%s/%s-%02d-%s.json"):format(recordings, client, recorded, command[1]), command, r, namespace,
        exceptions[command[1]] or {})
    end
  end
  if recordings then
    local n = 0
    for _, name in ipairs(assert(fs.list(recordings))) do
      if name:sub(1, #client + 1) == client .. "-" then n = n + 1 end
    end
    judge("every recorded command was run", n == recorded, ("%d were recorded, %d were run"):format(n, recorded))
  end
  if update then assert(fs.write(path, table.concat(written, "\n"))) end
  print(("kubectl %s, judged as %s%s"):format(version, client, recordings and ", by the recordings too" or ""))
end

-- What every client that was recorded sent, sent again.
local function replay()
  local rows = {}
  for line in assert(fs.read(folder .. "/exchanges.tsv")):gmatch "[^\n]+" do
    local pattern, reason = line:match "^([^#\t][^\t]*)\t(.+)$"
    if pattern then rows[#rows + 1] = { pattern = pattern, reason = reason, used = 0 } end
  end
  local function excuse(text)
    for _, row in ipairs(rows) do
      if text:find(row.pattern) then
        row.used = row.used + 1
        return true
      end
    end
    return false
  end
  local counts = { sent = 0, agreed = 0, excused = 0, binary = 0, polled = 0 }
  for _, minor in ipairs(CLIENTS) do
    local client, names = "1." .. minor, {}
    for _, name in ipairs(assert(fs.list(recordings))) do
      if name:sub(1, #client + 1) == client .. "-" then names[#names + 1] = name end
    end
    local world <close> = setmetatable({ world = World.open(tmp) }, { __close = function(w) w.world:close() end })
    exchanges.replay(world.world, recordings, names, "app-1" .. minor, counts, excuse, function(name, differences)
      judge(name .. ": its exchanges", #differences == 0, table.concat(differences, "\n"))
    end)
  end
  for _, row in ipairs(rows) do judge("exchanges.tsv: " .. row.pattern, row.used > 0, "it is not needed: " .. row.reason) end
  print(("exchanges: %d of %d agree in status and shape (%d of them have no JSON, so in status), %d more but for exchanges.tsv; %d polls left out")
    :format(counts.agreed, counts.sent, counts.binary, counts.excused, counts.polled))
end

local ok, why = pcall(main)
if ok and recordings then ok, why = pcall(replay) end
fs.remove(tmp, { recursive = true })
if not ok then judge("the story", false, tostring(type(why) == "table" and (why.message or json.encode(why)) or why)) end
print(("kubectl: %d passed, %d failed, 0 skipped"):format(passed, failed))
io.stdout:flush()
os.exit(failed == 0 and 0 or 1)
