--- Cluster roles that are made of others by their labels.
local json = require "json"
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"

local KEY = "rbac.authorization.k8s.io/clusterroles"

local aggregation = { name = "clusterrole-aggregation", component = "kube-controller-manager", watches = {} }

function aggregation.all(cluster, add)
  for _, o in ipairs(cluster.store:list(KEY)) do
    if o.aggregationRule then add(nil, o.metadata.name) end
  end
end

aggregation.watches[KEY] = function(_, add, cluster) aggregation.all(cluster, add) end

function aggregation.reconcile(cluster, _, name)
  local role = cluster.store:get(KEY, nil, name)
  if not role or not role.aggregationRule then return end
  local rules = json.array {}
  for _, spec in ipairs(role.aggregationRule.clusterRoleSelectors or {}) do
    local matches = selector.object(spec)
    for _, other in ipairs(cluster.store:list(KEY)) do
      if other.metadata.name ~= name and matches(other.metadata.labels or {}) then
        for _, rule in ipairs(other.rules or {}) do
          local known = false
          for _, r in ipairs(rules) do known = known or value.equal(r, rule) end
          if not known then rules[#rules + 1] = value.copy(rule) end
        end
      end
    end
  end
  cluster:modify(KEY, nil, name, function(o) o.rules = rules end, "clusterrole-aggregation-controller")
end

return { aggregation }
