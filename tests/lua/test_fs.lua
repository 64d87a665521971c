local test = require "tap"
local task, fs, process = require "task", require "fs", require "process"

test("write and read give the same bytes", function(t)
  local path = t.tmp() .. "/file"
  local text = "a\0b\n" .. string.rep("x", 200000)
  t.ok(fs.write(path, text))
  t.eq(fs.read(path), text)
  t.eq(fs.stat(path).mode, 0x180)
  t.eq(fs.stat(path).size, #text)
end)

test("a FIFO that nobody writes to is empty", function(t)
  local path = t.tmp() .. "/fifo"
  t.eq(process.run({ argv = { "mkfifo", path } }).code, 0)
  t.eq(fs.read(path), "")
end)

test("a write keeps the mode that a file has, or sets the given one", function(t)
  local path = t.tmp() .. "/file"
  t.ok(fs.write(path, "", { mode = 0x1ed }))
  t.eq(fs.stat(path).mode, 0x1ed)
  t.ok(fs.write(path, "more"))
  t.eq(fs.stat(path).mode, 0x1ed)
  t.ok(fs.write(path, "", { mode = 0x100, sync = true }))
  t.eq(fs.stat(path).mode, 0x100)
end)

test("append, in place and durable", function(t)
  local path = t.tmp() .. "/file"
  t.ok(fs.write(path, "one,", { append = true }))
  t.ok(fs.write(path, "two", { append = true, sync = true }))
  t.eq(fs.read(path), "one,two")
  local inode = fs.stat(path).ino
  t.ok(fs.write(path, "3", { atomic = false }))
  t.eq(fs.stat(path).ino, inode)
  t.eq(fs.read(path), "3")
end)

test("an atomic write leaves nothing behind when it fails", function(t)
  local folder = t.tmp()
  t.ok(fs.mkdir(folder .. "/taken/inner"))
  t.err("directory", fs.write(folder .. "/taken", "text"))
  t.eq(fs.list(folder), { "taken" })
  t.has(t.err("not_found", fs.write(folder .. "/missing/file", "")), folder .. "/missing/file")
end)

test("failures say what, where and why", function(t)
  local folder = t.tmp()
  t.eq(t.err("not_found", fs.read(folder .. "/none")), "cannot read " .. folder .. "/none: no such file or directory")
  t.err("directory", fs.read(folder))
  t.err("not_found", fs.stat(folder .. "/none"))
  t.err("not_found", fs.list(folder .. "/none"))
  t.err("not_found", fs.remove(folder .. "/none"))
  t.err("not_found", fs.realpath(folder .. "/none"))
  t.err("not_found", fs.readlink(folder .. "/none"))
end)

test("mkdir makes what is missing, with its mode whatever the umask", function(t)
  local folder = t.tmp()
  t.ok(fs.mkdir(folder .. "/a/b//c/", 0x1ff))
  t.eq(fs.stat(folder .. "/a/b").mode, 0x1ff)
  t.ok(fs.mkdir(folder .. "/a/b/c"), "again")
  t.eq(fs.stat(folder .. "/a/b/c").mode, 0x1ff)
  fs.write(folder .. "/file", "")
  t.err("not_directory", fs.mkdir(folder .. "/file"))
  t.err("not_directory", fs.mkdir(folder .. "/file/below"))
end)

test("list is sorted", function(t)
  local folder = t.tmp()
  for _, name in ipairs { "c", "a", ".b" } do fs.write(folder .. "/" .. name, "") end
  t.eq(fs.list(folder), { ".b", "a", "c" })
end)

test("remove takes a tree, does not follow links, and opens closed folders", function(t)
  local folder = t.tmp()
  fs.mkdir(folder .. "/keep")
  fs.write(folder .. "/keep/file", "x")
  fs.mkdir(folder .. "/tree/a/b")
  fs.write(folder .. "/tree/a/b/file", "x")
  fs.symlink(folder .. "/keep", folder .. "/tree/link")
  fs.chmod(folder .. "/tree/a", 0)
  t.err("not_empty", fs.remove(folder .. "/tree"))
  t.ok(fs.remove(folder .. "/tree", { recursive = true }))
  t.eq(fs.list(folder), { "keep" })
  t.eq(fs.read(folder .. "/keep/file"), "x")
  t.err("not_found", fs.remove(folder .. "/tree", { recursive = true }))
  t.ok(fs.remove(folder .. "/keep/file", { recursive = true }))
end)

test("links, names and modes", function(t)
  local folder = fs.realpath(t.tmp())
  fs.write(folder .. "/file", "x")
  t.ok(fs.symlink("file", folder .. "/link"))
  t.eq(fs.readlink(folder .. "/link"), "file")
  t.eq(fs.stat(folder .. "/link").type, "link")
  t.eq(fs.stat(folder .. "/link", { follow = true }).type, "file")
  t.eq(fs.realpath(folder .. "/link"), folder .. "/file")
  t.ok(fs.rename(folder .. "/file", folder .. "/other"))
  t.err("not_found", fs.realpath(folder .. "/link"))
  t.err("exists", fs.symlink("x", folder .. "/link"))
end)

test("a lock holds until it is closed", function(t)
  local path = t.tmp() .. "/lock"
  do
    local lock <close> = t.ok(fs.lock(path))
    t.has(t.err("locked", fs.lock(path)), path)
  end
  local lock = t.ok(fs.lock(path))
  lock:close()
  lock:close()
end)

test("a cancelled flush ends on its own", function(t)
  local path = t.tmp() .. "/file"
  local job = task.spawn(function() return fs.write(path, "x", { sync = true }) end)
  task.sleep(0)
  job:cancel()
  job:join()
end)

test("statvfs, cwd and mktemp", function(t)
  local st = t.ok(fs.statvfs("/"))
  t.ok(st.size >= st.free)
  t.eq(fs.stat(fs.cwd()).type, "directory")
  local folder = t.tmp()
  local inner = t.ok(fs.mktemp(folder .. "/in-"))
  t.has(inner, folder .. "/in-")
  t.eq(fs.stat(inner).mode, 0x1c0)
end)

test.done()
