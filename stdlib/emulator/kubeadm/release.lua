--- What differs between releases of kubeadm: images, names, words.
local release = {}

-- minor = { pause, etcd, coredns }
local images = {
  [20] = { "3.2", "3.4.13-0", "1.7.0" }, [21] = { "3.4.1", "3.4.13-0", "v1.8.0" }, [22] = { "3.5", "3.5.0-0", "v1.8.4" },
  [23] = { "3.6", "3.5.1-0", "v1.8.6" }, [24] = { "3.7", "3.5.3-0", "v1.8.6" }, [25] = { "3.8", "3.5.4-0", "v1.9.3" },
  [26] = { "3.9", "3.5.6-0", "v1.9.3" }, [27] = { "3.9", "3.5.7-0", "v1.10.1" }, [28] = { "3.9", "3.5.9-0", "v1.10.1" },
  [29] = { "3.9", "3.5.10-0", "v1.11.1" }, [30] = { "3.9", "3.5.12-0", "v1.11.1" }, [31] = { "3.10", "3.5.15-0", "v1.11.1" },
  [32] = { "3.10", "3.5.16-0", "v1.11.3" }, [33] = { "3.10", "3.5.21-0", "v1.12.0" }, [34] = { "3.10.1", "3.6.4-0", "v1.12.1" },
  [35] = { "3.10.1", "3.6.6-0", "v1.13.1" }, [36] = { "3.10.2", "3.6.6-0", "v1.13.1" },
}

--- The minor number of a version such as "v1.36.1".
function release.minor(version) return tonumber(version:match("^v?1%.(%d+)")) or 30 end

local function row(minor) return images[minor] or images[minor < 20 and 20 or 36] end

--- The default registry.
function release.registry(minor) return minor >= 25 and "registry.k8s.io" or "k8s.gcr.io" end

--- Image names by component.
function release.images(version, repository)
  local minor = release.minor(version)
  local pause, etcd, coredns = table.unpack(row(minor))
  repository = repository or release.registry(minor)
  local out = { pause = repository .. "/pause:" .. pause, etcd = repository .. "/etcd:" .. etcd,
    coredns = repository .. (minor >= 21 and repository == release.registry(minor) and "/coredns" or "") .. "/coredns:" .. coredns }
  for _, name in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy" } do
    out[name] = ("%s/%s:%s"):format(repository, name, version)
  end
  return out
end

--- The same as a list, in kubeadm's order.
function release.image_list(version, repository)
  local all = release.images(version, repository)
  local tail = release.minor(version) >= 28 and { "coredns", "pause", "etcd" } or { "pause", "etcd", "coredns" }
  local out = {}
  for _, name in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", tail[1], tail[2], tail[3] } do
    out[#out + 1] = all[name]
  end
  return out
end

--- The versions of components, for `upgrade plan`: coredns, etcd.
function release.addons(version)
  local r = row(release.minor(version))
  return r[3], r[2]
end

--- Versions of kubeadm's API that a release reads.
function release.apis(minor)
  local out = {}
  if minor < 22 then out[1] = "v1beta2" elseif minor < 25 then out[1], out[2] = "v1beta2", "v1beta3"
  elseif minor < 31 then out[1] = "v1beta3" else out[1], out[2] = "v1beta3", "v1beta4" end
  return out
end

--- Is the old "master" label and taint in use?
function release.master(minor) return minor < 24 end

--- The name of the ConfigMap with the kubelets' configuration.
function release.kubelet_config(version)
  local minor = release.minor(version)
  return minor >= 24 and "kubelet-config" or "kubelet-config-1." .. minor
end

return release
