--- Which libraries a run loads with what it requires: the plugins vmrun-NAME.so bring no others than their own.
local test = require "tap"
local fs, process = require "fs", require "process"

local LIBRARIES = { "ssh2", "git2", "curl", "microhttpd", "gnutls", "crypto", "krb5" }

-- Runs a chunk in a program of its own; the result of process.run, and which of LIBRARIES are mapped at its end.
local function run(t, chunk, program)
  local file = t.tmp() .. "/main.lua"
  assert(fs.write(file, chunk .. '\nio.write(io.open("/proc/self/maps"):read "a")\n'))
  local result = assert(process.run { argv = { program or process.self(), "lua", file }, timeout = 60 })
  local loaded = {}
  for _, name in ipairs(LIBRARIES) do
    if result.stdout:find("/lib" .. name .. "[-.][^/\n]*\n") then loaded[#loaded + 1] = name end
  end
  return result, table.concat(loaded, " ")
end

local function loads(t, chunk, wanted)
  local result, loaded = run(t, chunk)
  t.eq(result.code, 0, result.stderr)
  t.eq(loaded, wanted, chunk)
end

test("a program that talks to nobody loads no library of the network", function(t)
  loads(t, 'require "crypto"; require "json"; require "stream"; require "recipe.evaluate"', "")
end)

test("hosts take libssh2 and libcrypto, and nothing of http or git", function(t)
  loads(t, 'require "ssh"; require "host.connection"', "ssh2 crypto")
end)

test("keys, the server and http have their own", function(t)
  loads(t, 'require "crypto_keys"', "crypto")
  loads(t, 'require "server"', "microhttpd gnutls")
  local result, loaded = run(t, 'require "http"; require "http"')
  t.eq(result.code, 0, result.stderr)
  t.has(loaded, "curl")
  t.ok(not loaded:find "git2" and not loaded:find "microhttpd", loaded)
end)

test("plugins live side by side, whichever comes first", function(t)
  for _, chunk in ipairs { 'for _, m in ipairs { "http", "server", "ssh_core", "crypto_keys" } do require(m) end',
    'for _, m in ipairs { "crypto_keys", "ssh_core", "server", "http" } do require(m) end' } do
    local result, loaded = run(t, chunk)
    t.eq(result.code, 0, result.stderr)
    t.has(loaded, "ssh2")
    t.has(loaded, "curl")
    t.has(loaded, "microhttpd")
  end
end)

test("a program without its plugins does all else, and says what it lacks", function(t)
  local alone = t.tmp() .. "/vmrun"
  assert(process.run { argv = { "cp", process.self(), alone } })
  local result = run(t, 'require "crypto"; require "sqlite"', alone)
  t.eq(result.code, 0, result.stderr)
  result = run(t, 'require "http"', alone)
  t.eq(result.code, 1)
  t.has(result.stderr, "vmrun-http.so: it is neither beside the program nor installed; install vmrun as a whole: cmake --install")
end)

test("a plugin that cannot be loaded, or lacks the function, is named with the loader's reason", function(t)
  local folder = t.tmp()
  local alone = folder .. "/vmrun"
  assert(process.run { argv = { "cp", process.self(), alone } })
  assert(fs.write(folder .. "/vmrun-http.so", "no library"))
  local result = run(t, 'require "http"', alone)
  t.eq(result.code, 1)
  t.has(result.stderr, "vmrun-http.so: ")
  t.has(result.stderr, "file too short")
  local beside = process.self():match "^(.*)/[^/]*$"
  assert(process.run { argv = { "cp", beside .. "/vmrun-keys.so", folder .. "/vmrun-http.so" } })
  result = run(t, 'require "http"', alone)
  t.eq(result.code, 1)
  t.has(result.stderr, "luaopen_vr_http")
end)

test.done()
