--- Which cluster of a stack a verb means, and whose hosts are in it.
local test = require "tap"
local clusters = require "cli.clusters"

local function ref(address) return { ["$ref"] = address } end
local function row(kind, name, fields) return { address = kind .. "." .. name, kind = kind, fields = fields or {}, outputs = {} } end

local one = row("kubeadm.init", "one", { host = ref "ssh.host.a", node_name = "first" })
local two = row("kubeadm.init", "two", { host = ref "ssh.host.x" })
local given = row("kubernetes.cluster", "given")
local ROWS = {
  row("kubeadm.join", "w", { host = ref "ssh.host.w", cluster = ref "kubeadm.init.one" }),
  row("kubeadm.join", "b", { host = ref "ssh.host.b", cluster = ref "kubeadm.init.one", control_plane = true }),
  row("kubeadm.join", "lost", { host = ref "ssh.host.l", cluster = ref "kubeadm.init.gone" }),
  one, row("ssh.host", "jump"), two, row("kubeadm.init", "homeless"), given,
}

local function named(rows, kinds, word)
  return clusters.named({ session = { stack = "demo", rows = rows }, args = { words = { word } } }, kinds, "cluster of any kind", "wanted")
end

test("the only cluster, or the one of a name", function(t)
  local any = { "kubeadm.init", "kubernetes.cluster" }
  t.eq(named({ one, ROWS[1] }, any), one)
  t.eq(named(ROWS, { "kubernetes.cluster" }), given)
  t.eq(named(ROWS, any, "two"), two)
  t.eq(named(ROWS, any, "kubeadm.init.one"), one)
  local err = t.fails("stack 'demo' has several clusters", named, ROWS, any)
  t.eq(err.code, "wanted")
  t.has(err.hint, "kubeadm.init.one, kubeadm.init.two, kubeadm.init.homeless, kubernetes.cluster.given")
  t.eq(t.fails("there is no cluster 'given'", named, ROWS, { "kubeadm.init" }, "given").hint,
    "say which: kubeadm.init.one, kubeadm.init.two, kubeadm.init.homeless")
  t.fails("stack 'demo' has no cluster of any kind", named, { ROWS[1] }, any, "one")
end)

test("the hosts of clusters, those that began one in front", function(t)
  t.eq(clusters.members { rows = ROWS }, {
    { host = "ssh.host.a", init = one, name = "first", control_plane = true },
    { host = "ssh.host.x", init = two, control_plane = true },
    { host = "ssh.host.w", init = one, control_plane = false },
    { host = "ssh.host.b", init = one, control_plane = true },
  })
  t.eq(clusters.members {}, {})
end)

test.done()
