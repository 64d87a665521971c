--- What differs from run to run, or with the version, made the same: times, ages, ids, addresses, versions. Columns keep their
-- order and lose their width; rows that name something random lose their order too.
local normal = {}

local SAFE = "^[bcdfghjklmnpqrstvwxz2456789]+$" -- the letters of Kubernetes' random names and hashes

-- A template's hash is a 32-bit number in those letters; a pod's name has five random ones more.
local function hashes(line)
  local found = false
  line = line:gsub("%-([a-z0-9]+)%f[^a-z0-9]", function(word)
    if #word < 6 or #word > 10 or not word:match(SAFE) then return nil end
    found = true
    return "-<hash>"
  end)
  return line:gsub("<hash>%-[a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9]%f[^a-z0-9]", "<hash>-<id>"), found
end

local DIGIT = "[0-9a-f]"
normal.UUID = DIGIT:rep(8) .. "%-" .. DIGIT:rep(4) .. "%-" .. DIGIT:rep(4) .. "%-" .. DIGIT:rep(4) .. "%-" .. DIGIT:rep(12)
local ADDRESS = "%d+%.%d+%.%d+%.%d+"

-- 3m27s
local function age(word)
  local rest = word:gsub("%d+[dhms]", "")
  return rest == "" and word ~= "" and "<age>" or nil
end

local function of_line(line)
  line = line:gsub("\27%[[%d;]*m", ""):gsub("%f[%S]/%S*/%u+%-%d+/", "") -- colours; the folders that `diff` compares
  line = line:gsub("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[.%d]*Z", "<time>"):gsub("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%.%d+ [+-]%d+", "<time>")
    :gsub("%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d [+-]%d+", "<time>")
  line = line:gsub(normal.UUID, "<uid>"):gsub('("?resourceVersion"?: ?)"%d+"', "%1<version>")
    :gsub("(kube%-api%-access%-)[a-z0-9]+", "%1<id>")
    :gsub("%.%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%f[^%w]", ".<id>") -- an event is named by its time
  line = line:gsub("https://" .. ADDRESS .. ":%d+", "<server>"):gsub(ADDRESS, "<address>")
  line = line:gsub("version%.Info{.-}", "<version>"):gsub("Version: v[%w.+-]+", "Version: <version>")
    :gsub("(version difference between client) %b() and server %b()", "%1 <version> and server <version>")
  line = line:gsub("(%S)%s%s+", "%1  "):gsub("%s+$", "")
  local random
  line, random = hashes(line)
  return (" " .. line .. " "):gsub("%f[%S][%dhmsd]+%f[%s]", age):sub(2, -2), random
end

--- Is there something random in a name?
function normal.random(name) return select(2, hashes(name)) end

--- A text as it is compared.
function normal.text(text)
  local out, loose = {}, {}
  local function flush()
    table.sort(loose)
    table.move(loose, 1, #loose, #out + 1, out)
    loose = {}
  end
  for line in (text .. "\n"):gmatch "(.-)\n" do
    local random
    line, random = of_line(line)
    if random then
      loose[#loose + 1] = line
    else
      flush()
      out[#out + 1] = line
    end
  end
  flush()
  while out[#out] == "" do out[#out] = nil end
  return table.concat(out, "\n")
end

return normal
