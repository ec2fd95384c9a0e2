#!/usr/bin/env python3
"""What a stopped subscriber costs: a stream stepped at a fixed rate with 8 subscribers, in blocks that alternate between
all of them reading and one stopped (SIGSTOP); p99.9 of the loop (arrival to stepped), with a bootstrap interval of the
change, the daemon's memory, and the gap that the stopped one sees. After a release build:
tests/bench/subscribers.py --minutes 10."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("XST_BIN_DIR", str(ROOT / "build/release/bin"))
os.environ.setdefault("XST_TEST_DATA", str(ROOT / "tests/vectors"))
sys.path.insert(0, str(ROOT / "tests/support"))
from xst_tool import BIN  # noqa: E402
from xstd_tool import Xstd  # noqa: E402

# Reads everything; at the end says how many records, how many gaps and how many were lost in them, and writes the
# latencies with the time they arrived at, if it is to.
READER = """
import json, signal, sys, time, zmq
import numpy as np
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
s = zmq.Context().socket(zmq.SUB)
s.rcvtimeo = 200
s.subscribe("ecg/")
s.connect(sys.argv[1])
last, count, gaps, lost, kept = None, 0, 0, 0, []
while not stop:
    try:
        record = json.loads(s.recv_multipart()[1])
    except zmq.Again:
        continue
    if last is not None and record["seq"] != last + 1:
        gaps += 1
        lost += record["seq"] - last - 1
    last = record["seq"]
    count += 1
    if sys.argv[2]:
        kept.append((time.monotonic(), record["latency_us"]))
if sys.argv[2]:
    np.save(sys.argv[2], np.array(kept))
print(json.dumps({"records": count, "gaps": gaps, "lost": lost}))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--block", type=float, default=20, help="seconds a block")
    parser.add_argument("--rate", type=float, default=1000, help="samples a second")
    parser.add_argument("--subscribers", type=int, default=8)
    parser.add_argument("--prefix", default="", help="what starts xstd, as in --prefix 'chrt -f 1'")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(args, pathlib.Path(folder))
    for key, value in report.items():
        print(f"{key:34} {value}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(report, indent=2) + "\n")


def measure(args, folder):
    subprocess.run([BIN / "xst", "pack", ROOT / "apps/demos/ecg/model", "-o", folder / "ecg.xst"], check=True,
                   stdout=subprocess.DEVNULL)
    rows = (ROOT / "apps/demos/ecg/ecg.csv").read_text().splitlines()[1:]
    blocks = max(int(args.minutes * 60 / args.block) // 2 * 2, 4)
    samples = int((blocks + 2) * (args.block + 2) * args.rate)  # more than it takes
    with open(folder / "d.csv", "w") as f:
        f.write("t,ecg\n")
        for i in range(samples):
            f.write(f"{i / args.rate:.6f},{rows[i % len(rows)].split(',')[1]}\n")
    config = f"""
publish: {{endpoint: "ipc://{folder}/pub"}}
streams:
  - {{name: ecg, model: {folder}/ecg.xst, source: {{type: replay, file: {folder}/d.csv}}}}
"""
    with Xstd(config, "--wait-subscriber", 60, prefix=args.prefix.split()) as daemon:
        readers = [subprocess.Popen([sys.executable, "-c", READER, daemon.endpoints["publish"],
                                     str(folder / "kept.npy") if i == 0 else ""], stdout=subprocess.PIPE)
                   for i in range(args.subscribers)]
        time.sleep(args.block / 2)  # everything is warm
        # Blocks in pairs of random order, so that a drift of the machine is in both alike.
        rng, spans, memory = np.random.default_rng(1), [], []
        for pair in range(blocks // 2):
            for stopped in rng.permutation([False, True]):
                if stopped:
                    readers[-1].send_signal(signal.SIGSTOP)
                begin = time.monotonic()
                time.sleep(args.block)
                spans.append((begin, time.monotonic(), bool(stopped)))
                memory.append(daemon.rss_mb())
                readers[-1].send_signal(signal.SIGCONT)
                time.sleep(1)
        for reader in readers:
            reader.terminate()
        seen = [json.loads(reader.communicate()[0]) for reader in readers]
        daemon.stop()
        summary = daemon.summary()["streams"][0]
    kept = np.load(folder / "kept.npy")
    groups = {False: [], True: []}
    for begin, end, stopped in spans:
        inside = (kept[:, 0] >= begin) & (kept[:, 0] < end)
        groups[stopped].append(kept[inside, 1])
    return figures(args, groups, memory, seen, summary, rng)


def figures(args, groups, memory, seen, summary, rng):
    def quantile(blocks, q=0.999):
        return float(np.quantile(np.concatenate(blocks), q))

    # Whole blocks are drawn again: samples within one are not independent.
    pairs = len(groups[True])
    changes = []
    for _ in range(2000):
        draw = rng.integers(pairs, size=pairs)
        with_stopped = quantile([groups[True][i] for i in draw])
        changes.append(with_stopped / quantile([groups[False][i] for i in draw]) - 1)
    change = quantile(groups[True]) / quantile(groups[False]) - 1
    low, high = np.quantile(changes, [0.025, 0.975])
    return {
        "subscribers, samples/s": f"{args.subscribers}, {args.rate:g}",
        "blocks of each kind, seconds": f"{pairs}, {args.block:g}",
        "p50, p99.9 us, all reading": f"{quantile(groups[False], 0.5):.1f}, {quantile(groups[False]):.1f}",
        "p50, p99.9 us, one stopped": f"{quantile(groups[True], 0.5):.1f}, {quantile(groups[True]):.1f}",
        "p99.9 moves by": f"{100 * change:+.1f} % (95 % interval {100 * low:+.1f} to {100 * high:+.1f})",
        "memory of xstd, MB": f"{memory[0]:.1f} first, {max(memory):.1f} most, {memory[-1]:.1f} last",
        "records of the readers": f"{seen[0]['records']}, lost {max(r['lost'] for r in seen[:-1])} at most",
        "the stopped one": f"{seen[-1]['records']} records, {seen[-1]['lost']} lost in {seen[-1]['gaps']} gaps",
        "daemon": f"{summary['outputs']} outputs, {summary['late']} late, p99.9 {summary['latency_us']['p999']:.1f} us",
    }


if __name__ == "__main__":
    main()
