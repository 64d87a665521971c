--- What puts a data collection rule, or an endpoint, to work on a machine. It stands on the machine.
local statement, field = require "azure.statement", require "field"

local ENDPOINT = "configurationAccessEndpoint" -- the one name that an association with an endpoint may have

local function scope_of(f) return type(f.scope) == "table" and f.scope.id or f.scope end

return statement.define {
  kind = "data_collection_rule_association", doc = "A data collection rule on a machine.",
  type = "Microsoft.Insights/dataCollectionRuleAssociations", api = "2024-03-11", parent = "scope", located = false,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w][%w_.-]*$", max = 64,
      doc = "The name in Azure; the resource's own name unless given." },
    scope = field.any { required = true, replace = true, doc = "The machine, scale set or cluster that is watched, or its id." },
    rule = field.resource { "azure.data_collection_rule", "azure.existing", arm = "properties.dataCollectionRuleId", arm_id = true,
      doc = "The rule." },
    endpoint = field.string { match = "^/", arm = "properties.dataCollectionEndpointId",
      doc = "Instead of a rule the id of a data collection endpoint; the name is then " .. ENDPOINT .. "." },
    description = field.string { arm = "properties.description" },
  },
  check = function(f, problem)
    if (f.rule == nil) == (f.endpoint == nil) then problem({}, "wants either 'rule' or 'endpoint'") end
    if f.endpoint ~= nil and type(f.name) == "string" and f.name ~= ENDPOINT then
      problem({ "name" }, ("'name' wants \"%s\" where there is an endpoint"):format(ENDPOINT))
    end
  end,
  identity = function(f)
    local scope = scope_of(f)
    return scope and f.name and ("%s/providers/Microsoft.Insights/dataCollectionRuleAssociations/%s"):format(scope, f.name)
  end,
}
