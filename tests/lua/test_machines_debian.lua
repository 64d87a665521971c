--- The Debian root of machines: who waits for one is heard all the time.
local test = require "tap"
local crypto, fs, process, task = require "crypto", require "fs", require "process", require "task"
local debian = require "emulator.machines.debian"

local was = { env = process.env, breath = debian.BREATH }

-- A cache in which a root lies already, and which this process or nobody else has locked.
local function cache(t)
  local folder = fs.mktemp()
  t.after(function()
    process.env, debian.BREATH = was.env, was.breath
    fs.remove(folder, { recursive = true })
  end)
  process.env = function(name) return name == "VMRUN_LAB_CACHE" and folder or was.env(name) end
  local root = ("%s/machine-bookworm-%s"):format(folder, crypto.sha256("bookworm " .. debian.MACHINE):sub(1, 12))
  assert(fs.mkdir(root))
  return folder, root
end

test("who waits for another process says so again and again", function(t)
  local folder, root = cache(t)
  local lock = assert(fs.lock(folder .. "/machine.lock"))
  debian.BREATH = 0.05
  local words, enough = {}, task.event()
  local asked = task.spawn(function()
    return debian.root("one", function(text)
      words[#words + 1] = text
      if #words == 4 then enough:set() end
    end)
  end)
  t.ok(enough:wait(10), "four times")
  t.eq(words[1], "another process makes a Debian root")
  t.eq(words[4], words[1])
  lock:close()
  local ok, path, use = asked:join()
  t.eq({ ok, path }, { true, root })
  local count = #words
  task.sleep(0.2)
  t.eq(#words, count, "and then no more")
  use:close()
end)

test.done()
