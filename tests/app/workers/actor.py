"""A worker process that plays a part in the place of training: the method that it is asked for says which."""

import json
import os
import signal
import sys
from pathlib import Path


def tell(*words):
    print(json.dumps(words), flush=True)


def main():
    setup = json.loads(sys.stdin.readline())
    folder = Path(setup[0])
    for line in iter(sys.stdin.readline, ""):
        method, n, seed = json.loads(line)
        attempts = folder / f"{method}-{n}-{seed}"
        with attempts.open("a") as file:
            file.write("x")
        first = attempts.stat().st_size == 1
        tell("open", 1, "source", False)
        if method == "dies" or (method == "dies once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if method == "is stopped once" and first:
            tell("stopped", "step 5 of source")
            sys.exit(143)
        if method == "breaks":
            sys.exit(1)
        if method == "refuses":
            tell("refused", "the disk is full: free some space", True)
            sys.exit(0)
        if method == "waits":
            sys.stdin.readline()
            tell("stopped", f"step {n} of source")
            sys.exit(0)
        tell("cell", {"metrics": {"value": [0.1 * n, float("nan")]}, "by": os.getpid()})


if __name__ == "__main__":
    main()
