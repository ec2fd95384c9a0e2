"""The `stream:` wrapper around a block stack in NumPy float64: what export() checks a file against.

z = (x - mean) / std goes into the model, rows of the head come out, and each output makes its values of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import ExportError, Status

LARGEST_INPUT = np.float32(1e30)
ROWS = {"value": 1, "gaussian": 2, "surprise": 0, "sigmoid": 1, "raw": 1}
LOG_VARIANCE = (-12.0, 4.0)


def _kind(output: dict[str, Any]) -> str:
    found = [kind for kind in (*ROWS, "softmax") if kind in output]
    if len(found) != 1:
        raise ExportError(
            f"stream: outputs: expected one of {', '.join(ROWS)}, softmax in each, got {output!r}",
            Status.invalid_config,
        )
    return found[0]


def check(stream: dict[str, Any]) -> None:
    """Refuses a section that does not name channels; everything else about it is the packer's to refuse."""
    inputs, outputs = stream.get("inputs"), stream.get("outputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(i, dict) and "name" in i for i in inputs):
        raise ExportError(f"stream: inputs: expected a list of at least one map with a name, got {inputs!r}",
                          Status.invalid_config)
    if outputs is not None and not (isinstance(outputs, list) and all(isinstance(o, dict) for o in outputs)):
        raise ExportError(f"stream: outputs: expected a list of maps, got {outputs!r}", Status.invalid_config)
    for output in outputs or []:
        if _kind(output) == "softmax" and not isinstance(output["softmax"], list):
            raise ExportError(f"stream: outputs: softmax: expected a list of names, got {output['softmax']!r}",
                              Status.invalid_config)


def head_rows(stream: dict[str, Any]) -> int:
    """Rows of the head that the outputs take."""
    kinds = [(_kind(output), output) for output in stream.get("outputs") or []]
    return sum(len(o["softmax"]) if kind == "softmax" else ROWS[kind] for kind, o in kinds)


def _scales(stream: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    inputs = stream["inputs"]
    mean = np.array([float(i.get("mean", 0)) for i in inputs])
    return mean, np.array([float(i.get("std", 1)) for i in inputs])


def raw(stream: dict[str, Any], z: np.ndarray) -> np.ndarray:
    """Samples whose normalised values are z."""
    mean, std = _scales(stream)
    return z * std + mean


def normalise(stream: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [T, inputs] raw -> z [T, inputs] with missing values replaced, and where they were missing."""
    mean, std = _scales(stream)
    missing = ~(np.abs(x) <= LARGEST_INPUT)
    z = (x.astype(np.float64) - mean) / std
    for i, channel in enumerate(stream["inputs"]):
        policy, last = channel.get("missing", "hold"), 0.0
        for t in np.flatnonzero(missing[:, i]) if missing[:, i].any() else ():
            if policy == "hold":
                earlier = np.flatnonzero(~missing[:t, i])
                last = z[earlier[-1], i] if len(earlier) else 0.0
            z[t, i] = last if policy == "hold" else 0.0
    return z, missing


def values(stream: dict[str, Any], r: np.ndarray, z: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """r [T, rows] of the head -> y [T, values], in the order of `outputs`."""
    mean, std = _scales(stream)
    names = [channel["name"] for channel in stream["inputs"]]
    columns: list[np.ndarray] = []
    gaussians: dict[str, tuple[np.ndarray, np.ndarray, int, int]] = {}
    row = 0
    for output in stream.get("outputs") or []:
        kind = _kind(output)
        if kind == "surprise":
            columns.append(_surprise(*gaussians[output["of"]], z, missing))
            continue
        if kind == "softmax":
            taken = r[:, row : row + len(output["softmax"])]
            e = np.exp(taken - taken.max(1, keepdims=True))
            columns += list((e / e.sum(1, keepdims=True)).T)
            row += taken.shape[1]
            continue
        first = r[:, row]
        if kind == "sigmoid":
            columns.append(1 / (1 + np.exp(-first)))
        elif kind == "raw":
            columns.append(first)
        else:
            of = names.index(output["of"]) if output.get("of") is not None else -1
            mu = first + z[:, of] if output.get("residual") else first
            scale, shift = (std[of], mean[of]) if of >= 0 else (1.0, 0.0)
            columns.append(mu * scale + shift)
            if kind == "gaussian":
                s = np.clip(r[:, row + 1], *LOG_VARIANCE)
                columns.append(np.exp(s / 2) * scale)
                gaussians[output["gaussian"]] = (mu, s, of, int(output.get("horizon", 1)))
        row += ROWS[kind]
    return np.stack(columns, 1) if columns else r


def _surprise(
    mu: np.ndarray, s: np.ndarray, of: int, horizon: int, z: np.ndarray, missing: np.ndarray
) -> np.ndarray:
    """-log density of each sample under what was predicted `horizon` samples before."""
    out = np.full(len(z), np.nan)
    if horizon < len(z):
        then, now = slice(None, -horizon), slice(horizon, None)
        error = z[now, of] - mu[then]
        density = 0.5 * (np.log(2 * np.pi) + s[then] + error**2 / np.exp(s[then]))
        out[now] = np.where(missing[now, of], np.nan, density)
    return out
