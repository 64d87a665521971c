--- Rules of the host's firewall (nftables).
local crypto, field, task = require "crypto", require "field", require "host.task"

-- nft prints a table as it takes it in; what it printed when this was loaded is kept, so that a rule which somebody added or took
-- away is seen. Counters and handles are no difference.
local LIVE = [[live() { nft -s list table inet {name} 2>/dev/null | sha256sum; }
]]

-- Which port vmrun comes through is told by the environment of this shell or of what has started it (sudo takes it away). Whether
-- an address is inside a range is asked of the kernel, by a table that no packet meets.
local GUARD = [[within() { # ADDRESS RANGE
    case $1,$2 in *:*,*:*) k=ipv6_addr ;; *:*) return 1 ;; *) k=ipv4_addr ;; esac
    p={name}_vmrun_probe
    printf 'table inet %s\ndelete table inet %s\ntable inet %s { set s { type %s; flags interval; elements = { %s }; }; }\n' \
      $p $p $p $k "$2" | nft -f - || return
    nft get element inet $p s "{ ${1%\%*} }" >/dev/null 2>&1; k=$?
    nft delete table inet $p; return $k
  }
  let_in() {
    p=$$ c=
    while [ -z "$c" ] && [ "${p:-0}" -gt 1 ] && read -r s <"/proc/$p/stat"; do
      c=$(tr '\0' '\n' <"/proc/$p/environ" | sed -n 's/^SSH_CONNECTION=//p')
      set -- ${s##*) }; p=$2
    done
    set -- $c
    [ $# -eq 4 ] ||
      { echo "it cannot be told which port vmrun comes through; 'allow_lockout = true' goes on all the same" >&2; return 1; }
    printf '%s\n' {ways} | {
      while read -r low high from; do
        [ "$4" -ge "${low:-0}" ] && [ "$4" -le "${high:-0}" ] || continue
        [ -n "$from" ] || exit 0
        ! within "$1" "$from" || exit 0
      done
      echo "vmrun itself comes from $1 to port $4, and 'allow' lets nobody in there: add it, or say 'allow_lockout = true'" >&2
      exit 1
    }
  }
]]

-- The rules are tried before anything is put in place, and loaded as a whole or not at all.
local APPLY = [[new() { printf %s {content}; }
  new | nft -c -f - && mkdir -p /etc/nftables.d "$V/firewall" && new | nft -f - && put {path} 644 root:root || return
  new() { printf '#!/usr/sbin/nft -f\nflush ruleset\n'; }
  [ -e /etc/nftables.conf ] || put /etc/nftables.conf 755 root:root || return
  grep -qxF {include} /etc/nftables.conf || {
    new() { cat /etc/nftables.conf && printf '%s\n' {include}; }
    look /etc/nftables.conf; put /etc/nftables.conf "$mode" "$ids" || return
  }
  systemctl enable nftables >&2 || return
  new() { live; }; put "$V/firewall/"{name} 600 '']]

-- Ports as nft wants them: in order, none twice.
local function merged(ports)
  local list, out = {}, {}
  for i, port in ipairs(ports) do list[i] = type(port) == "table" and { port.min, port.max } or { port, port } end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  for _, range in ipairs(list) do
    local last = out[#out]
    if last and range[1] <= last[2] + 1 then last[2] = math.max(last[2], range[2]) else out[#out + 1] = range end
  end
  return out
end

-- A rule of one's own must not end the chain it stands in.
local function is_closed(rule)
  local depth = 0
  for brace in rule:gsub("\"[^\"]*\"", ""):gmatch("[{}]") do
    depth = depth + (brace == "{" and 1 or -1)
    if depth < 0 then return false end
  end
  return depth == 0
end

local function add_allowed(rules, ways, allow)
  local ports = {}
  for i, range in ipairs(merged(allow.ports)) do
    ports[i] = range[1] == range[2] and ("%d"):format(range[1]) or ("%d-%d"):format(range[1], range[2])
    for _, from in ipairs(#allow.from > 0 and allow.from or { "" }) do
      if allow.protocol == "tcp" then ways[#ways + 1] = ("%d %d %s"):format(range[1], range[2], from) end
    end
  end
  local what = ("%s dport { %s } accept"):format(allow.protocol, table.concat(ports, ", "))
  if #allow.from == 0 then rules[#rules + 1] = what end
  for _, from in ipairs(allow.from) do
    rules[#rules + 1] = ("%s saddr %s %s"):format(from:find(":", 1, true) and "ip6" or "ip", from, what)
  end
end

-- Answers to what the host asks, what it asks itself, and what no network works without come first; fe80::/10 is where DHCPv6
-- answers from, which is no answer to nftables.
local ALWAYS = { "ct state established,related accept", "iif lo accept", "meta l4proto { icmp, icmpv6 } accept",
  "ip6 saddr fe80::/10 udp dport 546 accept" }

local TABLE = [[
table inet %s
delete table inet %s
table inet %s {
  chain input {
    type filter hook input priority 0; policy %s;
    %s
  }
}
]]

return task "firewall" {
  doc = "What the host lets in (nftables): a table of its own beside those of others, loaded now and at each start.",
  key = "name",
  fields = {
    name = field.string { required = true, match = "^[%a_][%w_]*$", doc = "The table." },
    allow = field.list { field.object {
      ports = field.list { field.range { min = 1, max = 65535 }, required = true, min = 1,
        doc = "Such as `{ 22, \"8000-8100\" }`." },
      protocol = field.choice { "tcp", "udp", default = "tcp" },
      from = field.list { field.cidr {}, default = {}, doc = "Address ranges; from everywhere, unless given." },
    }, default = {}, doc = "What is let in." },
    rules = field.list { field.string { match = "^[^\n]+$" }, default = {},
      doc = "Rules of nft for what `allow` did not let in." },
    policy = field.choice { "drop", "reject", "accept", default = "drop", doc = "What happens to the rest." },
    allow_lockout = field.boolean { default = false, doc = "Go on even if vmrun's own next connection were not let in." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    local rules, ways = { table.unpack(ALWAYS) }, {}
    for _, allow in ipairs(t.allow) do add_allowed(rules, ways, allow) end
    for i, rule in ipairs(t.rules) do
      if not is_closed(rule) then error(("firewall \"%s\": the braces of 'rules[%d]' do not match"):format(name, i), 0) end
      rules[#rules + 1] = rule
    end
    if t.policy == "reject" then rules[#rules + 1] = "reject" end
    t.content = TABLE:format(t.name, t.name, t.name, t.policy == "accept" and "accept" or "drop", table.concat(rules, "\n    "))
    t.ways = table.concat(ways, "\n")
    t.digest = crypto.sha256(t.content)
    t.path = ("/etc/nftables.d/%s.nft"):format(t.name)
    t.include = "include \"/etc/nftables.d/*.nft\""
  end,
  shown = function(t)
    return { rules = t.state == "present" and t.content or "", live = "as declared", start = "yes", name = t.content }
  end,
  check = function(t)
    if t.state == "absent" then
      return "if nft list table inet {name} >/dev/null 2>&1 || [ -e {path} ]; then oldis rules present; return 1; fi"
    end
    return LIVE .. [[[ -f {path} ] || return 1
      digest {path}; [ "$sum" = {digest} ] || { r=1; look {path}; oldfile rules {path}; }
      [ "$(live)" = "$(cat "$V/firewall/"{name} 2>/dev/null)" ] || { r=1; oldis live "changed or not loaded"; }
      grep -qxF {include} /etc/nftables.conf && [ "$(systemctl is-enabled nftables 2>/dev/null)" = enabled ] ||
        { r=1; oldis start no; }
      return $r]]
  end,
  looks_at = function(t) return t.path end,
  apply = function(t)
    if t.state == "absent" then
      return [[rm -f -- {path} "$V/firewall/"{name}
        ! nft list table inet {name} >/dev/null 2>&1 || nft delete table inet {name}]]
    end
    return LIVE .. "needs nft nftables || return\n" .. (t.allow_lockout and "" or GUARD .. "let_in || return\n") .. APPLY
  end,
}
