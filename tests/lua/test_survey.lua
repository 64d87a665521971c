--- Waiting for a cluster: looked at again when something has changed, and not all the time.
local test = require "tap"
local client, lab = require "kubernetes.client", require "kubernetes_lab"
local process, survey, task = require "process", require "kubeadm.survey", require "task"

local function cluster(t)
  local l = lab.new { net = 91 + process.pid() % 9, factor = 600 }
  t.after(l.close)
  local m = l.machine("cp-1", { cni = true })
  m:file("/etc/hosts", "127.0.0.1 localhost\n" .. m.private_ip .. " cp-1\n")
  local result = m:run("kubeadm", "init", "--pod-network-cidr", "10.244.0.0/16")
  t.eq(result.code, 0, result.err)
  local api = client.new(require("kubernetes.kubeconfig").parts(lab.kubeconfig(m)))
  survey.with_etcd({}, api, 20)
  task.sleep(1) -- until its pods rest
  return api
end

test("who waits looks when a pod has changed, and seldom otherwise", function(t)
  local api, rounds, until_ = cluster(t), 0, nil
  local function missing()
    rounds = rounds + 1
    return rounds ~= until_ and { words = "waiting", message = "it never comes", code = "never" } or nil
  end
  t.eq(t.fails("it never comes", survey.await, {}, api, 1, missing).code, "never")
  t.ok(rounds <= 3, rounds .. " looks in a second in which nothing happened")

  rounds, until_ = 0, 2
  local began = task.now()
  local waiting = task.spawn(survey.await, {}, api, 60, missing)
  task.sleep(0.5)
  api:merge({ apiVersion = "v1", kind = "Pod", metadata = { namespace = "kube-system", name = "etcd-cp-1" } }, { metadata = { labels = { touched = "yes" } } })
  local ok, found = waiting:join()
  t.eq({ ok, found and found.nodes["cp-1"].etcd }, { true, true })
  t.ok(task.now() - began < 10, "it did not wait for its next look")
end)

test("a release that nobody brings is not waited for", function(t)
  local api = cluster(t)
  local alone = true
  local ctx = { waits = function(_, is_so) return is_so and alone end }
  local began = task.now()
  local err = t.fails("the control planes are not at 9.0.0 and nothing in this run brings them there: cp-1", survey.wait_for, ctx, api, "9.0.0")
  t.eq({ err.code, err.hint }, { "skew", "upgrade the control planes first" })
  t.ok(task.now() - began < 20, "it was soon said")

  alone = false
  local waiting = task.spawn(survey.wait_for, ctx, api, "9.0.0")
  task.sleep(7)
  t.eq(waiting:status(), "waiting", "while somebody is at work it is")
  alone = true
  local ok, why = waiting:join()
  t.ok(not ok and tostring(why):find("nothing in this run", 1, true), "and then no longer")
end)

test.done()
