#!/usr/bin/env python3
"""Times the README configuration on one GPU: ours, the official package and cuDNN, in one run.

    tests/bench/gpu.py --bin build/release/bin [--rounds N] [--seconds S] [--json FILE]

Needs torch with CUDA, xlstm, dacite, omegaconf, safetensors, numpy and yaml in the calling
interpreter, and nothing from a network. All arithmetic is float32 with TF32 off. The cases take
turns in rounds; a figure is the median over the rounds. Inputs are random with a fixed seed, states
are carried from step to step, everything is warmed up. Three clocks:

    p50, p99   host clock around one call that has been waited for. Ours starts and ends in host
               memory; the inputs and outputs of the peers stay on the device, in their favour
    device     a call on the device alone: events around calls queued back to back, for ours the
               gpu_bench beside xst
    per s      streams x steps: of ours by the host's clock, of the peers by the shorter of both

Before it is timed a case must give the outputs of the conformance case: ours within its tolerance,
a peer within 100 times that. A peer that cannot run is reported and left out; if one of ours
cannot, or any output is wrong, the exit status is 1.
"""

import argparse
import json
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time

from gpu_case import FORWARD_STEPS, Case, Conformance

ROOT = pathlib.Path(__file__).resolve().parents[2]
STREAMS = (1, 16, 64, 256, 1024, 4096)
EAGER_STREAMS = (1, 4096)
FORWARD_STREAMS = (1, 64)
LARGE_SECONDS = 90


class XstBench(Case):
    """`xst bench`, host to host: steps, or forward calls of several steps; beside it, where it was
    built, gpu_bench, which knows the time on the device."""

    def __init__(self, folder, model, device, streams, seconds, steps=1, options=()):
        group = "forward" if steps > 1 else "step"
        super().__init__(group, " ".join([f"xst {group}, {device}", *options]), streams, steps)
        self.program, self.on_device = folder / "xst", folder / "gpu_bench"
        self.model, self.device, self.seconds = model, device, seconds
        self.options, self.calls = list(options), None

    def call_options(self):
        forward = ["--forward", self.steps] if self.steps > 1 else []
        return ["--streams", self.streams, *forward]

    def run(self, *arguments):
        return json.loads(command([self.program, "bench", self.model, "--device", self.device,
                                   *self.options, *self.call_options(), *arguments, "--json"]))

    def prepare(self):
        p50 = self.run("--steps", 20)["p50_us"]
        self.calls = max(20 if self.steps > 1 else 100,
                         min(100_000, int(self.seconds * 1e6 / p50)))

    def block(self):
        figures = self.run("--steps", self.calls)
        if self.on_device.exists() and self.device.startswith("cuda:") and not self.options:
            figures["device_us"] = json.loads(command(
                [self.on_device, self.model, *self.call_options(),
                 "--device", self.device.removeprefix("cuda:")]))["p50_us"]
        return figures

    def outputs(self, case):
        if self.streams != 1 or self.options:  # `xst run` has no such options
            return None
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "y.npy"
            command([self.program, "run", self.model, "--input", case.folder / "input.npy",
                     "--output", output, "--device", self.device,
                     *(["--mode", "forward"] if self.steps > 1 else [])])
            return case.np.load(output)


def has_option(program, option):
    """Whether this build's `xst bench` knows it."""
    return option in command([program, "bench", "--help"])


def large_rows(words, notes):
    """The lines of a program that prints one JSON object a line: name (ours: `xst …`), p50_us of a
    call and, where known, p99_us, device_us, streams and steps (1: decode; the tokens of a
    prefill). Those it printed before it failed count."""
    rows = []
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LARGE_SECONDS,
                              check=False)
        output, failure = done.stdout, done.returncode and f"exit {done.returncode}"
        if failure and done.stderr.strip():
            failure += ": " + done.stderr.strip().splitlines()[-1]
    except subprocess.TimeoutExpired as e:
        output, failure = (e.stdout or b"").decode(), f"not done in {LARGE_SECONDS} s"
    if failure:
        notes.append(f"{' '.join(words)}: {failure}")
    for line in output.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            case = Case("large", row["name"], row.get("streams", 1), row.get("steps", 1))
            case.blocks.append(row)
            rows.append(case)
    return rows


def command(words):
    words = [str(w) for w in words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        message = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {message}")
    return done.stdout


def our_cases(arguments, folder):
    if arguments.bin is None:
        return []
    programs = arguments.bin.resolve()
    model = folder / "model.xst"
    command([programs / "xst", "pack", arguments.model, "-o", model])
    common = (programs, model, arguments.device)
    cases = [XstBench(*common, n, arguments.seconds) for n in arguments.streams]
    if (has_option(programs / "xst", "--resident") and 1 in arguments.streams
            and arguments.device.startswith("cuda:")):
        cases.append(XstBench(*common, 1, arguments.seconds, options=["--resident"]))
    if has_option(programs / "xst", "--forward"):
        cases += [XstBench(*common, n, arguments.seconds, FORWARD_STEPS)
                  for n in arguments.forward_streams]
    return cases


def attempt(case, what, notes):
    """Whether what() went well; if not, a note says why."""
    try:
        what()
        return True
    except Exception as e:  # noqa: BLE001: a peer may fail in any way, the others go on
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        notes.append(f"{case.name}, {case.streams} streams: {reason}")
        return False


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows):
    """Markdown; a ratio is of the p50, to ours of the same streams and steps."""
    ours = {(r["group"], r["streams"], r["steps"]): r["p50_us"]
            for r in reversed(rows) if r["name"].startswith("xst ")}
    lines = ["| what | streams | steps a call | p50 µs | p99 µs | device µs | stream-steps/s | "
             "p50 / ours |", "|---|---|---|---|---|---|---|---|"]
    for r in sorted(rows, key=lambda r: (("step", "forward", "large").index(r["group"]),
                                         r["streams"])):
        own = ours.get((r["group"], r["streams"], r["steps"]))
        ratio = r["p50_us"] / own if own else None
        lines.append(f"| {r['name']} | {r['streams']} | {r['steps']} | {number(r['p50_us'])} | "
                     f"{number(r['p99_us'])} | {number(r['device_us'])} | {number(r['per_s'])} | "
                     f"{number(ratio)} |")
    return "\n".join(lines)


def machine(arguments):
    parts = [f"Linux {platform.release()}", f"Python {platform.python_version()}"]
    if not arguments.ours_only:
        import torch
        from importlib import metadata

        parts += [f"torch {torch.__version__}", f"xlstm {metadata.version('xlstm')}"]
        if torch.cuda.is_available():
            parts.insert(0, torch.cuda.get_device_name())
            parts.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    return ", ".join(parts)


def parse():
    numbers = {"nargs": "*", "type": int, "metavar": "N"}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, help="folder with xst; without it only peers")
    parser.add_argument("--model", type=pathlib.Path, help="folder of a conformance case",
                        default=ROOT / "tests" / "vectors" / "block_stack" / "readme_config")
    parser.add_argument("--device", default="cuda:0", help="of xst")
    parser.add_argument("--torch-device", default="cuda:0", help="cpu: a rehearsal, no graphs")
    parser.add_argument("--ours-only", action="store_true", help="no peers, no torch")
    parser.add_argument("--large", metavar="COMMAND",
                        help="prints our figures of xLSTM Large, one JSON object a line")
    parser.add_argument("--official-large", action="store_true",
                        help="the official 7B too: 14 GB of random weights, about 20 s")
    parser.add_argument("--streams", default=STREAMS, **numbers)
    parser.add_argument("--eager-streams", default=EAGER_STREAMS, **numbers)
    parser.add_argument("--forward-streams", default=FORWARD_STREAMS, **numbers)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one case in one round")
    parser.add_argument("--compile-seconds", type=int, default=75,
                        help="patience with the official CUDA cell")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse()
    case = Conformance(arguments.model)
    start, notes, wrong, cases = time.monotonic(), [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        mine = our_cases(arguments, pathlib.Path(folder))
        peers = []
        if not arguments.ours_only:
            try:
                from gpu_peers import torch_cases

                peers = torch_cases(arguments, case, notes)
            except Exception as e:  # noqa: BLE001: then ours alone is measured
                notes.append(f"no peers: {type(e).__name__}: {e}")
        for c in mine + peers:
            if attempt(c, c.prepare, notes) and attempt(c, lambda c=c: c.check(case), notes):
                cases.append(c)
            elif c in mine or c.error is not None:
                wrong += 1
        for _ in range(arguments.rounds):
            for c in list(cases):
                if not attempt(c, lambda c=c: c.blocks.append(c.block()), notes):
                    cases.remove(c)
                    wrong += c in mine
    if arguments.large:
        cases += large_rows(shlex.split(arguments.large), notes)
    if arguments.official_large:
        peers = pathlib.Path(__file__).with_name("gpu_peers.py")
        cases += large_rows([sys.executable, str(peers), "large"], notes)
    rows = [c.figures() for c in cases]
    print(table(rows))
    print(f"\n{machine(arguments)}; {arguments.rounds} rounds of {arguments.seconds:g} s a case, "
          f"{time.monotonic() - start:.0f} s in all")
    for note in notes:
        print(f"note: {note}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(arguments), "rows": rows,
                                              "notes": notes}, indent=1) + "\n")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
