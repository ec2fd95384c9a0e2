"""What gpu.py times: cases, each a line of its table, and the vector that each must reproduce."""

import statistics

WIDTH = 128  # of the README configuration
FORWARD_STEPS = 256


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


class Case:
    """A line of the table. `steps` of each of `streams` are taken by one call."""

    patience = 1  # times the tolerance of the conformance case

    def __init__(self, group, name, streams, steps=1):
        self.group, self.name, self.streams, self.steps = group, name, streams, steps
        self.blocks, self.error, self.allowed = [], None, None

    def median(self, key):
        values = [b[key] for b in self.blocks if b.get(key) is not None]
        return statistics.median(values) if values else None

    def figures(self):
        p50, device = self.median("p50_us"), self.median("device_us")
        rate = self.median("stream_steps_per_s")
        if rate is None and p50 is not None:
            rate = self.streams * self.steps / min(device or p50, p50) * 1e6
        return {"group": self.group, "name": self.name, "streams": self.streams,
                "steps": self.steps, "p50_us": p50, "p99_us": self.median("p99_us"),
                "device_us": device, "per_s": rate, "error": self.error, "allowed": self.allowed}

    def check(self, case):
        """Compares outputs with the conformance case, if the case makes comparable ones."""
        outputs = self.outputs(case)
        if outputs is None:
            return
        self.error = case.error(outputs)
        self.allowed = self.patience * (case.allowed + (self.steps > 1) * case.forward_error)
        if not self.error <= self.allowed:
            raise WrongOutput(f"largest error {self.error:.2e}, allowed {self.allowed:.2e}")

    def outputs(self, case):
        """(T, B, D) of the case's inputs, or None."""

    def prepare(self):
        """Builds and warms up what the case needs."""


class WrongOutput(Exception):
    pass


class Conformance:
    """A folder of tests/vectors: config, weights, input and expected output."""

    def __init__(self, folder):
        import numpy as np
        import yaml

        self.folder, self.np = folder, np
        self.config = yaml.safe_load((folder / "config.yaml").read_text())["config"]
        self.input = np.load(folder / "input.npy")
        self.expected = np.load(folder / "expected.npy")
        own = np.abs(np.load(folder / "official_f32.npy") - self.expected).max()
        self.allowed = float(max(4 * own, 2e-6 * np.abs(self.expected).max()))
        self.forward_error = self.error(np.load(folder / "forward_f32.npy"))

    def error(self, outputs):
        return float(self.np.abs(outputs - self.expected).max())
