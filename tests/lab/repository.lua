--- A signed apt repository with packages made on the spot, and the server of files that roots fetch from.
local fs = require "fs"
local process = require "process"

local M = {}

-- Each package is a command that says its version.
local BUILD = [[set -e
cd "$1"; shift; umask 022; export GNUPGHOME="$PWD/keys"
mkdir -p keys repo/pool; chmod 700 keys
for item; do
  name=${item%%=*} version=${item#*=} p=build/$item
  mkdir -p "$p/DEBIAN" "$p/usr/bin"
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: for tests\n' \
    "$name" "$version" >"$p/DEBIAN/control"
  printf '#!/bin/sh\necho %s\n' "$version" >"$p/usr/bin/$name"; chmod 755 "$p/usr/bin/$name"
  dpkg-deb -Znone --root-owner-group --build "$p" repo/pool/ >/dev/null
done
cd repo
dpkg-scanpackages -m pool >Packages 2>/dev/null
printf 'Suite: lab\nDate: %s\nSHA256:\n %s %s Packages\n' "$(LC_ALL=C date -uR)" \
  "$(sha256sum <Packages | cut -d' ' -f1)" "$(wc -c <Packages)" >Release
gpg -q --batch --passphrase '' --quick-gen-key lab ed25519 sign never 2>/dev/null
gpg -q --batch --clearsign -o InRelease Release
gpg -q --armor --export
gpgconf --kill all]]

--- Makes one in DIR/repo, of packages "NAME=VERSION". @return the armoured key that signs it
function M.make(dir, packages)
  local argv = { "sh", "-c", BUILD, "sh", dir }
  table.move(packages, 1, #packages, #argv + 1, argv)
  local result = assert(process.run { argv = argv, timeout = 60 })
  assert(result.code == 0, result.stderr)
  return result.stdout
end

--- Serves a folder to whoever is plugged in, on port 8000, until the test ends.
function M.serve(t, dir)
  local child = assert(process.spawn { argv = { "python3", "-u", "-m", "http.server", "8000", "--directory", dir },
    stdin = "null", stderr = "null" })
  t.after(function()
    child:kill("KILL")
    child:wait(5)
    child:close()
  end)
  assert(child:read(), "the server did not start")
end

--- A fresh folder that is served: write(path, text) puts a file into it.
function M.folder(t)
  local dir = t.tmp()
  M.serve(t, dir)
  return dir, function(path, text) assert(fs.write(dir .. "/" .. path, text)) end
end

return M
