#!/usr/bin/env python3
"""Times one step of the README configuration: ours against its peers, in one run on one core.

    cmake --preset release && cmake --build --preset release
    tests/bench/peers.py [--blocks N] [--seconds S] [--core C] [--xst PROGRAM]

The peers take turns in blocks, so that a change of the machine meets all of them. Every figure is
the median over the blocks, with the smallest and largest block behind it. Batch 1, float32, one
thread, random inputs, state carried from step to step. Each peer first proves on the conformance
case that it computes the same function. The script runs in build/venv, which it makes; with
--here it runs in the calling interpreter, which must have torch, xlstm, safetensors and dacite.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASE = ROOT / "tests" / "vectors" / "block_stack" / "readme_config"


class OfficialStep:
    """xLSTMBlockStack.step of the xlstm package, PyTorch eager, vanilla sLSTM cell."""

    def __init__(self, seconds):
        import numpy as np
        import torch

        self.np, self.torch, self.seconds = np, torch, seconds
        torch.set_num_threads(1)
        self.name = f"official step, PyTorch {torch.__version__} eager"
        self.stack = official_stack()

    def outputs(self, inputs):
        """(T, B, D) -> (T, B, D), from a fresh state."""
        rows, state = [], None
        with self.torch.inference_mode():
            for x in self.torch.from_numpy(inputs):
                y, state = self.stack.step(x[:, None], state)
                rows.append(y[:, 0].numpy())
        return self.np.stack(rows)

    def block(self):
        """Times steps for about the given seconds; microseconds."""
        generator = self.torch.Generator().manual_seed(1)
        inputs = self.torch.randn(256, 1, 1, 128, generator=generator)
        times, state = [], None
        with self.torch.inference_mode():
            for x in inputs[:50]:
                _, state = self.stack.step(x, state)
            end = time.perf_counter() + self.seconds
            i = 0
            while time.perf_counter() < end:
                start = time.perf_counter_ns()
                _, state = self.stack.step(inputs[i % 256], state)
                times.append((time.perf_counter_ns() - start) / 1e3)
                i += 1
        return {"p50_us": statistics.median(times),
                "p99_us": statistics.quantiles(times, n=100)[98]}


class XstStep:
    """`xst bench` on the packed model."""

    def __init__(self, seconds, program, folder):
        self.program, self.folder = program, folder
        self.model = folder / "readme.xst"
        run([program, "pack", CASE, "-o", self.model])
        probe = self.bench("--steps", "2000")
        self.steps = max(2000, int(seconds * 1e6 / probe["p50_us"]))
        self.name = f"xst, f32, {probe['isa']}, 1 thread"

    def bench(self, *arguments):
        return json.loads(run([self.program, "bench", self.model, "--json", *arguments]))

    def outputs(self, inputs):
        import numpy as np

        np.save(self.folder / "x.npy", inputs)
        run([self.program, "run", self.model, "--input", self.folder / "x.npy",
             "--output", self.folder / "y.npy"])
        return np.load(self.folder / "y.npy")

    def block(self):
        return self.bench("--steps", str(self.steps))


def official_stack():
    """The conformance case's weights in the official module, brought to the vanilla layout."""
    import dacite
    import torch
    import yaml
    from safetensors.torch import load_file
    from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

    config = yaml.safe_load((CASE / "config.yaml").read_text())["config"]
    config["slstm_block"]["slstm"]["backend"] = "vanilla"
    stack = xLSTMBlockStack(dacite.from_dict(xLSTMBlockStackConfig, config))
    weights = load_file(CASE / "weights.safetensors")
    for name, w in weights.items():
        # cuda: kernel [head][d][gate*DH + o], bias head-major; vanilla: [head][gate*DH + o][d],
        # bias gate-major (spec of the block stack, section 3.3).
        if name.endswith("slstm_cell._recurrent_kernel_"):
            weights[name] = w.transpose(1, 2).contiguous()
        elif name.endswith("slstm_cell._bias_"):
            heads = config["slstm_block"]["slstm"]["num_heads"]
            weights[name] = w.reshape(heads, 4, -1).transpose(0, 1).reshape(-1).contiguous()
    stack.load_state_dict(weights)
    torch.set_grad_enabled(False)
    return stack.eval()


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"peers: {' '.join(str(c) for c in command)}: exit {done.returncode}\n"
                 f"{done.stderr}")
    return done.stdout


def largest_error(peer):
    """max |output - expected| over the case, and what the rule of the vectors allows."""
    import numpy as np

    expected = np.load(CASE / "expected.npy")
    own = np.abs(np.load(CASE / "official_f32.npy") - expected).max()
    error = np.abs(peer.outputs(np.load(CASE / "input.npy")) - expected).max()
    allowed = max(4 * own, 2e-6 * np.abs(expected).max())
    return float(error), float(allowed)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def version(package):
    from importlib import metadata

    return metadata.version(package)


def over_blocks(blocks, key):
    values = [b[key] for b in blocks]
    return statistics.median(values), min(values), max(values)


def show(peers, results):
    ours = over_blocks(results[peers[0].name], "p50_us")[0]
    print(f"{'one step, README configuration':42} {'p50 µs':>9} {'(blocks)':>19} "
          f"{'p99 µs':>9} {'p50/ours':>9}")
    for peer in peers:
        p50, low, high = over_blocks(results[peer.name], "p50_us")
        p99 = over_blocks(results[peer.name], "p99_us")[0]
        spread = f"({low:.1f}–{high:.1f})"
        print(f"{peer.name:42} {p50:9.1f} {spread:>19} {p99:9.1f} {p50 / ours:9.1f}")
    limits = [b for b in results[peers[0].name] if b.get("limit_us") is not None]
    if limits:
        limit, ratio = over_blocks(limits, "limit_us")[0], over_blocks(limits, "limit_ratio")[0]
        print(f"{'our measured limit':42} {limit:9.1f} {'':19} {'':9}   limit_ratio {ratio:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=7, help="turns of each peer")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)),
                        help="the CPU that everything is pinned to")
    parser.add_argument("--xst", type=pathlib.Path, metavar="PROGRAM",
                        default=ROOT / "build" / "release" / "bin" / "xst",
                        help="our command line tool (default: the release build's)")
    parser.add_argument("--here", action="store_true", help="use the calling interpreter")
    arguments = parser.parse_args()
    if not arguments.xst.exists():
        sys.exit(f"peers: {arguments.xst}: expected a release build, got no such file")
    if not arguments.here:
        venv = str(ROOT / "tests" / "venv")
        os.execv(venv, [venv, __file__, *sys.argv[1:], "--here"])

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {arguments.core})
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        ours = XstStep(arguments.seconds, arguments.xst.resolve(), pathlib.Path(folder))
        peers = [ours, OfficialStep(arguments.seconds)]
        for peer in peers:
            error, allowed = largest_error(peer)
            print(f"{peer.name}: largest error on the case {error:.2e}, allowed {allowed:.2e}")
            if not error <= allowed:
                sys.exit(f"peers: {peer.name}: expected the outputs of the case, got others")
        results = {peer.name: [] for peer in peers}
        for _ in range(arguments.blocks):
            for peer in peers:
                results[peer.name].append(peer.block())
    print()
    show(peers, results)
    print(f"\n{cpu_name()}, CPU {arguments.core} of {os.cpu_count()}, Linux {platform.release()}; "
          f"Python {platform.python_version()}, xlstm {version('xlstm')}; "
          f"{arguments.blocks} blocks of {arguments.seconds:g} s each")
    if busy > 0.5:
        print(f"Not idle: the load average was {busy:.1f} at the start, which costs the slower "
              "peer more than the faster one.")


if __name__ == "__main__":
    main()
