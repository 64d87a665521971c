#!/usr/bin/env bash
# The client's side of recorded stories: a server gives Azure's recorded answers, and our kinds make, read again and destroy.
. "$(dirname "$0")/lib/story.sh"
here=$root/tests/e2e/playback
if [ -z "${VMRUN_ARM_RECORDINGS:-}" ]; then
  skip "recorded stories: VMRUN_ARM_RECORDINGS names no folder"
  exit
fi

# play NAME: the story against the recipe of its name; what it printed is in $told.
play() {
  told=$(timeout 150 "$VMRUN" lua "$here/play.lua" "$VMRUN_ARM_RECORDINGS/$1.json" "$here/$1.lua" "$work/$1" 2>&1)
}
said() { grep -hv ' could not be checked: ' "$work/$1/$2" 2>/dev/null | tail -n 12; }
ends() { # NAME WHAT IT PRINTS
  if [ "$told" = "$2" ]; then pass "$1"; else fail "$1" "$told" "$(said "$1" apply)" "$(said "$1" plan)" "$(said "$1" destroy)"; fi
}
good=$'apply 0\nplan 0\ndestroy 0'

for recipe in "$here"/*.lua; do
  name=$(basename "$recipe" .lua)
  case $name in
    play) ;;
    publicipaddress)
      # Azure gave the story's client a Basic address, and shows us that one: not what we asked for.
      play $name
      ends $name $'apply 0\nplan 2\ndestroy 0'
      out=$(said $name plan)
      has "$name: what Azure made instead is seen" 'sku (changed outside) (forces replacement): "Basic" -> "Standard"' ;;
    virtualmachinescaleset)
      # The story's client never asked for the instances, so that there are none to see.
      play $name
      ends $name $'apply 1\nplan 2\ndestroy 0'
      out=$(said $name apply)
      has "$name: instances that do not come are missed" "1 of 1 members did not come"
      out=$(said $name plan)
      has "$name: and are still to come" "Plan: 1 to add, 0 to change, 0 to destroy." ;;
    *)
      play "$name"
      ends "$name" "$good" ;;
  esac
done

for kind in publicipaddress virtualnetwork subnet securitygroup natgateway loadbalancer interface identity sshpublickeyresource vault \
  virtualmachine virtualmachinescaleset virtualmachinescalesetvm disk privatezone virtualnetworklink account blobcontainer resourcegroup; do
  [ -s "$work/$kind/destroy" ] || fail "$kind was played"
done
grep -rlF "of the recording" "$work" >"$work/found"
same "and the secret of the login is nowhere" "$(cat "$work/found")" ""
