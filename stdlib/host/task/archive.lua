--- A folder that an archive was unpacked into.
local crypto, field, task = require "crypto", require "field", require "host.task"

-- What was unpacked is known by a mark in vmrun's own folder, which is written last and names the folder by its inode: without
-- it, or in a folder that was made anew, all is unpacked once more. The archive is unpacked beside its place, so that one that
-- is broken, or whose end never comes, changes nothing; what such a run left is taken away by the next.
local APPLY = [[m=$V/archives/{id}; a=$m.part s={path}/.vmrun.unpacked
  mkdir -p "$V/archives" && rm -rf -- "$s" "$a" "$m" || return
  [ -d {path} ] || { mkdir -p -- {path} && chown -- {owner} {path}; } || return
  trap 'rm -rf -- "$s" "$m.part"; exit 143' HUP INT TERM
  unpack() {
    %s
    digest "$a"; w=$sum
    [ -n "$w" ] || { echo "there is no "{from} >&2; return 1; }
    [ -z {sum} ] || [ "$w" = {sum} ] || { echo "the checksum of "{from}" is $w, not "{sum} >&2; return 1; }
    mkdir -p -- "$s/in" "$s/out" || return
    if [ "$(head -c 4 -- "$a" | tr -d '\0')" = "$(printf 'PK\003\004')" ]; then
      needs unzip unzip && timeout -k 10 {seconds} unzip -qo "$a" -d "$s/in" || return
    else
      timeout -k 10 {seconds} tar -xf "$a" -C "$s/in" --no-same-owner || return
    fi
    find "$s/in" -mindepth {depth} -maxdepth {depth} -exec mv -t "$s/out" -- {} + || return
    [ -n "$(ls -A "$s/out")" ] ||
      { echo "nothing is left of "{from}" without the folders that 'strip_components' takes" >&2; return 1; }
    [ {owner} = root:root ] || chown -hR -- {owner} "$s/out" || return
    chmod --reference={path} -- "$s/out" && chown --reference={path} -- "$s/out" &&
      cp -a --remove-destination -- "$s/out/." {path}/
  }
  unpack; r=$?; rm -rf -- "$s" "$m.part"
  [ $r -eq 0 ] || return
  [ -e {seen} ] || { echo "it was unpacked, but "{seen}" is not there" >&2; return 1; }
  new() { echo "$w "{depth}" "{owner}" $(stat -c %%i -- {path})"; }; put "$m" 600 '']]

return task "archive" {
  doc = "An archive (tar, compressed or not, or zip) that is unpacked into a folder, over what is there.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/.", doc = "The folder, which is made." },
    url = field.string { match = "^%w+://%S+$", doc = "Where the host fetches it, with `sha256`." },
    source = field.string { match = "^/", doc = "Where it lies on the host, instead of `url`." },
    sha256 = field.string { match = "^%x+$", min = 64, max = 64, doc = "Its checksum." },
    strip_components = field.integer { default = 0, min = 0, doc = "How many folders of the names inside are left away." },
    owner = field.string { default = "root:root", match = "^[%w_.-]+:[%w_.-]+$", doc = "`user:group` of all that it holds." },
    creates = field.string { match = "^/", doc = "A path that is there once it was unpacked." },
  },
  prepare = function(t, name)
    if (t.url ~= nil) == (t.source ~= nil) then error("archive \"" .. name .. "\": needs one of 'url' and 'source'", 0) end
    if t.url and not t.sha256 then error("archive \"" .. name .. "\": 'url' needs 'sha256'", 0) end
    t.path = t.path:gsub("(.)/+$", "%1")
    t.sum = t.sha256 and t.sha256:lower() or ""
    t.from, t.seen = t.url or t.source, t.creates or t.path
    t.depth = ("%d"):format(t.strip_components + 1)
    t.id = crypto.sha256(t.path .. "\n" .. name):sub(1, 32)
  end,
  shown = function(t) return { archive = t.sha256 and t.sum or "as " .. t.from, creates = t.creates, name = t.from } end,
  check = function(t)
    -- A file without a checksum of its own is what it is now.
    local wanted = "digest {from}; w=$sum; [ -n \"$w\" ] || { echo \"there is no \"{from} >&2; return 2; }"
    return (t.sha256 and "w={sum}" or wanted) .. [[

      [ -d {path} ] || return 1
      m=$(cat "$V/archives/"{id} 2>/dev/null) || :
      [ "$m" = "$w "{depth}" "{owner}" $(stat -c %i -- {path})" ] || { [ -z "$m" ] || oldis archive "${m%% *}"; return 1; }
      [ -e {seen} ] || { oldis creates missing; return 1; }]]
  end,
  apply = function(t)
    return APPLY:format(t.url and "fetch {url} \"$a\" {seconds} || return" or "a={source}")
  end,
}
