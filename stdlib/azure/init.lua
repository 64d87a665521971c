--- Microsoft Azure: resource groups, networks, machines, identities and vaults over Azure Resource Manager.
return { doc = "Microsoft Azure over Azure Resource Manager" }
