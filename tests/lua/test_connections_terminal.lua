--- vmrun at a terminal: logins, and passphrases that it asks for.
local test = require "tap"
local fs, process, sshd, task = require "fs", require "process", require "sshd", require "task"

-- vmrun on a terminal of its own: says(text) waits until it was printed.
local function at_terminal(t, dir, ...)
  local child = assert(process.spawn { argv = { process.self(), ... }, cwd = dir, pty = { cols = 100, rows = 30 },
    env = { SSH_AUTH_SOCK = false, TERM = "xterm" } })
  t.after(function() child:kill("KILL") child:close() end)
  local self = { child = child, text = "" }
  function self.says(part)
    local stop = task.now() + 10
    while not self.text:find(part, 1, true) do
      local chunk, message, code = child:read(math.max(0.01, stop - task.now()))
      if not chunk then error(("it did not say %q (%s, %s) but:\n%s"):format(part, message, code, self.text), 2) end
      self.text = self.text .. chunk
    end
    self.text = self.text:sub(select(2, self.text:find(part, 1, true)) + 1)
  end
  function self.ends()
    for chunk in function() return child:read(10) end do self.text = self.text .. chunk end
    return (child:wait(10))
  end
  return self
end

local function recipe(t, hosts)
  local dir, lines = t.tmp(), { 'local ssh = use "ssh"' }
  for i, host in ipairs(hosts) do
    local server = host.server
    local fields = 'address = %q, port = %d, user = %q, key_file = %q, host_keys = { %q }, transport = %q'
    lines[#lines + 1] = ('ssh.host "h%d" { %s }'):format(i, fields:format(server.host, server.port, server.user,
      host.key_file or server.dir .. "/client", server.host_keys[1], host.transport or "libssh2"))
    fs.chmod(server.dir .. "/client", 384)
  end
  fs.write(dir .. "/r.lua", table.concat(lines, "\n") .. "\n")
  return dir
end

test("ssh at a terminal: keys, sizes and escapes, by both transports", function(t)
  local server = sshd.start(t)
  local dir = recipe(t, { { server = server }, { server = server, transport = "openssh" } })
  sshd.capture({ process.self(), "apply", "r.lua", "--yes" }, { cwd = dir })
  for i = 1, 2 do
    local screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i)
    screen.child:write("PS1='$ '; stty size; echo ready-$((1 + 1))\n")
    screen.says("30 100")
    screen.says("ready-2")
    screen.child:write("sh -c 'trap \"stty size; kill \\$!; exit\" WINCH; sleep 100 & echo waits-$((1 + 2)); wait'\n")
    screen.says("waits-3")
    screen.child:resize(120, 40)
    screen.says("40 120")
    screen.child:write("tty >/dev/null && echo has-$((2 + 2))\n")
    screen.says("has-4")
    screen.child:write("sh -c 'echo sleeps-$((2 + 3)); exec sleep 100'\n")
    screen.says("sleeps-5")
    screen.child:write("\3")
    screen.says("$ ") -- an interrupt takes along what was typed before the prompt
    screen.child:write("\recho still-$((3 + 3))\r")
    screen.says("still-6")
    screen.child:write("\r~?")
    screen.says("end the connection")
    screen.child:write("\r~.")
    t.eq(screen.ends(), 255)
    screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i)
    screen.child:write("exit 7\n")
    t.eq(screen.ends(), 7)
    screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i, "-t", "--", "tty >/dev/null && echo has one; exit 3")
    screen.says("has one")
    t.eq(screen.ends(), 3)
  end
end)

test("a passphrase is asked once for all hosts, and is not shown", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  fs.write(other.dir .. "/authorized", fs.read(server.dir .. "/authorized"))
  local path = server.dir .. "/client"
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sésame", "-a", "4", "-f", path }
  local dir = recipe(t, { { server = server }, { server = other, key_file = path },
    { server = other, key_file = path, transport = "openssh" } })
  local screen = at_terminal(t, dir, "apply", "r.lua", "--yes")
  screen.says("passphrase of " .. path .. ": ")
  screen.child:write("wrong\r")
  screen.says("not right; passphrase of " .. path .. ": ")
  screen.child:write("open s\xc3")
  task.sleep(0.2) -- a letter may come in parts
  screen.child:write("\xa9samx\127eé\127\r")
  screen.says("3 added")
  t.eq(screen.ends(), 0)
  t.ok(not screen.text:find("passphrase", 1, true), screen.text)
  screen = at_terminal(t, dir, "exec", "r.lua", "all", "--", "echo in")
  screen.says("passphrase of")
  screen.child:write("open sésame\r")
  screen.says("h1, h2, h3:")
  t.eq(screen.ends(), 0)
  t.ok(not screen.text:find("same", 1, true))
  screen = at_terminal(t, dir, "exec", "r.lua", "h1", "--", "echo in")
  screen.says("passphrase of")
  screen.child:write("\3")
  screen.says("no passphrase was given")
  t.eq(screen.ends(), 1)
end)

test.done()
