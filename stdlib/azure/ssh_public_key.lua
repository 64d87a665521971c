--- The public half of an SSH key pair as an Azure resource; the private half never goes to ARM.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "ssh_public_key", doc = "An SSH public key.", type = "Microsoft.Compute/sshPublicKeys", api = "2025-04-01",
  match = "^[%w_().-]+$", longest = 128,
  fields = { public_key = field.string { required = true, arm_optional = true, arm = "properties.publicKey",
    doc = "The public key line." } },
}
