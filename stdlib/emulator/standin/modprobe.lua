--- modprobe NAME...: the modules that a Debian kernel has.
local KNOWN = { overlay = true, br_netfilter = true, ip_vs = true, ip_vs_rr = true, ip_vs_wrr = true, ip_vs_sh = true, nf_conntrack = true,
  vxlan = true, bridge = true, dm_crypt = true, nbd = true, iptable_nat = true, ip_tables = true, xt_comment = true }

return function(machine, call)
  for i = 2, #call.argv do
    local name = call.argv[i]
    if name:sub(1, 1) ~= "-" then
      local plain = name:gsub("-", "_")
      if not KNOWN[plain] then
        call:err(("modprobe: FATAL: Module %s not found in directory /lib/modules/6.1.0-37-cloud-amd64\n"):format(name))
        return 1
      end
      machine:load_module(plain)
      if plain == "br_netfilter" then machine:load_module("bridge") end
    end
  end
  machine:changed()
  return 0
end
