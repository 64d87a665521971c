"""Runs a command: measure.py LOG COMMAND...; prints its wall seconds, user + sys seconds and peak memory in MiB. Its output is in LOG.
A child's peak counts from its fork, so this program stays small: start it with python3 -ISE."""
import os
import sys
import time

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
null = os.open(os.devnull, os.O_RDONLY)
actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
began = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - began
if status != 0:
    with open(sys.argv[1], errors="replace") as text:
        sys.exit("failed: %s\n%s" % (" ".join(sys.argv[2:]), text.read()[-2000:]))
print("%.4f %.4f %.1f" % (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
