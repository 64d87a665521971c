--- What Flux says of a revision: when it is ready, when it has failed, and when it is still to be waited for.
local test = require "tap"
local fail = require "fail"
local ready = require "flux.ready"

local REFERENCE = { apiVersion = "source.toolkit.fluxcd.io/v1", kind = "GitRepository", metadata = { name = "flux-system" } }

local function object(status, message, more)
  local o = { metadata = { generation = 2 }, status = { observedGeneration = 2, lastHandledReconcileAt = "now", revision = "main@sha1:1",
    conditions = { { type = "Ready", status = status, message = message } } } }
  for key, value in pairs(more or {}) do o.status[key] = value end
  return o
end

-- How many of the states that an object goes through are looked at.
local function looked_at(...)
  local states, count = { ... }, 0
  local api = { wait = function(_, _, done, seconds, what)
    for _, state in ipairs(states) do
      count = count + 1
      if done(state or nil) then return true end
    end
    error(fail { ("waited %g s for it %s"):format(seconds, what), code = "timeout" })
  end }
  ready(api, REFERENCE, "main@sha1:1", "now", 5, function(o) return o.status.revision end)
  return count
end

test("it is ready at the revision, and not before", function(t)
  t.eq(looked_at(false, { metadata = {} }, object("True", "", { revision = "main@sha1:0" }), object("True", "", { observedGeneration = 1 }),
    object("True", "", { lastHandledReconcileAt = "before" }), object "Unknown", object "True", object "True"), 7)
end)

test("a failure of the revision is one now", function(t)
  local err = t.fails("Flux's GitRepository flux-system is not ready at main@sha1:1: authentication required", looked_at,
    object("False", "authentication required"), object "True")
  t.eq(err.code, "flux")
  t.eq(looked_at(object("False", "kustomize build failed", { revision = "main@sha1:0" }), object "True"), 2, "not that of another")
  t.eq(looked_at(object("False", "bad", { lastHandledReconcileAt = "before" }), object "True"), 2, "nor of another request")
end)

test("a network that is not there yet is waited for", function(t)
  for _, message in ipairs { "ssh://git@git.vmrun.test/cluster.git: failed to resolve address for git.vmrun.test: Name or service not known",
    "failed to checkout and determine revision: unable to list remote: dial tcp: lookup github.com on 10.96.0.10:53: server misbehaving",
    "Get \"https://example.org\": dial tcp 10.0.0.9:443: connect: connection refused", "read: connection reset by peer",
    "lookup git.example.org: no such host", "dial tcp 10.0.0.9:22: i/o timeout" } do
    t.eq(looked_at(object("False", message), object("False", message), object "True"), 3)
  end
  t.eq(t.fails("waited 5 s for it to be ready at main@sha1:1", looked_at, object("False", "no such host")).code, "timeout")
end)

test.done()
