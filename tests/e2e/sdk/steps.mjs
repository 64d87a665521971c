// The Azure SDK for JavaScript as npm has it, with nothing but `emulator env` to go by. One line a step: `ok - NAME`, or `not ok - NAME`
// and why. A step that needs what an earlier one did not make fails, too.
import { randomUUID, webcrypto } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ClientCertificateCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential } from "@azure/identity";
import { AuthorizationManagementClient } from "@azure/arm-authorization";
import { ComputeManagementClient } from "@azure/arm-compute";
import { KeyVaultManagementClient } from "@azure/arm-keyvault";
import { ManagedServiceIdentityClient } from "@azure/arm-msi";
import { NetworkManagementClient } from "@azure/arm-network";
import { ResourceManagementClient } from "@azure/arm-resources";
import { DeploymentsClient } from "@azure/arm-resourcesdeployments";
import { SecretClient } from "@azure/keyvault-secrets";

globalThis.crypto ??= webcrypto; // Debian's node 18 does not have it there yet

const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: client, AZURE_CLIENT_SECRET: secret, AZURE_SUBSCRIPTION_ID: subscription } = process.env;
const certificate = process.env.AZURE_CLIENT_CERTIFICATE_PATH;
const location = "westeurope", group = "js", scope = "https://management.azure.com/.default";
const groupId = `/subscriptions/${subscription}/resourceGroups/${group}`;
const vaultName = "kvjs" + randomUUID().slice(0, 8);
const made = {};

async function step(name, work) {
  try {
    await work();
    console.log(`ok - ${name}`);
  } catch (problem) {
    console.log(`not ok - ${name}`);
    const why = String(problem.message).split("\n").slice(0, 4).join(" | ");
    console.log(`    ${problem.code ?? problem.name} ${problem.statusCode ?? ""} ${why}`);
    if (process.env.SDK_DEBUG) console.error(problem);
  }
}
function same(what, got, want) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
}
function holds(what, condition) {
  if (!condition) throw new Error(what);
}
async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}
// The failure that is wanted: its code and status.
async function refused(work, status, code) {
  const problem = await work().then(() => undefined, (error) => error);
  if (!problem) throw new Error("it was not refused");
  same("the refusal", [problem.statusCode, problem.code], [status, code]);
  return problem;
}
// A role takes a while to be seen by those it opens.
async function opened(work) {
  for (let patience = 60; ; patience -= 1) {
    try {
      return await work();
    } catch (problem) {
      if (problem.code !== "Forbidden" || patience === 0) throw problem;
      await sleep(500);
    }
  }
}
function claims(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
}

const credential = new ClientSecretCredential(tenant, client, secret);
const resources = new ResourceManagementClient(credential, subscription);
const deployments = new DeploymentsClient(credential, subscription);
const network = new NetworkManagementClient(credential, subscription);
const compute = new ComputeManagementClient(credential, subscription);
const keyvault = new KeyVaultManagementClient(credential, subscription);
const identities = new ManagedServiceIdentityClient(credential, subscription);
const authorization = new AuthorizationManagementClient(credential, subscription);

await step("a token by secret", async () => {
  const told = claims((await credential.getToken(scope)).token);
  same("tenant and application", [told.tid, told.appid], [tenant, client]);
});
await step("a token by certificate", async () => {
  const token = await new ClientCertificateCredential(tenant, client, certificate).getToken(scope);
  same("application", claims(token.token).appid, client);
});
await step("a token by the environment's certificate", async () => {
  delete process.env.AZURE_CLIENT_SECRET;
  try {
    same("application", claims((await new EnvironmentCredential().getToken(scope)).token).appid, client);
  } finally {
    process.env.AZURE_CLIENT_SECRET = secret;
  }
});
await step("a token by default", async () => {
  const token = await new DefaultAzureCredential().getToken("https://vault.azure.net/.default");
  same("its audience", claims(token.token).aud.replace(/\/$/, ""), "https://vault.azure.net");
});
await step("a wrong secret is refused", async () => {
  const problem = await new ClientSecretCredential(tenant, client, "wrong").getToken(scope).then(() => undefined, (error) => error);
  holds(`says so: ${problem?.message}`, /AADSTS7000215/.test(problem?.message));
});

await step("a group", async () => {
  const told = await resources.resourceGroups.createOrUpdate(group, { location, tags: { of: "sdk" } });
  same("it", [told.id, told.location, told.tags, told.properties.provisioningState], [groupId, location, { of: "sdk" }, "Succeeded"]);
});
await step("a group is there, another is not", async () => {
  const answers = [await resources.resourceGroups.checkExistence(group), await resources.resourceGroups.checkExistence("none")];
  same("they", answers.map((one) => one.body ?? one), [true, false]);
});
await step("groups in a list", async () => {
  holds("it is listed", (await all(resources.resourceGroups.list())).some((one) => one.name === group));
});
await step("what is not there is refused by its code", async () => {
  await refused(() => resources.resourceGroups.get("none"), 404, "ResourceGroupNotFound");
  await refused(() => network.virtualNetworks.get(group, "none"), 404, "ResourceNotFound");
});

await step("a security group", async () => {
  const told = await network.networkSecurityGroups.beginCreateOrUpdateAndWait(group, "nsg", { location, securityRules: [
    { name: "web", priority: 100, direction: "Inbound", access: "Allow", protocol: "Tcp", sourceAddressPrefix: "Internet",
      sourcePortRange: "*", destinationAddressPrefix: "*", destinationPortRanges: ["80", "443"] }] });
  same("its rule", told.securityRules.map((rule) => [rule.name, rule.destinationPortRanges]), [["web", ["80", "443"]]]);
  holds("Azure's own rules", told.defaultSecurityRules.length >= 6);
  made.nsg = told.id;
});
const ssh = { direction: "Inbound", access: "Allow", protocol: "Tcp", sourceAddressPrefix: "10.0.0.0/8", sourcePortRange: "*",
  destinationAddressPrefix: "*", destinationPortRange: "22" };
await step("a rule of it", async () => {
  const told = await network.securityRules.beginCreateOrUpdateAndWait(group, "nsg", "ssh", { ...ssh, priority: 200 });
  same("it", [told.priority, told.provisioningState], [200, "Succeeded"]);
  same("both", (await all(network.securityRules.list(group, "nsg"))).map((rule) => rule.name).sort(), ["ssh", "web"]);
});
await step("a priority that is taken is refused", () =>
  refused(() => network.securityRules.beginCreateOrUpdateAndWait(group, "nsg", "again", { ...ssh, priority: 200 }), 400,
    "SecurityRuleConflict"));
await step("a network with a subnet", async () => {
  const told = await network.virtualNetworks.beginCreateOrUpdateAndWait(group, "vnet", { location,
    addressSpace: { addressPrefixes: ["10.0.0.0/16"] }, subnets: [{ name: "a", addressPrefix: "10.0.0.0/24" }] });
  same("its subnets", told.subnets.map((one) => one.name), ["a"]);
});
await step("a subnet", async () => {
  const told = await network.subnets.beginCreateOrUpdateAndWait(group, "vnet", "b", { addressPrefix: "10.0.1.0/24",
    networkSecurityGroup: { id: made.nsg } });
  same("it", [told.id, told.networkSecurityGroup.id],
    [`${groupId}/providers/Microsoft.Network/virtualNetworks/vnet/subnets/b`, made.nsg]);
  made.subnet = told.id;
});
await step("a subnet outside of its network is refused", () =>
  refused(() => network.subnets.beginCreateOrUpdateAndWait(group, "vnet", "c", { addressPrefix: "10.9.0.0/24" }), 400,
    "NetcfgSubnetRangeOutsideVnet"));
await step("public addresses", async () => {
  for (const name of ["in", "out"]) {
    const told = await network.publicIPAddresses.beginCreateOrUpdateAndWait(group, name, { location, sku: { name: "Standard" },
      publicIPAllocationMethod: "Static" });
    holds("an address", /^\d+\.\d+\.\d+\.\d+$/.test(told.ipAddress));
    made[name] = told.id;
  }
});
await step("a NAT gateway, and the subnet that goes out by it", async () => {
  const told = await network.natGateways.beginCreateOrUpdateAndWait(group, "nat", { location, sku: { name: "Standard" },
    publicIpAddresses: [{ id: made.out }], idleTimeoutInMinutes: 8 });
  same("it", [told.idleTimeoutInMinutes, told.publicIpAddresses.map((ip) => ip.id)], [8, [made.out]]);
  const subnet = await network.subnets.get(group, "vnet", "b");
  const changed = await network.subnets.beginCreateOrUpdateAndWait(group, "vnet", "b", { ...subnet, natGateway: { id: told.id } });
  same("the subnet's", changed.natGateway.id, told.id);
  holds("the gateway knows", (await network.natGateways.get(group, "nat")).subnets.some((one) => one.id === made.subnet));
});
await step("a load balancer", async () => {
  const id = `${groupId}/providers/Microsoft.Network/loadBalancers/lb`;
  const told = await network.loadBalancers.beginCreateOrUpdateAndWait(group, "lb", { location, sku: { name: "Standard" },
    frontendIPConfigurations: [{ name: "in", publicIPAddress: { id: made.in } }], backendAddressPools: [{ name: "pool" }],
    probes: [{ name: "tcp", protocol: "Tcp", port: 80, intervalInSeconds: 5, numberOfProbes: 2 }],
    loadBalancingRules: [{ name: "web", protocol: "Tcp", frontendPort: 80, backendPort: 80, disableOutboundSnat: true,
      frontendIPConfiguration: { id: `${id}/frontendIPConfigurations/in` },
      backendAddressPool: { id: `${id}/backendAddressPools/pool` }, probe: { id: `${id}/probes/tcp` } }] });
  made.pool = told.backendAddressPools[0].id;
  same("its parts", [told.id, made.pool, told.loadBalancingRules[0].probe.id],
    [id, `${id}/backendAddressPools/pool`, `${id}/probes/tcp`]);
});
await step("a network interface in its pool", async () => {
  const told = await network.networkInterfaces.beginCreateOrUpdateAndWait(group, "nic", { location, ipConfigurations: [{ name: "ip",
    primary: true, subnet: { id: made.subnet }, loadBalancerBackendAddressPools: [{ id: made.pool }] }] });
  holds(`an address of the subnet: ${told.ipConfigurations[0].privateIPAddress}`,
    told.ipConfigurations[0].privateIPAddress.startsWith("10.0.1."));
  const pool = await network.loadBalancerBackendAddressPools.get(group, "lb", "pool");
  same("the pool's", pool.backendIPConfigurations.map((one) => one.id), [`${told.id}/ipConfigurations/ip`]);
  made.nic = told.id;
});
await step("an address in use is not deleted", async () => {
  const problem = await network.publicIPAddresses.beginDeleteAndWait(group, "in").then(() => undefined, (error) => error);
  same("its code", problem?.code, "PublicIPAddressCannotBeDeleted");
});

await step("an identity", async () => {
  const told = await identities.userAssignedIdentities.createOrUpdate(group, "identity", { location });
  holds("its principal", told.principalId && told.clientId && told.tenantId === tenant);
  made.identity = told;
});
await step("a role for it", async () => {
  const [reader] = await all(authorization.roleDefinitions.list(groupId, { filter: "roleName eq 'Reader'" }));
  const name = randomUUID(), wanted = { roleDefinitionId: reader.id, principalId: made.identity.principalId,
    principalType: "ServicePrincipal" };
  const told = await authorization.roleAssignments.create(groupId, name, wanted);
  same("it", [told.name, told.principalId, told.scope], [name, made.identity.principalId, groupId]);
  const filter = `assignedTo('${made.identity.principalId}')`;
  holds("it is listed", (await all(authorization.roleAssignments.listForScope(groupId, { filter }))).some((one) => one.name === name));
  await refused(() => authorization.roleAssignments.create(groupId, randomUUID(), wanted), 409, "RoleAssignmentExists");
  await authorization.roleAssignments.delete(groupId, name);
  holds("and then no more", !(await all(authorization.roleAssignments.listForScope(groupId))).some((one) => one.name === name));
});

await step("a vault", async () => {
  const told = await keyvault.vaults.beginCreateOrUpdateAndWait(group, vaultName, { location, properties: { tenantId: tenant,
    sku: { family: "A", name: "standard" }, enableRbacAuthorization: true, softDeleteRetentionInDays: 7 } });
  same("its address", told.properties.vaultUri, `https://${vaultName}.vault.azure.net/`);
  made.vault = told;
});
await step("secrets: versions, a list, deleted, recovered, purged", async () => {
  const officer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7";
  await authorization.roleAssignments.create(made.vault.id, randomUUID(), { principalType: "ServicePrincipal",
    principalId: claims((await credential.getToken(scope)).token).oid,
    roleDefinitionId: `/subscriptions/${subscription}/providers/Microsoft.Authorization/roleDefinitions/${officer}` })
    .catch((problem) => { if (problem.code !== "RoleAssignmentExists") throw problem; });
  const secrets = new SecretClient(made.vault.properties.vaultUri, credential);
  const first = await opened(() => secrets.setSecret("word", "one", { contentType: "text/plain", tags: { of: "sdk" } }));
  holds(`its id is the vault's: ${first.properties.id}`, first.properties.id.startsWith(made.vault.properties.vaultUri));
  await secrets.setSecret("word", "two");
  same("the newest and the first", [(await secrets.getSecret("word")).value,
    (await secrets.getSecret("word", { version: first.properties.version })).value], ["two", "one"]);
  same("its versions", (await all(secrets.listPropertiesOfSecretVersions("word"))).length, 2);
  same("the list", (await all(secrets.listPropertiesOfSecrets())).map((one) => one.name), ["word"]);
  await (await secrets.beginDeleteSecret("word")).pollUntilDone();
  await refused(() => secrets.getSecret("word"), 404, "SecretNotFound");
  await (await secrets.beginRecoverDeletedSecret("word")).pollUntilDone();
  same("recovered", (await secrets.getSecret("word")).value, "two");
  await (await secrets.beginDeleteSecret("word")).pollUntilDone();
  await secrets.purgeDeletedSecret("word");
  await refused(() => secrets.getDeletedSecret("word"), 404, "SecretNotFound");
});
await step("a vault is deleted softly, and purged", async () => {
  await keyvault.vaults.delete(group, vaultName);
  const gone = await keyvault.vaults.getDeleted(vaultName, location);
  same("what is left of it", gone.properties.vaultId, made.vault.id);
  await keyvault.vaults.beginPurgeDeletedAndWait(vaultName, location);
  holds("no more", !(await all(keyvault.vaults.listDeleted())).some((one) => one.name === vaultName));
});

await step("an SSH key that Azure makes", async () => {
  await compute.sshPublicKeys.create(group, "key", { location });
  const pair = await compute.sshPublicKeys.generateKeyPair(group, "key");
  holds("both halves", pair.privateKey.includes("PRIVATE KEY") && pair.publicKey.startsWith("ssh-"));
  same("the public one stays", (await compute.sshPublicKeys.get(group, "key")).publicKey.trim(), pair.publicKey.trim());
  made.key = pair.publicKey;
});
const image = { publisher: "Canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts-gen2", version: "latest" };
const linux = () => ({ disablePasswordAuthentication: true,
  ssh: { publicKeys: [{ path: "/home/me/.ssh/authorized_keys", keyData: made.key }] } });
await step("a machine", async () => {
  const told = await compute.virtualMachines.createOrUpdate(group, "vm", { location, hardwareProfile: { vmSize: "Standard_B1s" },
    identity: { type: "UserAssigned", userAssignedIdentities: { [made.identity.id]: {} } },
    osProfile: { computerName: "vm", adminUsername: "me", linuxConfiguration: linux() },
    storageProfile: { imageReference: image, osDisk: { createOption: "FromImage", deleteOption: "Delete",
      managedDisk: { storageAccountType: "Premium_LRS" } } },
    networkProfile: { networkInterfaces: [{ id: made.nic, primary: true }] } });
  same("it", [told.provisioningState, told.osProfile.computerName, told.identity.type], ["Succeeded", "vm", "UserAssigned"]);
  holds("a version of the image", told.storageProfile.imageReference.exactVersion);
});
await step("its power", async () => {
  const power = async () => (await compute.virtualMachines.instanceView(group, "vm")).statuses.map((one) => one.code)
    .filter((code) => code.startsWith("PowerState"));
  same("on", await power(), ["PowerState/running"]);
  await compute.virtualMachines.deallocate(group, "vm");
  same("off", await power(), ["PowerState/deallocated"]);
  await compute.virtualMachines.start(group, "vm");
  same("on again", await power(), ["PowerState/running"]);
});
await step("a machine is changed and deleted, and its disk with it", async () => {
  const told = await compute.virtualMachines.update(group, "vm", { tags: { of: "sdk" } });
  same("its tags", told.tags, { of: "sdk" });
  const disk = told.storageProfile.osDisk.name;
  holds("its disk", (await all(compute.disks.listByResourceGroup(group))).some((one) => one.name === disk));
  await compute.virtualMachines.delete(group, "vm");
  await refused(() => compute.virtualMachines.get(group, "vm"), 404, "ResourceNotFound");
  holds("no disk", !(await all(compute.disks.listByResourceGroup(group))).some((one) => one.name === disk));
});

const profile = (name, mode) => ({ location, sku: { name: "Standard_B1s", tier: "Standard", capacity: 2 }, orchestrationMode: mode,
  ...(mode === "Flexible" ? { platformFaultDomainCount: 1 } : { overprovision: false, upgradePolicy: { mode: "Manual" } }),
  virtualMachineProfile: { osProfile: { computerNamePrefix: name, adminUsername: "me", linuxConfiguration: linux() },
    storageProfile: { imageReference: image, osDisk: { createOption: "FromImage", managedDisk: { storageAccountType: "Standard_LRS" } } },
    networkProfile: { ...(mode === "Flexible" ? { networkApiVersion: "2020-11-01" } : {}), networkInterfaceConfigurations: [{ name: "nic",
      primary: true, ipConfigurations: [{ name: "ip", subnet: { id: made.subnet },
        loadBalancerBackendAddressPools: [{ id: made.pool }] }] }] } } });
for (const mode of ["Flexible", "Uniform"]) {
  const name = `set-${mode.toLowerCase()}`;
  const instances = () => all(compute.virtualMachineScaleSetVMs.list(group, name));
  const idOf = (one) => one.instanceId ?? one.name;
  await step(`a ${mode} set`, async () => {
    const told = await compute.virtualMachineScaleSets.createOrUpdate(group, name, profile(name, mode));
    same("it", [told.orchestrationMode, told.sku.capacity, told.provisioningState], [mode, 2, "Succeeded"]);
    same("its instances", (await instances()).length, 2);
  });
  await step(`it grows (${mode})`, async () => {
    await compute.virtualMachineScaleSets.update(group, name, { sku: { name: "Standard_B1s", capacity: 4 } });
    same("its instances", new Set((await instances()).map(idOf)).size, 4);
  });
  await step(`its instances are seen (${mode})`, async () => {
    const [first] = await instances();
    const view = mode === "Flexible" ? await compute.virtualMachines.instanceView(group, first.name)
      : await compute.virtualMachineScaleSetVMs.getInstanceView(group, name, first.instanceId);
    holds("they run", view.statuses.some((one) => one.code === "PowerState/running"));
    if (mode === "Flexible") return;
    const whole = await compute.virtualMachineScaleSets.getInstanceView(group, name);
    same("the set's summary", whole.virtualMachine.statusesSummary.filter((one) => one.code === "ProvisioningState/succeeded")
      .map((one) => one.count), [4]);
  });
  await step(`two are deleted (${mode})`, async () => {
    const gone = (await instances()).slice(0, 2).map(idOf);
    await compute.virtualMachineScaleSets.deleteInstances(group, name, { instanceIds: gone });
    const left = (await instances()).map(idOf);
    same("those", [left.length, left.filter((one) => gone.includes(one))], [2, []]);
    same("the capacity", (await compute.virtualMachineScaleSets.get(group, name)).sku.capacity, 2);
  });
  await step(`it goes (${mode})`, async () => {
    await compute.virtualMachineScaleSets.delete(group, name);
    await refused(() => compute.virtualMachineScaleSets.get(group, name), 404, "ResourceNotFound");
  });
}

await step("a template is deployed", async () => {
  const template = { $schema: "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", contentVersion: "1.0.0.0",
    parameters: { prefix: { type: "string" }, count: { type: "int", defaultValue: 2 } },
    resources: [{ type: "Microsoft.Network/routeTables", apiVersion: "2024-05-01", name: "[concat(parameters('prefix'), copyIndex())]",
      location: "[resourceGroup().location]", copy: { name: "tables", count: "[parameters('count')]" }, properties: {} }],
    outputs: { first: { type: "string", value: "[resourceId('Microsoft.Network/routeTables', concat(parameters('prefix'), '0'))]" } } };
  const told = await deployments.deployments.createOrUpdate(group, "tables", { properties: { mode: "Incremental", template,
    parameters: { prefix: { value: "rt" } } } });
  same("its end", told.properties.provisioningState, "Succeeded");
  same("what it gives back", told.properties.outputs.first.value, `${groupId}/providers/Microsoft.Network/routeTables/rt0`);
  same("what it made", (await all(network.routeTables.list(group))).map((one) => one.name).sort(), ["rt0", "rt1"]);
  const operations = await all(deployments.deploymentOperations.list(group, "tables"));
  holds("its operations", operations.some((one) => one.properties.targetResource?.resourceName === "rt1"));
});
await step("a list of many pages", async () => {
  const names = Array.from({ length: 120 }, (_, i) => `many-${String(i).padStart(3, "0")}`);
  await Promise.all(names.map((name) => resources.resources.beginCreateOrUpdateAndWait(group, "Microsoft.Network", "", "routeTables",
    name, "2024-05-01", { location })));
  let pages = 0;
  const found = [];
  for await (const page of resources.resources.listByResourceGroup(group, { top: 25 }).byPage()) {
    pages += 1;
    found.push(...page.map((one) => one.name));
  }
  same("all of them, once", found.filter((name) => name.startsWith("many-")).sort(), names);
  holds(`in pages: ${pages}`, pages >= 5);
});
await step("the group goes with all that is in it", async () => {
  await resources.resourceGroups.beginDeleteAndWait(group);
  await refused(() => resources.resourceGroups.get(group), 404, "ResourceGroupNotFound");
});
console.log("# the end");
