--- What a virtual machine and an instance of a scale set have in common: fields and their ARM form.
local crypto, field, json = require "crypto", require "field", require "json"

local IMAGES = {
  ["debian-12"] = { publisher = "Debian", offer = "debian-12", sku = "12-gen2", version = "latest" },
  ["ubuntu-22.04"] = { publisher = "Canonical", offer = "0001-com-ubuntu-server-jammy", sku = "22_04-lts-gen2", version = "latest" },
  ["ubuntu-24.04"] = { publisher = "Canonical", offer = "ubuntu-24_04-lts", sku = "server", version = "latest" },
}

--- ARM's image reference of a short name, of PUBLISHER:OFFER:SKU:VERSION or of an image's id.
local function image_reference(image)
  if IMAGES[image] then return IMAGES[image] end
  if image:sub(1, 1) == "/" then return { id = image } end
  local publisher, offer, sku, version = image:match("^([^:]+):([^:]+):([^:]+):([^:]+)$")
  return publisher and { publisher = publisher, offer = offer, sku = sku, version = version } or nil
end

local function check_image(image)
  if image_reference(image) then return nil end
  local names = {}
  for name in pairs(IMAGES) do names[#names + 1] = name end
  table.sort(names)
  return ("one of %s, PUBLISHER:OFFER:SKU:VERSION or an image's id"):format(table.concat(names, ", "))
end

--- The fields; new tables at each call, since a kind owns its specs. `at`: where in ARM's body the machine's profiles stand.
local function fields(at)
  return {
    size = field.string { required = true, doc = "The size, such as Standard_D2s_v5." },
    image = field.string { required = true, replace = true, check = check_image,
      doc = "debian-12, ubuntu-22.04, ubuntu-24.04 or PUBLISHER:OFFER:SKU:VERSION." },
    image_version = field.string { replace = true, computed = true,
      doc = "A version of the image, or \"newest\": a newer one replaces machines. Unless given, the version of the first machine stays." },
    user = field.string { default = "azureuser", replace = true, arm_at = at .. "osProfile.adminUsername", doc = "The administrator's name." },
    public_key = field.string { required = true, replace = true, doc = "The administrator's SSH public key." },
    custom_data = field.string { write_only = true, replace = true, doc = "What cloud-init runs at the first boot." },
    identities = field.list { field.resource { "azure.user_assigned_identity" }, doc = "Managed identities." },
    disk = field.object { { size = field.integer { min = 1, arm = "diskSizeGB", doc = "GiB." },
      type = field.choice { "Premium_LRS", "StandardSSD_LRS", "Standard_LRS", "Premium_ZRS", "StandardSSD_ZRS",
        arm = "managedDisk.storageAccountType" },
      caching = field.choice { "None", "ReadOnly", "ReadWrite", arm = "caching" } }, arm_at = at .. "storageProfile.osDisk",
      doc = "The system disk." },
    encryption_set = field.resource { "azure.disk_encryption_set", "azure.existing", replace = true,
      arm_at = at .. "storageProfile.osDisk.managedDisk.diskEncryptionSet",
      doc = "Whose key encrypts the system disk, which Azure decides when it makes the disk; else Azure's own." },
  }
end

local function identity(f)
  if not f.identities then return nil end -- a PUT that says nothing of identities leaves them as they are
  if #f.identities == 0 then return { type = "None" } end
  local ids = {}
  for _, item in ipairs(f.identities) do ids[item.id] = {} end
  return { type = "UserAssigned", userAssignedIdentities = ids }
end

local function os_profile(f, name_key, name)
  local profile = {
    adminUsername = f.user,
    linuxConfiguration = { disablePasswordAuthentication = true, ssh = { publicKeys = json.array {
      { path = "/home/" .. f.user .. "/.ssh/authorized_keys", keyData = f.public_key } } } },
    customData = f.custom_data and crypto.base64(f.custom_data) or nil,
  }
  profile[name_key] = name
  return profile
end

local function storage_profile(f, version)
  local disk, reference = f.disk or {}, image_reference(f.image)
  if version then
    reference = { publisher = reference.publisher, offer = reference.offer, sku = reference.sku, version = version }
  end
  return {
    imageReference = reference,
    osDisk = { createOption = "FromImage", caching = disk.caching or "ReadWrite", diskSizeGB = disk.size,
      deleteOption = "Delete", managedDisk = { storageAccountType = disk.type or "Premium_LRS",
        diskEncryptionSet = f.encryption_set and { id = f.encryption_set.id } or nil } },
  }
end

local function short_name(reference)
  for name, image in pairs(IMAGES) do
    if reference.publisher == image.publisher and reference.offer == image.offer and reference.sku == image.sku then return name end
  end
end

--- Which of the common fields ARM shows as we declared them; the others in our form.
-- `profile`: a VM's properties or a scale set's virtualMachineProfile; `body`: the resource.
local function observed(f, profile, body)
  local shown = {}
  local reference = profile.storageProfile and profile.storageProfile.imageReference or {}
  local want = image_reference(f.image) or {}
  local same = true
  for key, value in pairs(want) do -- "latest" is whatever it was when the first machine was made
    if tostring(reference[key]):lower() ~= value:lower() and value ~= "latest" then same = false end
  end
  shown.image = same and f.image or short_name(reference) or table.concat({ reference.publisher or "?", reference.offer or "?",
    reference.sku or "?", reference.version or "?" }, ":")
  local os = profile.osProfile or {}
  shown.user = os.adminUsername
  local keys = os.linuxConfiguration and os.linuxConfiguration.ssh and os.linuxConfiguration.ssh.publicKeys or {}
  local function bare(line) return line and line:match("^(%S+%s+%S+)") end
  shown.public_key = keys[1] and bare(keys[1].keyData) == bare(f.public_key) and f.public_key or (keys[1] and keys[1].keyData)
  if f.identities then
    local have = {}
    for id in pairs(body.identity and body.identity.userAssignedIdentities or {}) do have[id:lower()] = true end
    local all = true
    for _, item in ipairs(f.identities) do all = all and item.id ~= nil and have[item.id:lower()] == true end
    if all then
      shown.identities = f.identities
    else
      shown.identities = json.array {}
      for id in pairs(body.identity and body.identity.userAssignedIdentities or {}) do
        table.insert(shown.identities, { id = id })
      end
    end
  end
  local disk = profile.storageProfile and profile.storageProfile.osDisk or {}
  -- Also when none is declared: one that was is then seen to be there still.
  local set = disk.managedDisk and disk.managedDisk.diskEncryptionSet
  local ours = set and f.encryption_set and tostring(f.encryption_set.id):lower() == set.id:lower()
  shown.encryption_set = ours and f.encryption_set or set and { id = set.id } or json.null
  if f.disk then
    shown.disk = { size = f.disk.size and disk.diskSizeGB, type = f.disk.type and disk.managedDisk
      and disk.managedDisk.storageAccountType, caching = f.disk.caching and disk.caching }
  end
  return shown
end

--- "running", "stopped", "deallocated", "evicted" or nil, from an instance view.
local function power(view)
  local state
  for _, status in ipairs(view and view.statuses or {}) do
    state = status.code:match("^PowerState/(.+)$") or state
  end
  return state
end

return { fields = fields, identity = identity, os_profile = os_profile, storage_profile = storage_profile,
  observed = observed, power = power, image_reference = image_reference }
