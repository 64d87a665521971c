--- A user-assigned managed identity.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "user_assigned_identity", doc = "A user-assigned managed identity.",
  type = "Microsoft.ManagedIdentity/userAssignedIdentities", api = "2024-11-30",
  match = "^[%w][%w_-]*$", shortest = 3, longest = 128,
  fields = {},
  outputs = {
    principal_id = field.string { arm = "properties.principalId", doc = "The object id of its service principal." },
    client_id = field.string { arm = "properties.clientId", doc = "Its application id." },
    tenant_id = field.string { arm = "properties.tenantId", doc = "The directory that it is in." },
  },
}
