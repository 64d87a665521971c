"""Runs a command: measure.py LOG COMMAND...; prints its wall seconds, user + sys seconds and peak memory in MiB. Its output is in LOG."""
import os
import subprocess
import sys
import time

with open(sys.argv[1], "w") as log:
    began = time.monotonic()
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
if status != 0:
    with open(sys.argv[1]) as log:
        sys.exit("failed: %s\n%s" % (" ".join(sys.argv[2:]), log.read()[-2000:]))
print("%.4f %.4f %.1f" % (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
