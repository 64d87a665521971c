-- A control plane is no Spot machine: Azure takes those away when it likes.
for _, resource in ipairs(plan.resources) do
  local fields = resource.fields or {}
  if resource.kind:match("^azure%.virtual_machine") and fields.spot and resource.name:match("^c[po]") then
    deny(resource, "is a control plane and a Spot machine")
  end
end
