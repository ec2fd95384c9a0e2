#!/usr/bin/env python3
"""kills.py --engine nats|flink --kills N [--seed S]: kill -9 of the owners of streams, and what comes out."""

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["nats", "flink"], required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begin = time.monotonic()
    folder = tempfile.mkdtemp(prefix=f"xst-{args.engine}-")
    try:
        total = importlib.import_module(f"{args.engine}_kills").run(
            folder, args.kills, args.seed, lambda text: print(text, file=sys.stderr, flush=True))
    except BaseException:
        print(f"what it left is in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
    print(json.dumps(total | {"seconds": round(time.monotonic() - begin)}))
