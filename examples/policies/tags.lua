-- Everything in Azure that can carry tags says which environment it belongs to.
for _, resource in ipairs(plan.resources) do
  local fields = resource.fields or {}
  local made = resource.action == "create" or resource.action == "update" or resource.action == "replace"
  local taggable = resource.kind:match("^azure%.") and fields.location ~= nil or resource.kind == "azure.resource_group"
  if made and taggable and not (fields.tags and fields.tags.environment) then deny(resource, "has no tag `environment`") end
end
