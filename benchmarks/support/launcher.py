"""Launcher: a small process that starts a command and says what it took.

    python launcher.py COMMAND [ARGUMENT ...]

Prints one line of JSON to its standard output: exit status, seconds, begin and end in seconds since 1970, and the peak
memory of the command's largest process in bytes. The command's own output goes to standard error.

A process of its own, for the kernel counts the memory of whoever starts a command as the command's: the process that
measures has torch in it.
"""

import json
import os
import sys
import time


def main() -> None:
    begun, before = time.time(), time.perf_counter()
    process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - before
    said = {"exit_code": os.waitstatus_to_exitcode(status), "seconds": seconds, "begun": begun, "ended": time.time()}
    print(json.dumps(said | {"host_memory": 1024 * used.ru_maxrss}))


if __name__ == "__main__":
    main()
