#!/usr/bin/env bash
# A new user's first minutes: script/cluster in a copy of what is in Git, and the commands that it names at its end, as they stand there.
. "$(dirname "$0")/lib/story.sh"
unset VMRUN
mkdir "$work/copy"
git -C "$root" ls-files -z | tar -C "$root" --null -T - -c | tar -x -C "$work/copy"
cd "$work/copy" || exit
stop() {
  [ ! -d .vmrun ] || timeout 30 build/release/vmrun emulator stop >/dev/null 2>&1
  VMRUN=build/release/vmrun finish
}
trap 'stop; exit $?' EXIT

exits "script/cluster" 0 timeout 900 script/cluster
said=$out
has "it adds all" "Done: 74 added, 0 changed, 0 destroyed"
matches "and says what came of it" '^  load_balancer_ip = "'
same "the commands to try come last" "$(tail -n 7 <<<"$said" | head -n 1)" "Next:"
mapfile -t next < <(tail -n 6 <<<"$said" | sed 's/^  //')
exits "${next[0]}" 0 timeout 60 bash -c "${next[0]}"
exits "${next[1]}" 0 timeout 60 bash -c "${next[1]}"
same "all nodes are Ready" "$(grep -cE '^node/demo-(cp-[123]|worker00000[01]) +Ready ' <<<"$out")" 5
same "and all of Flux" "$(grep -cE '(gitrepository|kustomization)\..* True ' <<<"$out")" 4
exits "${next[2]}" 0 timeout 60 bash -c "${next[2]}"
has "it is two workers more" "grows from 2 to 4"
exits "${next[3]}" 0 timeout 60 bash -c "${next[3]}"
same "every host answers" "$(grep -oE 'demo-(cp-[123]|worker00000[01])' <<<"$out" | sort -u | wc -l) $(grep -c "load average" <<<"$out" | sed 's/[1-5]/some/')" "5 some"
exits "${next[4]}" 0 timeout 60 bash -c "${next[4]} -- hostname"
has "and is the one" "demo-cp-1"
exits "it can be installed" 0 cmake --install build/release --prefix "$work/installed"
echo 'print(require "http".request and require "ssh_core".connect and require "server" and require "crypto_keys" and "there")' >"$work/parts.lua"
exits "and is whole where it lies" 0 "$work/installed/bin/vmrun" lua "$work/parts.lua"
has "with the parts that are loaded when needed" "there"
exits "Git's too" 0 bash -c "echo | $work/installed/bin/vmrun git-child"
has "which answers in its own form" "the request is not JSON"
check "and its manual page" test -s "$work/installed/share/man/man1/vmrun.1"
check "and the standard library" test -s "$work/installed/share/vmrun/stdlib/kind.lua"
exits "script/cluster again" 0 timeout 900 script/cluster
has "it has nothing to do" "No changes."
exits "the emulator was left running" 0 build/release/vmrun emulator status
exits "${next[5]} --yes" 0 timeout 120 bash -c "${next[5]} --yes"
