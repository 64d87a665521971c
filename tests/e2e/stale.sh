#!/usr/bin/env bash
# What makes instances of scale sets stale, in both modes: size, image and its version, custom data; what leaves them alone.
. "$(dirname "$0")/lib/story.sh"
cat >"$work/sets.lua" <<'LUA'
local azure = use "azure"
local p = params { mode = param.choice { "Uniform", "Flexible" }, size = param.string { default = "Standard_D2s_v5" },
  image = param.string { default = "debian-12" }, image_version = param.string { optional = true },
  data = param.string { default = "#cloud-config" }, roll = param.any { default = {} }, leave = param.boolean { default = false }, capacity = param.range { default = 2 } }
local g = azure.resource_group "g" { name = "stale-rg", location = "westeurope" }
local v = azure.virtual_network "v" { name = "v", group = g, cidr = "10.0.0.0/16" }
local s = azure.subnet "s" { name = "s", vnet = v, cidr = "10.0.1.0/24" }
local w = azure.virtual_machine_scale_set "w" { name = "stale", group = g, subnet = s, mode = p.mode, size = p.size,
  image = p.image, image_version = p.image_version, user = "ops", capacity = p.capacity, custom_data = p.data, roll = not p.leave and p.roll,
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYHYIBbMWQEzPAAzP2G7DJQY8OEHWfeB6RzOWtrlIMQ" }
outputs { ids = w.instances, version = w.exact_version }
LUA
sets=$work/sets.lua
first=0.20250428.2096 second=0.20260101.1 third=0.20260202.2
ids() { vmrun output "$sets" --json | jq -r '.ids.value[].id' | sort; }
version() { vmrun output "$sets" --json | jq -r .version.value; }
kept() { comm -12 <(echo "$before") <(ids) | sed '/^$/d' | wc -l; }
publish() { vmrun emulator publish "Debian:debian-12:12-gen2:$1"; }
# rolls WHY PARAMETER...: the plan says so of both, apply replaces both, and then nothing is left to do.
rolls() {
  local why=$1
  shift
  before=$(ids)
  exits "$mode, $why: the plan" 2 vmrun plan "$sets" --detailed-exitcode mode=$mode "$@"
  has "$mode, $why: is said" "remove (stale: $why; [+2] comes for it, 2 of 2)"
  exits "$mode, $why: apply" 0 vmrun apply "$sets" --emulator --yes mode=$mode "$@"
  same "$mode, $why: both are new" "$(kept) $(ids | wc -l)" "0 2"
  exits "$mode, $why: then nothing" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode "$@"
  lacks "$mode, $why: nobody is stale" stale,
}
for mode in Uniform Flexible; do
  exits "$mode: two instances" 0 vmrun apply "$sets" --emulator --yes mode=$mode
  same "$mode: of the version that is the newest" "$(version)" "$([ $mode = Uniform ] && echo $first || echo $third)"
  if [ $mode = Uniform ]; then
    exits "the plan of a roll" 0 vmrun plan "$sets" mode=Uniform size=Standard_D4s_v5
    same "as a whole" "$out" "$(cat <<'PLAN'
  - azure.virtual_machine_scale_set.w.instances[0]: remove (stale: size; [+1] comes for it, 1 of 2) [running]
  - azure.virtual_machine_scale_set.w.instances[1]: remove (stale: size; [+2] comes for it, 2 of 2) [running]
  ~ azure.virtual_machine_scale_set.w: change (field `size` changed: Standard_D2s_v5 -> Standard_D4s_v5)
      size: "Standard_D2s_v5" -> "Standard_D4s_v5"
  + azure.virtual_machine_scale_set.w.instances[+1]: add (for [0]) -- known after apply
  + azure.virtual_machine_scale_set.w.instances[+2]: add (for [1]) -- known after apply
3 exact, 0 predicted, 2 known after apply.
Plan: 2 to add, 1 to change, 2 to destroy.
PLAN
)"
  fi
  rolls size size=Standard_D4s_v5
  given=(size=Standard_D4s_v5)
  made_of=$(version)
  [ $mode = Uniform ] && publish $second >/dev/null
  [ $mode = Flexible ] && publish 0.20260303.3 >/dev/null
  exits "$mode: a newer version" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode "${given[@]}"
  has "$mode: is no drift" "No changes."
  rolls custom_data "${given[@]}" data=other
  given+=(data=other)
  same "$mode: and the new ones are of the same version" "$(version)" "$made_of"
  [ $mode = Uniform ] && rolls image_version "${given[@]}" image_version=newest
  [ $mode = Uniform ] && same "$mode: newest is that" "$(version)" $second
  publish $third >/dev/null
  [ $mode = Uniform ] && rolls image_version "${given[@]}" image_version=newest
  exits "$mode: left alone with what it has" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode "${given[@]}" --unset image_version
  rolls image_version "${given[@]}" image_version=$first
  same "$mode: an older one is as good" "$(version)" $first
  rolls image "${given[@]}" image=ubuntu-24.04 --unset image_version
  # Left alone, then begun with two at once.
  given+=(image=ubuntu-24.04)
  before=$(ids)
  exits "$mode: roll = false" 0 vmrun apply "$sets" --emulator --yes mode=$mode "${given[@]}" size=Standard_D8s_v5 data=third leave=true
  same "$mode: leaves them" "$(kept)" 2
  exits "$mode: and lists them" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode "${given[@]}" size=Standard_D8s_v5 data=third leave=true
  same "$mode: each" "$(grep -c '^stale, and stays: .*(size, custom_data)$' <<<"$out")" 2
  given+=(size=Standard_D8s_v5 data=third leave=false)
  rolls "size, custom_data" "${given[@]}"  'roll={"max_unavailable":"100%"}'
  exits "$mode: a replacement of the set" 0 vmrun apply "$sets" --emulator --yes mode=$mode "${given[@]}" 'roll={}' \
    --replace azure.virtual_machine_scale_set.w
  same "$mode: has as many" "$(ids | wc -l)" 2
  exits "$mode: it goes" 0 vmrun destroy "$sets" --yes
done

# The words of `roll`.
exits "no number" 1 vmrun plan "$sets" mode=Uniform leave=false 'roll={"max_unavailable":"some"}'
has "is refused" "'roll.max_unavailable' wants a number or a share such as \"25%\""
exits "another word" 1 vmrun plan "$sets" mode=Uniform leave=false 'roll={"max_unavailble":1}'
has "is known by the one it is like" "did you mean 'max_unavailable'?"
