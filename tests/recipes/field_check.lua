-- Fields that check more than a form: a role, an image, a controller, alone and in a list; what is known at the apply is not asked.
local azure, flux, git, kubernetes = use("azure", "flux", "git", "kubernetes")
local group = azure.resource_group "g" { location = "westeurope" }
local identity = azure.user_assigned_identity "who" { group = group }
azure.role_assignment "known" { scope = group, principal = identity, role = "Reader" }
azure.role_assignment "guid" { scope = group, principal = identity, role = "acdd72a7-3385-48ef-bd42-f606fba81ae7" }
azure.role_assignment "later" { scope = group, principal = identity, role = identity.client_id }
azure.role_assignment "slip" { scope = group, principal = identity, role = "Raeder" }
azure.virtual_machine_scale_set "image" { group = group, image = "debian-21", size = "Standard_D2s_v5", public_key = "k" }
azure.virtual_machine_scale_set "id" { group = group, image = group.id .. "/images/own", size = "Standard_D2s_v5", public_key = "k" }
flux.bootstrap "flux" {
  cluster = kubernetes.cluster "c" { kubeconfig = "kubeconfig" }, repository = git.emulator_repository "r" {}, path = "clusters/one",
  controllers = { "source-controller", "customize-controller" },
}
