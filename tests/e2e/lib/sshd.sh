# What the stories of hosts share after verbs.sh: keys of a client and of a host, and sshds on loopback that end with the story.
net=127.84.$((RANDOM % 250)) port=$((20000 + RANDOM % 9000)) user=$(id -un)
[ "$(id -u)" -eq 0 ] && mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N "" -C canary -f client
ssh-keygen -q -t ed25519 -N "" -C host -f host
host_key=$(cut -d' ' -f1,2 host.pub)
children=()
at_exit() { [ ${#children[@]} -eq 0 ] || kill "${children[@]}" 2>/dev/null; }

# sshd_of NAME LINE...: an sshd with these lines of configuration, and with what is common to all. Its log is NAME.log, its pid $sshd.
sshd_of() {
  local name=$1
  shift
  printf '%s\n' "$@" "Port $port" "HostKey $work/host" "AuthorizedKeysFile $work/client.pub" "UsePAM no" "SetEnv SHLVL=5" \
    "StrictModes no" "PidFile none" "PasswordAuthentication no" "PermitRootLogin yes" >"$name"
  "$(command -v sshd || echo /usr/sbin/sshd)" -D -f "$name" -E "$name.log" &
  sshd=$!
  children+=("$sshd")
}
