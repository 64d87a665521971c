--- kubeadm's command line: words and flags.
local options = {}

local with_value = {}
for name in ([[config upload-config certificate-key ignore-preflight-errors pod-network-cidr service-cidr control-plane-endpoint
  apiserver-advertise-address apiserver-bind-port apiserver-cert-extra-sans kubernetes-version node-name cri-socket token token-ttl
  skip-phases image-repository service-dns-domain discovery-token discovery-token-ca-cert-hash tls-bootstrap-token discovery-file ttl
  description groups usages kubeconfig output v patches cert-dir kubeconfig-dir rootfs feature-gates client-name org
  validity-period csr-dir log-file allow-missing-template-keys]]):gmatch("%S+") do with_value[name] = true end

local switches = {}
for name in ([[upload-certs skip-token-print skip-certificate-key-print dry-run control-plane force print-join-command
  discovery-token-unsafe-skip-ca-verification yes allow-experimental-upgrades allow-release-candidate-upgrades
  etcd-upgrade certificate-renewal print-config help cleanup-tmp-dir skip-headers skip-log-headers]]):gmatch("%S+") do switches[name] = true end

local lists = { ["ignore-preflight-errors"] = true, ["discovery-token-ca-cert-hash"] = true, ["apiserver-cert-extra-sans"] = true,
  ["skip-phases"] = true, groups = true, usages = true }
local short = { f = "force", y = "yes", o = "output", v = "v", h = "help" }

local function put(out, name, v)
  out.given[#out.given + 1] = name
  if lists[name] then
    out[name] = out[name] or {}
    for item in tostring(v):gmatch("[^,]+") do table.insert(out[name], item) end
  else
    out[name] = v
  end
end

--- Parses argv (without the program's name): {words = {...}, given = {flag names}, flag = value}; or nil and a message.
function options.parse(argv)
  local out = { words = {}, given = {} }
  local i = 1
  while i <= #argv do
    local word = argv[i]
    local name, v = word:match("^%-%-([^=]+)=(.*)$")
    name = name or word:match("^%-%-(.+)$")
    if not name then
      local letter = word:match("^%-(%a)$")
      if letter and short[letter] then name = short[letter] elseif letter then
        return nil, ("unknown shorthand flag: '%s' in %s"):format(letter, word)
      end
    end
    if not name then
      out.words[#out.words + 1] = word
    elseif with_value[name] then
      if v == nil then
        i = i + 1
        v = argv[i]
        if v == nil then return nil, "flag needs an argument: --" .. name end
      end
      put(out, name, v)
    elseif switches[name] then
      put(out, name, v == nil or v == "true")
    else
      return nil, "unknown flag: --" .. name
    end
    i = i + 1
  end
  return out
end

return options
