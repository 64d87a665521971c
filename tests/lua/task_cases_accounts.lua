--- Cases of the task types about people, certificates, links, archives and firewalls: see test_host_tasks.lua.
local crypto = require "crypto"

local M = { stubs = {}, cases = {} }

local HOSTILE = {
  "it's \"quoted\"", "$(touch /tmp/pwned)`touch /tmp/pwned`${HOME}$HOME", "-rf --help", "back\\slash \\n %s %% \\047 &",
  "na\u{ef}ve \u{2713} \u{6f22}\u{5b57}", "  spaces  ", "; touch /tmp/pwned & # {path} {{", "*?[a-z]~!", "tab\there\r",
}

-- The tools of shadow over the root's own files, where nobody can be given another's. Options become $oX and, when they were
-- given, $hX; $n is the name.
local SHADOW = [[
edit() { f=$1; shift; awk -F: -v OFS=: "$@" "$f" >"$f.new" && cat "$f.new" >"$f" && rm "$f.new"; }
numbered() { awk -F: -v n="$1" '$1 == n { print $3 }' /etc/group; }
while [ $# -gt 1 ]; do
  case $1 in -[ugGcds]) export "o${1#-}=$2" "h${1#-}=1"; shift ;; -a) export a=1 ;; -r) r=1 ;; esac; shift
done
export n="$1"
join() {
  [ -z "$hG" ] || edit /etc/group '{
    k = split($4, m, ","); list = ""; was = 0
    for (i = 1; i <= k; i++) if (m[i] == ENVIRON["n"]) was = 1; else list = list (list == "" ? "" : ",") m[i]
    if (index("," ENVIRON["oG"] ",", "," $1 ",") || (was && ENVIRON["a"])) list = list (list == "" ? "" : ",") ENVIRON["n"]
    $4 = list; print }'
}
]]
M.stubs.groupadd = SHADOW .. [[printf '%s:x:%s:\n' "$n" "${og:-900}" >>/etc/group]]
M.stubs.groupmod = SHADOW .. [[edit /etc/group '$1 == ENVIRON["n"] { $3 = ENVIRON["og"] } { print }']]
M.stubs.groupdel = SHADOW .. [[edit /etc/group '$1 != ENVIRON["n"]']]
M.stubs.gpasswd = [[edit() { awk -F: -v OFS=: -v n="$3" -v m="$2" '$1 == n { $4 = m } { print }' /etc/group; }
edit "$@" >/etc/group.new; cat /etc/group.new >/etc/group; rm /etc/group.new]]
M.stubs.useradd = SHADOW .. [[[ -z "$hg" ] || og=$(numbered "$og")
printf '%s:x:%s:%s:%s:%s:%s\n' "$n" "${ou:-1000}" "${og:-1000}" "$oc" "${od:-/home/$n}" "${os:-/bin/sh}" >>/etc/passwd
printf '%s:!:1:::::\n' "$n" >>/etc/shadow; join]]
M.stubs.usermod = SHADOW .. [[[ -z "$hg" ] || og=$(numbered "$og")
edit /etc/passwd 'function take(field, option) { if (ENVIRON["h" option]) $field = ENVIRON["o" option] }
  $1 == ENVIRON["n"] { take(3, "u"); take(4, "g"); take(5, "c"); take(6, "d"); take(7, "s") } { print }'
join]]
M.stubs.userdel = SHADOW .. [[edit /etc/passwd '$1 != ENVIRON["n"]'; edit /etc/shadow '$1 != ENVIRON["n"]'
[ -z "$r" ] || rm -r "/home/$n"]]
M.stubs.chpasswd = [[[ "$1" = -e ] || exit 2; IFS=: read -r n h
printf '%s\n' "$h" |
  awk -F: -v OFS=: -v n="$n" 'NR == FNR { h = $0; next } $1 == n { $2 = h } { print }' - /etc/shadow >/etc/shadow.new
cat /etc/shadow.new >/etc/shadow; rm /etc/shadow.new]]
-- One user is all that these roots have.
M.stubs.chown = [[2>/dev/null /usr/bin/chown "$@" || echo "chown $*" >>/var/log/stub]]
M.stubs.visudo = [[[ "$1" != -c ] || exit 0
[ "$1" = -cf ] && ! grep -q WRONG "$2" || { echo "$2: syntax error near line 1" >&2; exit 1; }]]
M.stubs["update-ca-certificates"] = [[mkdir -p /etc/ssl/certs
for f in /usr/local/share/ca-certificates/*.crt; do
  [ ! -e "$f" ] || { n=${f##*/}; ln -sf "$f" "/etc/ssl/certs/${n%.crt}.pem"; cat "$f"; }
done >/etc/ssl/certs/ca-certificates.crt]]
M.stubs.nft = [[d=/var/lib/stub/nft; mkdir -p $d
for last; do :; done
case "$*" in
"-c -f -") ! grep -q nonsense || { echo "/dev/stdin:9:5-12: Error: syntax error, unexpected string" >&2; exit 1; } ;;
"-s list table inet "* | "list table inet "*)
  [ -e "$d/$last" ] || { echo "Error: No such file or directory" >&2; exit 1; }
  cat "$d/$last" ;;
"delete table inet "*) rm "$d/$last" ;;
"get element inet "*) a=${last#"{ "}; grep -qF "elements = { ${a% \}}/32 }" "$d/$4" ;;
"-f -") t=$(cat); n=${t#table inet }; n=${n%%[!a-z0-9_]*}; printf '%s\n' "$t" | sed 1,2d >"$d/$n" ;;
*) exit 64 ;;
esac]]

M.cases.symlink = {
  declare = function(host)
    host.symlink "/opt/current" { target = "/opt/release-2" }
    host.symlink "/opt/taken" { target = "x", force = true }
    host.symlink "/opt/unwanted" { state = "absent" }
    for i, value in ipairs(HOSTILE) do host.symlink("/opt/" .. i .. value:gsub("/", "_")) { target = value .. "\n" } end
  end,
  before = function(m)
    m.sh "mkdir -p /opt/release-1; ln -s release-1 /opt/current; echo >/opt/taken; ln -s nowhere /opt/unwanted"
  end,
  drift = function(m) m.sh "ln -sfn elsewhere /opt/current; ln -s a /opt/unwanted; rm /opt/taken; echo >/opt/taken" end,
  seen = {
    { path = "symlink /opt/current.target", old = "elsewhere", new = "/opt/release-2" },
    { path = "symlink /opt/taken.target", old = "(no link)", new = "x" },
    { path = "symlink /opt/unwanted.target", old = "a", new = "" },
  },
  after = function(t, m)
    t.eq(m.sh "readlink /opt/current", "/opt/release-2")
    t.eq(m.sh "ls /opt/release-1", "", "not into the folder that the old link pointed to")
    t.eq(m.sh "readlink '/opt/3-rf --help'; echo .", "-rf --help\n\n.")
  end,
}

M.cases.group = {
  declare = function(host)
    host.group "deploy" { gid = 2001, members = { "root" } }
    host.group "daemons" { system = true }
    host.group "old" { state = "absent" }
  end,
  before = function(m) m.sh "echo old:x:77: >>/etc/group" end,
  drift = function(m) m.sh "sed -i 's/^deploy:.*/deploy:x:2002:root,other/' /etc/group; echo old:x:78: >>/etc/group" end,
  seen = {
    { path = "group deploy.gid", old = "2002", new = "2001" },
    { path = "group deploy.members", old = "other,root", new = "root" },
    { path = "group old.state", old = "present", new = "absent" },
  },
  after = function(t, m) t.has(m.read "/etc/group", "deploy:x:2001:root\ndaemons:x:900:\n") end,
}

local COMMENT = HOSTILE[1] .. HOSTILE[2] .. HOSTILE[3] .. HOSTILE[4] .. HOSTILE[5]

M.cases.user = {
  declare = function(host)
    host.user "app" { uid = 1500, comment = COMMENT, home = "/srv/app's home", shell = "/bin/false",
      group = "staff", groups = { "adm", "docker" }, password_hash = "$6$salt$it's/a.hash" }
    host.user "plain" { create_home = false, groups = { "docker" }, exclusive = true }
    host.user "leaver" { state = "absent", remove_home = true }
  end,
  before = function(m)
    m.sh [[mkdir -p /srv /home/leaver /etc/skel; echo x >/etc/skel/.profile
      printf 'staff:x:50:\nadm:x:4:syslog\ndocker:x:999:\n' >>/etc/group
      echo 'leaver:x:1600:1600::/home/leaver:/bin/sh' >>/etc/passwd]]
  end,
  drift = function(m)
    m.sh [[sed -i 's/^app:x:1500:50:/app:x:1501:4:/' /etc/passwd; sed -i 's/^app:[^:]*/app:!/' /etc/shadow
      sed -i 's/^docker:.*/docker:x:999:someone/; s/^adm:.*/adm:x:4:app,plain/' /etc/group; rm -r "/srv/app's home"]]
  end,
  seen = {
    { path = "user app.group", old = "4", new = "staff" },
    { path = "user app.groups", old = "adm", new = "adm,docker" },
    { path = "user app.home", old = "missing", new = "/srv/app's home" },
    { path = "user app.password", old = "(secret)", new = "(secret, changed)" },
    { path = "user app.uid", old = "1501", new = "1500" },
    { path = "user plain.groups", old = "adm", new = "docker" },
  },
  after = function(t, m)
    t.has(m.read "/etc/passwd", "app:x:1500:50:" .. COMMENT .. ":/srv/app's home:/bin/false\n")
    t.has(m.read "/etc/shadow", "app:$6$salt$it's/a.hash:")
    t.has(m.read "/etc/group", "adm:x:4:syslog,app\n")
    t.eq(m.sh "stat -c '%a %n' /srv/app*", "700 /srv/app's home")
    t.eq(m.read "/srv/app's home/.profile", "x\n")
    t.eq(m.sh "ls /home", "")
    t.ok(not m.read("/etc/passwd"):find("leaver", 1, true))
  end,
}

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("a"):rep(43)
local OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("b"):rep(43)
local THIRD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" .. ("c"):rep(43)
local OPTIONS = "restrict,command=\"echo 'x' $SSH_ORIGINAL_COMMAND `y` \\\\\""

M.cases.authorized_key = {
  declare = function(host)
    host.authorized_key "root" { keys = { KEY .. " it's $(me) \u{6f22}" }, options = OPTIONS }
    host.authorized_key "only" { keys = { "# ours\n" .. KEY .. "\n\n" .. OTHER .. " two\n" }, exclusive = true }
    host.authorized_key "away" { user = "only2", keys = { OTHER }, state = "absent" }
  end,
  before = function(m)
    m.sh [[printf '%s:/bin/sh\n' only:x:0:0::/srv/only only2:x:0:0::/srv/only2 >>/etc/passwd; mkdir -p /srv/only]]
    m.write("/srv/only2/.ssh/authorized_keys", OTHER .. " gone\n", 384)
  end,
  drift = function(m)
    m.sh("cd /srv/only; echo '" .. THIRD .. "' >>.ssh/authorized_keys; chmod 755 .ssh; chmod 644 .ssh/authorized_keys")
    m.sh("echo '" .. OTHER .. " back' >>/srv/only2/.ssh/authorized_keys; sed -i s/^restrict,// /root/.ssh/authorized_keys")
  end,
  seen = {
    { path = "authorized_key root.keys", old = OPTIONS:gsub("restrict,", "") .. " " .. KEY .. " it's $(me) \u{6f22}",
      new = OPTIONS .. " " .. KEY .. " it's $(me) \u{6f22}" },
    { path = "authorized_key only.folder", old = "755", new = "700" },
    { path = "authorized_key only.keys", old = KEY .. "\n" .. OTHER .. " two\n" .. THIRD, new = KEY .. "\n" .. OTHER .. " two" },
    { path = "authorized_key only.mode", old = "644", new = "600" },
    { path = "authorized_key away.keys", old = OTHER .. " back", new = "" },
  },
  after = function(t, m)
    local lines = m.read "/root/.ssh/authorized_keys"
    t.has(lines, OPTIONS .. " " .. KEY .. " it's $(me) \u{6f22}\n")
    t.has(lines, " client\n", "the key that let us in stays")
    t.eq(m.read "/srv/only/.ssh/authorized_keys", KEY .. "\n" .. OTHER .. " two\n")
    t.eq(m.read "/srv/only2/.ssh/authorized_keys", "")
    t.eq(m.sh "stat -c %a /srv/only/.ssh /srv/only/.ssh/authorized_keys", "700\n600")
  end,
}

local RULES = "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart 'app*', !/bin/su\n# " .. table.concat(HOSTILE)

M.cases.sudoers = {
  declare = function(host)
    host.sudoers "deploy" { content = RULES }
    host.sudoers "old" { state = "absent" }
  end,
  before = function(m)
    m.sh "mkdir -p /etc/sudoers.d; echo x >/etc/sudoers.d/old; echo '@includedir /etc/sudoers.d' >/etc/sudoers"
  end,
  drift = function(m) m.sh "chmod 644 /etc/sudoers.d/deploy; echo x >/etc/sudoers.d/old" end,
  seen = {
    { path = "sudoers deploy.mode", old = "644", new = "440" }, { path = "sudoers old.content", old = "present", new = "" },
  },
  after = function(t, m)
    t.eq(m.read "/etc/sudoers.d/deploy", RULES .. "\n")
    t.eq(m.sh "stat -c %a /etc/sudoers.d/deploy", "440")
  end,
}

local PIN = "Package: kubelet kubeadm\nPin: version 1.36.1-*\nPin-Priority: 1001\n"

M.cases.package_pin = {
  declare = function(host)
    host.package_pin "kubernetes" { packages = { "kubelet", "kubeadm" }, version = "1.36.1-*" }
    host.package_pin "backports" { packages = { "*" }, release = "n=it's $(x)", priority = 50 }
    host.package_pin "old" { state = "absent" }
  end,
  before = function(m) m.sh "mkdir -p /etc/apt/preferences.d; echo x >/etc/apt/preferences.d/old.pref" end,
  drift = function(m) m.sh "sed -i s/1.36/1.35/ /etc/apt/preferences.d/kubernetes.pref" end,
  seen = { { path = "package_pin kubernetes.content", old = PIN:gsub("1%.36", "1.35"), new = PIN } },
  after = function(t, m)
    t.eq(m.read "/etc/apt/preferences.d/backports.pref", "Package: *\nPin: release n=it's $(x)\nPin-Priority: 50\n")
    t.eq(m.read "/etc/apt/preferences.d/old.pref", nil)
  end,
}

M.cases.timezone = {
  declare = function(host) host.timezone "Europe/Amsterdam" {} end,
  before = function(m) m.sh "ln -s /usr/share/zoneinfo/UTC /etc/localtime" end,
  drift = function(m) m.sh "ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime; echo Asia/Tokyo >/etc/timezone" end,
  seen = { { path = "timezone Europe/Amsterdam.name", old = "Asia/Tokyo", new = "Europe/Amsterdam" } },
  after = function(t, m)
    t.eq(m.sh "readlink /etc/localtime; cat /etc/timezone", "/usr/share/zoneinfo/Europe/Amsterdam\nEurope/Amsterdam")
  end,
}

-- An authority and what it has issued.
local function pki(name)
  local ca = crypto.x509_ca { cn = name .. " it's $(x)", days = 3 }
  return ca, crypto.x509_issue { ca = ca, cn = name, dns = { name .. ".example.org" }, days = 2, usage = { "server" } }
end
local CA, LEAF = pki "ours"
local OTHER_CA = pki "theirs"

M.cases.ca_certificate = {
  declare = function(host)
    host.ca_certificate "ours" { content = "some words before\r\n" .. CA.cert:gsub("\n", "\r\n") }
    host.ca_certificate "theirs" { state = "absent" }
  end,
  before = function(m)
    m.sh "mount -t tmpfs tmpfs /usr/local/share; mkdir -p /etc/ssl/certs; ln -s /gone /etc/ssl/certs/theirs.pem"
    m.write("/etc/ssl/certs/ca-certificates.crt", OTHER_CA.cert)
  end,
  -- The store has lost it, as a run that ended in its middle would leave it.
  drift = function(m) m.sh "cd /etc/ssl/certs; sed -i 5,\\$d ca-certificates.crt; ln -s /gone theirs.pem" end,
  seen = {
    { path = "ca_certificate ours.trusted", old = "no", new = "yes" },
    { path = "ca_certificate theirs.trusted", old = "yes", new = "no" },
  },
  after = function(t, m)
    t.eq(m.sh "cat /etc/ssl/certs/ours.pem" .. "\n", CA.cert)
    t.eq(m.read "/etc/ssl/certs/ca-certificates.crt", CA.cert)
    t.eq(m.sh "ls /etc/ssl/certs", "ca-certificates.crt\nours.pem")
  end,
}

M.cases.certificate = {
  declare = function(host)
    local pair = { certificate = LEAF.cert, key = LEAF.key, chain = CA.cert }
    local function with(fields)
      for name, value in pairs(pair) do fields[name] = value end
      return fields
    end
    host.certificate "/etc/tls/it's $(x).pem" (with { key_path = "/etc/tls/it's $(x).key" })
    host.certificate "apart" (with { certificate_path = "/etc/tls/cert", key_path = "/etc/tls/key", chain_path = "/etc/tls/chain",
      key_mode = "0640" })
    host.certificate "/etc/tls/old" { key_path = "/etc/tls/old.key", state = "absent" }
  end,
  before = function(m) m.sh "mkdir -p /etc/tls; : >/etc/tls/old; : >/etc/tls/old.key; ln -s /etc/hosts /etc/tls/cert" end,
  drift = function(m) m.sh "cd /etc/tls; chmod 644 key; echo x >chain; echo x >\"it's \\$(x).key\"; : >old.key" end,
  seen = {
    { path = "certificate /etc/tls/it's $(x).pem.key", old = "(secret)", new = "(secret, changed)" },
    { path = "certificate apart.chain", old = "x\n", new = CA.cert },
    { path = "certificate apart.key_mode", old = "644", new = "640" },
    { path = "certificate /etc/tls/old.key", old = "present", new = "" },
  },
  after = function(t, m)
    t.eq(m.read "/etc/tls/it's $(x).pem", LEAF.cert .. CA.cert)
    t.eq(m.read "/etc/tls/it's $(x).key", LEAF.key)
    t.eq({ m.read "/etc/tls/cert", m.read "/etc/tls/chain", m.read "/etc/tls/key" }, { LEAF.cert, CA.cert, LEAF.key })
    t.eq(m.sh "stat -c %a /etc/tls/*", "644\n644\n600\n644\n640")
    t.eq(m.read "/etc/hosts":find("BEGIN", 1, true), nil, "not through the link that was there")
  end,
}

local function sum(m, path) return (m.sh("sha256sum " .. path):match("%x+")) end
local zip -- its checksum

M.cases.archive = {
  declare = function(host)
    host.archive "/opt/tool's $(x)" { source = "/srv/tool.tar.gz", strip_components = 1, creates = "/opt/tool's $(x)/bin/run" }
    host.archive "/opt/bits" { source = "/srv/bits.tar.xz" }
    host.archive "more" { path = "/opt/bits/", source = "/srv/tool.zip", sha256 = zip, strip_components = 2 }
  end,
  before = function(m)
    m.sh [[mkdir -p /srv/src/tool-1/bin; cd /srv/src
      printf 'run\n' >tool-1/bin/run; chmod 4755 tool-1/bin/run; printf x >"tool-1/it's -f"; ln -s bin/run tool-1/.hidden
      tar -czf ../tool.tar.gz tool-1; tar -cJf ../bits.tar.xz tool-1
      python3 -c 'import shutil; shutil.make_archive("../tool", "zip", ".")'; rm -r /srv/src
      mkdir -m 711 /opt/bits; echo mine >/opt/bits/mine; ln -s /etc/passwd /opt/bits/run]]
    zip = sum(m, "/srv/tool.zip")
  end,
  -- What an unpacking leaves that was ended in its middle, and a folder that was made anew.
  drift = function(m)
    m.sh [[rm "/opt/tool's \$(x)/bin/run"; mv /opt/bits /opt/was; cp -a /opt/was /opt/bits
      mkdir -p /opt/bits/.vmrun.unpacked/in /opt/bits/.vmrun.unpacked/out/rubbish; : >/opt/bits/.vmrun.unpacked/in/rubbish
      cd /var/lib/vmrun/archives; for f in *; do : >"$f.part"; done]]
    M.cases.archive.seen = {
      { path = "archive /opt/tool's $(x).creates", old = "missing", new = "/opt/tool's $(x)/bin/run" },
      { path = "archive /opt/bits.archive", old = sum(m, "/srv/bits.tar.xz"), new = "as /srv/bits.tar.xz" },
      { path = "archive more.archive", old = zip, new = zip },
    }
  end,
  after = function(t, m)
    t.eq(m.read "/opt/tool's $(x)/bin/run", "run\n")
    t.eq(m.read "/opt/tool's $(x)/it's -f", "x")
    t.eq(m.sh "cd /opt/tool*; readlink .hidden; ls -A; stat -c %a bin/run", "bin/run\n.hidden\nbin\nit's -f\n4755")
    t.eq(m.read "/opt/bits/tool-1/bin/run", "run\n")
    t.eq(m.sh "cd /opt/bits; stat -c %F run; ls -A; stat -c %a .; cat mine", "regular file\nmine\nrun\ntool-1\n711\nmine")
    t.has(m.read "/etc/passwd", "root:x:0:0", "not through the link that was there")
  end,
  mended = function(t, m)
    t.eq(m.sh "find /opt/bits /var/lib/vmrun/archives -name '*.part' -o -name '.vmrun*' -o -name rubbish", "")
  end,
}

M.cases.firewall = {
  declare = function(host)
    host.firewall "vmrun" {
      allow = { { ports = { 22 } }, { ports = { "20000-29000", 25000, 29001, "29003-29004" } },
        { protocol = "udp", ports = { 8472 }, from = { "10.0.0.0/8", "fd00::/8" } } },
      rules = { "tcp dport { 80, 443 } accept comment \"it's $(x) {\"" },
    }
    host.firewall "ssh_from" { policy = "reject",
      allow = { { ports = { "20000-29000" }, from = { "fd00::/8", "10.0.0.0/8", "127.0.0.1/32" } } } }
    host.firewall "old" { state = "absent" }
  end,
  before = function(m)
    m.sh [[mkdir -p /var/lib/stub/nft; cd /var/lib/stub; : >unit.nftables; echo x >nft/old
      printf '#!/usr/sbin/nft -f\nflush ruleset\n' >/etc/nftables.conf; chmod 755 /etc/nftables.conf]]
  end,
  drift = function(m) m.sh "cd /var/lib/stub; sed -i /8472/d nft/vmrun; rm enabled.nftables; echo x >nft/old" end,
  seen = {
    { path = "firewall vmrun.live", old = "changed or not loaded", new = "as declared" },
    { path = "firewall vmrun.start", old = "no", new = "yes" },
    { path = "firewall ssh_from.start", old = "no", new = "yes" },
    { path = "firewall old.rules", old = "present", new = "" },
  },
  after = function(t, m)
    t.eq(m.read "/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\ninclude \"/etc/nftables.d/*.nft\"\n")
    t.eq(m.sh "stat -c %a /etc/nftables.conf", "755")
    t.has(m.read "/var/lib/stub/nft/vmrun", [[
    tcp dport { 22 } accept
    tcp dport { 20000-29001, 29003-29004 } accept
    ip saddr 10.0.0.0/8 udp dport { 8472 } accept
    ip6 saddr fd00::/8 udp dport { 8472 } accept
    tcp dport { 80, 443 } accept comment "it's $(x) {"
]])
    t.eq(m.sh "ls /var/lib/stub/nft", "ssh_from\nvmrun", "the table that asked the kernel has gone")
  end,
}

return M
