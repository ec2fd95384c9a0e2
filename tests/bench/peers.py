#!/usr/bin/env python3
"""Times one step of the README configuration: ours against its peers, in one run on one core.

    cmake --preset release && cmake --build --preset release
    tests/bench/peers.py [--blocks N] [--seconds S] [--core C] [--xst PROGRAM] [--json FILE]

The peers take turns in blocks, so that a change of the machine meets all of them; each waits in a
process of its own until it is asked. Every figure is the median over the blocks. One thread, random
inputs, states carried from step to step; batches of B streams beside batch 1. Each peer first proves
on the conformance case that it computes the same function, ours for small weights by its probe. The
peers live in build/venv (the official package) and build/venv-peers, made when missing; with --torch
an interpreter that has PyTorch 2, xlstm, safetensors and dacite runs torch.compile as well.
On a machine that others use too, `chrt -f 1 tests/bench/peers.py` keeps them off the core: otherwise
calls that are longer than a time slice, the peers' most of all, measure the neighbours.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "bench"
CASE = ROOT / "tests" / "vectors" / "block_stack" / "readme_config"
DTYPES = ("f32", "i16", "bf16", "i8")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"peers: {' '.join(str(c) for c in command)}: exit {done.returncode}\n"
                 f"{done.stdout}{done.stderr}")
    return done.stdout


class Ours:
    """`xst bench` on the packed model."""

    def __init__(self, program, dtype, folder):
        self.program, self.folder, self.dtype = program, folder, dtype
        self.model = folder / f"{dtype}.xst"
        self.exact = dtype == "f32"
        run(program, "pack", CASE, "-o", self.model, "--dtype", dtype)
        run(program, "verify", self.model)
        self.name = f"xst, {dtype}"
        self.steps = {}

    def outputs(self, source, target):
        run(self.program, "run", self.model, "--input", source, "--output", target)

    def block(self, streams, seconds):
        bench = lambda steps: json.loads(run(self.program, "bench", self.model, "--streams", streams,
                                             "--steps", steps, "--json"))
        if streams not in self.steps:
            self.steps[streams] = max(50, int(seconds * 1e6 / bench(50)["p50_us"]))
        return bench(self.steps[streams])


class Worker:
    """A peer in peer_worker.py; `missing` says why it does not run."""

    exact = True

    def __init__(self, python, name, folder):
        self.process = subprocess.Popen([str(python), HERE / "peer_worker.py", name, folder],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        answer = self.answer()
        self.missing, self.name = answer.get("missing"), answer.get("name", name)
        self.exact = not name.endswith("bf16")

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"ended with {self.process.wait()}"}

    def ask(self, **task):
        self.process.stdin.write(json.dumps(task, default=str) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if "missing" in answer:
            sys.exit(f"peers: {self.name}: expected an answer, got: {answer['missing']}")
        return answer

    def outputs(self, source, target):
        self.ask(do="outputs", input=source, output=target)

    def block(self, streams, seconds):
        return self.ask(do="block", streams=streams, seconds=seconds)


def peers_venv():
    """Python with ONNX Runtime and OpenVINO."""
    venv, requirements = ROOT / "build" / "venv-peers", HERE / "requirements-peers.txt"
    stamp = venv / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        run("/usr/bin/python3", "-m", "venv", "--clear", venv)
        run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input",
            "--requirement", requirements)
        stamp.write_text(requirements.read_text())
    return venv / "bin" / "python"


def started(arguments, folder):
    """Every peer that runs here, ours first, and why others do not."""
    official = run(ROOT / "tests" / "venv").strip()
    run(official, HERE / "peer_worker.py", "export", folder, 1, *arguments.streams)
    peers = [Ours(arguments.xst.resolve(), dtype, folder) for dtype in DTYPES]
    others = peers_venv()
    workers = [Worker(official, "official", folder), Worker(arguments.torch or official, "compile", folder)]
    workers += [Worker(others, name, folder) for name in ("onnxruntime", "openvino-f32", "openvino-bf16")]
    notes = [f"{w.name}: not run: {w.missing}" for w in workers if w.missing]
    return peers + [w for w in workers if not w.missing], notes


def prove(peer, folder):
    """max |output - expected| over the case and the largest that the rule of the vectors allows, over the largest
    |expected|; those that are not exact are allowed any."""
    import numpy as np

    peer.outputs(CASE / "input.npy", folder / "y.npy")
    expected = np.load(CASE / "expected.npy")
    own = np.abs(np.load(CASE / "official_f32.npy") - expected).max()
    largest = float(np.abs(expected).max())
    error = float(np.abs(np.load(folder / "y.npy") - expected).max()) / largest
    return error, max(4 * float(own) / largest, 2e-6) if peer.exact else float("inf")


def measured(peers, arguments):
    """{name: {B: [a block's figures]}}"""
    blocks = {peer.name: {b: [] for b in (1, *arguments.streams)} for peer in peers}
    for turn in range(arguments.blocks):
        for streams in (1, *arguments.streams):
            if streams > 1 and turn >= arguments.batch_blocks:
                continue
            for peer in peers:
                blocks[peer.name][streams].append(peer.block(streams, arguments.seconds))
    return blocks


def figures(peer, blocks, error):
    """What the tables and the figure say of one peer."""
    over = lambda streams, key: [b[key] for b in blocks[streams] if b.get(key) is not None]
    median = lambda values: statistics.median(values) if values else None
    p50 = {b: median(over(b, "p50_us")) for b in blocks}
    return {"name": peer.name, "error": error, "p50_us": p50[1], "p50_blocks_us": over(1, "p50_us"),
            "p99_us": median(over(1, "p99_us")), "limit_us": median(over(1, "limit_us")),
            "limit_ratio": median(over(1, "limit_ratio")),
            # From p50: on a shared machine a mean measures the others.
            "stream_steps_per_s": {b: b * 1e6 / p50[b] for b in blocks}}


def show(result, streams):
    rows = result["peers"]
    f32 = rows[0]["p50_us"]
    print(f"\n| one step, batch 1 | p50 µs (blocks) | p99 µs | p50 / ours f32 | p50 / limit | error |\n{'|---' * 6}|")
    for r in rows:
        low, high = min(r["p50_blocks_us"]), max(r["p50_blocks_us"])
        ratio = f"{r['limit_ratio']:.2f}" if r["limit_ratio"] else ""
        print(f"| {r['name']} | {r['p50_us']:.1f} ({low:.1f}–{high:.1f}) | {r['p99_us']:.1f} | "
              f"{r['p50_us'] / f32:.2f} | {ratio} | {r['error']:.1e} |")
    heads = " | ".join(f"B = {b}" for b in streams)
    print(f"\n| thousand stream-steps/s (p50) | {heads} |\n{'|---' * (1 + len(streams))}|")
    for r in rows:
        rates = " | ".join(f"{r['stream_steps_per_s'][b] / 1e3:.1f}" for b in streams)
        print(f"| {r['name']} | {rates} |")
    print(f"\n{result['machine']}; {result['method']}")
    for note in result["notes"]:
        print(note)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=7, help="turns of each peer")
    parser.add_argument("--batch-blocks", type=int, default=3, help="of them with more streams too")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument("--streams", type=int, nargs="*", default=[8, 64, 256], metavar="B")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)),
                        help="the CPU that everything is pinned to")
    parser.add_argument("--xst", type=pathlib.Path, metavar="PROGRAM",
                        default=ROOT / "build" / "release" / "bin" / "xst",
                        help="our command line tool (default: the release build's)")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch 2")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.xst.exists():
        sys.exit(f"peers: {arguments.xst}: expected a release build, got no such file")
    if not arguments.here:
        venv = str(ROOT / "tests" / "venv")
        os.execv(venv, [venv, __file__, *sys.argv[1:], "--here"])

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {arguments.core})
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        peers, notes = started(arguments, folder)
        errors = {}
        for peer in list(peers):
            errors[peer.name], allowed = prove(peer, folder)
            print(f"{peer.name}: largest error on the case {errors[peer.name]:.1e} of the largest output", flush=True)
            if errors[peer.name] > allowed:
                notes.append(f"{peer.name}: not timed: expected an error of at most {allowed:.1e}, "
                             f"got {errors[peer.name]:.1e}")
                peers.remove(peer)
        if not peers or peers[0].name != "xst, f32":
            sys.exit("peers: xst, f32: expected the outputs of the case, got others")
        blocks = measured(peers, arguments)
    if busy > 0.5:
        notes.append(f"Not idle: the load average was {busy:.1f} at the start.")
    result = {
        "machine": f"{cpu_name()}, CPU {arguments.core} of {os.cpu_count()}, Linux {platform.release()}",
        "method": f"{datetime.date.today()}, {arguments.blocks} blocks of {arguments.seconds:g} s each, "
                  f"{arguments.batch_blocks} of batches"
                  + (", real-time priority" if os.sched_getscheduler(0) == os.SCHED_FIFO else ""),
        "notes": notes,
        "peers": [figures(peer, blocks[peer.name], errors[peer.name]) for peer in peers]}
    show(result, arguments.streams)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
