"""Runs a command, and writes what it cost: `python count.py FILE ARGV…`.

What the command leaves behind, such as Ansible's SSH masters, is waited for and counted, too.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main(out: Path, argv: list[str]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    begun = time.monotonic()
    code = subprocess.call(argv, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    try:
        while True:
            os.wait()
    except ChildProcessError:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}
    out.write_text(json.dumps(cost))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
