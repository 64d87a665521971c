--- Maintenance without a cluster: who may be taken away, what a plan says and is refused for, in which order the REPL goes.
local test = require "tap"
local away, guard, maintenance = require "kubeadm.away", require "kubeadm.guard", require "kubeadm.maintenance"
local connect, survey, upkeep = require "kubernetes.connect", require "kubeadm.survey", require "kubeadm.upkeep"
local fail, nodes = require "fail", require "cli.nodes"
local fs, process = require "fs", require "process"

-- A survey of { name = "cp" | "worker" [and " not-ready", " no-etcd", " away"] }.
local function survey_of(words)
  local now = { nodes = {} }
  for name, text in pairs(words) do
    local plane, ready = text:find "^cp" ~= nil, not text:find "not%-ready"
    local marks = text:find " away" and { [survey.MAINTENANCE] = "boot-1" } or nil
    now.nodes[name] = { control_plane = plane, ready = ready, under_way = marks ~= nil, kubelet = "1.36.1",
      object = { metadata = { name = name, annotations = marks }, spec = {}, status = { nodeInfo = { bootID = "boot-1" } } } }
    if plane then now.nodes[name].etcd = ready and not text:find "no%-etcd" end
  end
  return now
end

local function with(words, change)
  local all = { a = "cp", b = "cp", c = "cp", w1 = "worker", w2 = "worker" }
  for name, text in pairs(change or {}) do all[name] = text end
  for name, text in pairs(words or {}) do all[name] = text end
  return survey_of(all)
end

test("who may be taken away", function(t)
  local function why(now, name) return (away.objection(now, name, survey.MAINTENANCE)) end
  for _, name in ipairs { "a", "b", "c", "w1", "w2" } do t.eq(why(with(), name), nil, name) end
  t.eq(why(with(), "x"), "the cluster has no node x")
  t.eq(why(with { w1 = "worker not-ready" }, "w1"), "node w1 is not ready, so it stays as it is")
  t.eq(why(with { w1 = "worker not-ready away" }, "w1"), nil, "what is under way goes on")
  t.eq(why(with { w1 = "worker not-ready" }, "w2"), nil)
  t.has(why(with { b = "cp not-ready" }, "a"), "etcd would lose its majority without a: 1 of 3 would be left")
  t.has(why(with { b = "cp no-etcd" }, "a"), "etcd would lose its majority without a")
  t.eq(why(with { b = "cp not-ready" }, "w1"), nil, "a worker is no member")
  t.eq(why(survey_of { a = "cp", w1 = "worker" }, "a"), nil, "a single control plane has no majority to keep")
  t.eq(away.objection(with { c = "cp not-ready" }, "c", survey.RESIZE), nil, "another size may bring it back")
end)

local function replace(t, module, name, value)
  local was = module[name]
  module[name] = value
  t.after(function() module[name] = was end)
end

local function row(name, more)
  local fields = { name = name, cluster = { endpoint = "api.test" }, control_plane = #name == 1, max_unavailable = "1" }
  for key, value in pairs(more or {}) do fields[key] = value end
  return { address = "kubeadm.maintenance." .. name, kind = "kubeadm.maintenance", action = "update", file = "r.lua", line = 3, fields = fields,
    changes = { { path = "packages", before = "1", after = "2" } } }
end

local function judged(t, now, rows)
  replace(t, connect, "opened", function() return {} end)
  replace(t, survey, "recent", function() return now end)
  local said = guard.run { resources = rows, state = {} }
  local words = {}
  for i, one in ipairs(said) do words[i] = one.address:match "[^.]+$" .. ": " .. one.message end
  return table.concat(words, "\n")
end

test("what a plan is refused for", function(t)
  local all = { row "a", row "b", row "c", row "w1", row "w2" }
  t.eq(judged(t, with(), all), "")
  t.eq(judged(t, with { w1 = "worker not-ready away" }, all), "", "what is under way is no stranger")
  t.eq(judged(t, with { w1 = "worker not-ready" }, all), "w1: node w1 is not ready, so it stays as it is\n"
    .. "w2: w1 is not ready, and max_unavailable is 1: node w2 stays as it is")
  t.eq(judged(t, with { w1 = "worker not-ready" }, { row("w2", { max_unavailable = "2" }) }), "")
  t.eq(judged(t, with { w1 = "worker not-ready" }, { row "a" }), "", "a control plane does not wait for workers")
  t.has(judged(t, with { b = "cp not-ready" }, { row "a" }), "a: etcd would lose its majority without a")
  local made = row "w1"
  made.action = "create"
  t.eq(judged(t, with { w1 = "worker not-ready" }, { made }), "", "what comes has nothing done to it")
end)

-- What `read` says of a Node `a`.
local function read(t, now, word, prior, host, more)
  local asked
  replace(t, survey, "shared", function() return now, {} end)
  replace(t, upkeep, "ask", function(_, for_word)
    asked = for_word
    return for_word ~= nil and host.file ~= for_word, host.waiting or "3 newer", host.restart
  end)
  local fields = { name = "A", cluster = {}, packages = word, reboot = "needed" }
  for key, value in pairs(more or {}) do fields[key] = value end
  local told = maintenance.read { fields = fields, dry = true, prior = prior and { fields = { packages = prior.packages }, outputs = {} } }
  return told, asked
end

test("a plan: what is new has nothing to do; another word has", function(t)
  t.eq((read(t, with(), "1", nil, {})), nil, "it comes with its machine")
  local told, asked = read(t, with(), "1", { packages = "1" }, {})
  t.eq({ #told.changes, asked, told.note }, { 0 }, "the same word asks about no packages")
  told, asked = read(t, with(), "2", { packages = "1" }, {})
  t.eq({ told.changes, asked }, { { { path = "packages", old = "1; 3 newer", new = "2" } }, "2" })
  told = read(t, with(), "2", {}, { restart = "needed by x" })
  t.eq(told.changes, { { path = "packages", old = "3 newer", new = "2" }, { path = "restart", old = "needed by x", new = "done" } })
  t.eq(told.note, "node A wants a restart: needed by x")
  told = read(t, with(), "2", { packages = "1" }, { restart = "needed by x" }, { reboot = "never" })
  t.eq(#told.changes, 1, "a restart is left to others")
  told = read(t, with(), "2", { packages = "1" }, {}, { reboot = "always" })
  t.eq(told.changes[2], { path = "restart", old = "not needed", new = "done" })
end)

test("a plan: what a run left", function(t)
  local told = read(t, with(), "2", { packages = "1" }, { file = "2" })
  t.eq(#told.changes, 0, "it died after all was done")
  told = read(t, with { a = "cp away" }, "2", { packages = "1" }, { file = "2" })
  t.eq({ told.changes, told.status }, { { { path = "packages", old = "under way", new = "2" } }, "under way" })
  told = read(t, with { a = "cp away" }, nil, { packages = "1" }, {})
  t.eq(told.changes, { { path = "packages", old = "under way", new = "1" } }, "the word was taken back, the Node is given back")
  told = read(t, with(), nil, { packages = "1" }, { restart = "needed by x" })
  t.eq({ #told.changes, told.note }, { 0, "node A wants a restart: needed by x" }, "a word that is taken back is no change")
  told = read(t, survey_of {}, "2", { packages = "1" }, {})
  t.eq({ #told.changes, told.fields.packages }, { 0, "1" }, "a Node that is gone is told of by kubernetes.node")
end)

-- A stack of three control planes and two workers.
local function session()
  local rows = { { address = "kubeadm.init.c", kind = "kubeadm.init", fields = { endpoint = "api.test", host = { ["$ref"] = "ssh.host.b" } }, outputs = {} } }
  for _, name in ipairs { "w2", "w1", "c", "b", "a", "jump" } do
    rows[#rows + 1] = { address = "ssh.host." .. name, kind = "ssh.host", outputs = {},
      fields = { name = name, hostname = name, address = "10.0.0." .. #rows, groups = { #name == 1 and "planes" or "others" } } }
    if name ~= "b" and name ~= "jump" then
      rows[#rows + 1] = { address = "kubeadm.join." .. name, kind = "kubeadm.join", outputs = {}, fields = { control_plane = #name == 1,
        host = { ["$ref"] = "ssh.host." .. name }, cluster = { ["$ref"] = "kubeadm.init.c" } } }
    end
  end
  return { stack = "s", target = { kind = "none" }, rows = rows }
end

local function stack(t, bring)
  local values, told = {}, session()
  for _, one in ipairs(told.rows) do if one.kind == "ssh.host" then values[one.address] = one.fields end end
  replace(t, connect, "client", function() return {} end)
  replace(t, upkeep, "bring", bring)
  told.state_dir = t.tmp()
  told.folder = told.state_dir .. "/stacks/s"
  fs.mkdir(told.folder)
  return nodes.new(told, values), told
end

test("by hand: control planes first, one at a time, and none after a failure", function(t)
  t.eq(nodes.choose(session()), { "ssh.host.a", "ssh.host.b", "ssh.host.c", "ssh.host.w1", "ssh.host.w2" }, "a jump host is no Node")
  t.fails("no cluster of kubeadm", nodes.choose, { rows = {} })
  local seen = {}
  local function bring(ctx)
    local f = ctx.fields
    seen[#seen + 1] = f.name
    if f.name == "bad" then error(fail { "broken", code = "x" }) end
    t.eq({ f.host.hostname, f.cluster.host.hostname, f.control_plane }, { f.name, "b", #f.name == 1 })
    t.ok(f.restart and not f.packages, "a restart alone")
  end
  t.eq(stack(t, bring).reboot(), { "a", "b", "c", "w1", "w2" })
  t.eq(seen, { "a", "b", "c", "w1", "w2" })
  t.eq(stack(t, bring).reboot "@others", { "w1", "w2" })
  t.fails("no host of 'jump' is in a cluster", stack(t, bring).reboot, "jump")
  local words = {}
  local function note(ctx)
    if ctx.fields.name == "b" then error(fail { "broken", code = "x" }) end
    words[#words + 1] = { ctx.fields.packages ~= nil, ctx.fields.restart, ctx.fields.security, ctx.fields.reboot }
  end
  t.fails("broken", stack(t, note).maintain, "@planes", { security = true })
  t.eq(words, { { true, nil, true, "needed" } })
  t.fails("'reboot' wants one of", stack(t, note).maintain, "a", { reboot = "sometimes" })
  t.fails("'secure'", stack(t, note).maintain, "a", { secure = true })
  local first, second
  stack(t, function(ctx) first, second = ctx.fields.restart, first end).reboot "w1"
  stack(t, function(ctx) second = ctx.fields.restart end).reboot "w1"
  t.ok(first ~= second, "who says it again means it")
end)

test("by hand: under the lease of the stack's state", function(t)
  local all, told, lock, seen
  local function apply()
    fs.write(told.state_dir .. "/s.lua", "")
    return process.run { argv = { process.self(), "apply", told.state_dir .. "/s.lua", "--yes", "--state-dir", told.state_dir }, timeout = 20 }
  end
  all, told = stack(t, function()
    local result = apply()
    t.eq(result.code, 1)
    t.has(result.stderr, "the state of stack 's' is in use by ")
    t.has(result.stderr, ("(pid %d, since "):format(process.pid()))
    seen = (seen or 0) + 1
    t.eq(t.fails("is in use by", all.reboot, "a").code, "locked")
    if seen == 3 then error(fail { "broken", code = "x" }) end
  end)
  lock = told.folder .. "/lock"
  t.eq(all.reboot "w1", { "w1" })
  t.fails("broken", all.maintain)
  t.eq(seen, 3)
  local result = apply()
  t.eq(result.code, 0, "it is given back, also after a failure: " .. result.stderr)
  local held <close> = t.ok(fs.lock(lock))
  t.fails("the state of stack 's' is in use by another vmrun", all.maintain, "a")
  t.eq(seen, 3, "nothing is begun without it")
  replace(t, survey, "shared", function() return with() end)
  replace(t, upkeep, "ask", function() return false, "none" end)
  t.eq(#all.list(), 5, "a look needs none")
end)

test("by hand: what there is of each, also of a host that does not answer", function(t)
  local all, asked = stack(t), 0
  replace(t, survey, "shared", function() return with { w2 = "worker not-ready" } end)
  replace(t, upkeep, "ask", function(ctx)
    asked = asked + 1
    if ctx.fields.name == "w2" then error(fail { "w2 does not answer", code = "unreachable" }) end
    return false, "none", ctx.fields.name == "w1" and "a new kernel" or nil
  end)
  local list = all.list()
  local names = {}
  for i, one in ipairs(list) do names[i] = one.name end
  t.eq({ names, asked }, { { "a", "b", "c", "w1", "w2" }, 5 })
  t.eq({ list[1].ready, list[1].control_plane, list[1].packages }, { true, true, "none" })
  t.eq({ list[4].restart, list[4].host }, { "a new kernel" })
  t.eq({ list[5].ready, list[5].packages, list[5].host }, { false, nil, "w2 does not answer" })
end)

test.done()
