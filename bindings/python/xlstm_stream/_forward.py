"""A module's whole-sequence forward against its steps."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from ._errors import ExportError, Status

# Of the largest output. The package's whole-sequence pass adds its epsilon elsewhere than its step does.
BOUNDS = {"float64": 1e-5, "float32": 1e-3}
LOOSEST = 5e-2  # of shorter types


class Difference(NamedTuple):
    worst: float
    largest: float
    step: int
    row: int

    def __str__(self) -> str:
        return f"{self.worst:.3g} (largest {self.largest:.3g}) at step {self.step}, row {self.row}"


class Mismatch(Exception):
    """An output of neither all steps nor the last."""


def call(root: Any, x: Any) -> tuple[np.ndarray, str]:
    """(the first tensor of what forward returns, the type that it was computed in): float32 where the module makes
    float32 tensors of its own."""
    import torch

    kind = x.dtype if x.is_floating_point() else next(root.parameters()).dtype
    try:
        got = root(x)
    except RuntimeError:
        if x.dtype != torch.float64:
            raise
        got, kind = copy.deepcopy(root).float()(x.float()), torch.float32
    parts = got.values() if isinstance(got, dict) else got if isinstance(got, (tuple, list)) else (got,)
    first = next((part for part in parts if isinstance(part, torch.Tensor)), None)
    if first is None:
        raise TypeError(f"expected forward to return a tensor, got {type(got).__name__}")
    return first.double().cpu().numpy(), str(kind).removeprefix("torch.")


def difference(got: np.ndarray, kind: str, expected: np.ndarray) -> Difference | None:
    """None if `got` agrees with the outputs of all steps, or of the last; otherwise by how much it does not."""
    if got.size not in (expected.size, expected.shape[1]):
        raise Mismatch(f"an output of {got.size} values")
    wanted = expected if got.size == expected.size else expected[-1:]
    defined = np.isfinite(wanted)  # a surprise need not be
    if not defined.any():
        raise Mismatch("no output that is finite")
    off = np.where(defined, np.abs(got.reshape(wanted.shape) - np.where(defined, wanted, 0)), 0)
    off[np.isnan(off)] = np.inf
    largest = float(np.abs(wanted[defined]).max())
    if off.max() <= BOUNDS.get(kind, LOOSEST) * largest:
        return None
    step, row = np.unravel_index(int(off.argmax()), off.shape)
    return Difference(float(off.max()), largest, int(step) + len(expected) - len(wanted), int(row))


def longest(stack_config: Any, steps: int) -> int:
    """Steps that one pass takes: the package's mask of an mLSTM is only that long."""
    return steps if stack_config.mlstm_block is None else min(steps, stack_config.context_length)


def compare_with_steps(module: Any, x: Any, y: np.ndarray) -> None:
    """Refuses an official module whose forward of x [T] or [T, width] does not give y [T, rows] of its steps."""
    steps = longest(module.config, len(y))
    if any(getattr(part, "pad", None) == 0 for part in module.modules()):
        return  # the package's forward of a convolution over one sample gives nothing at all
    try:
        got, kind = call(module, x[:steps][None])
        off = difference(got, kind, y[:steps])
    except Exception as error:  # whatever a replaced part may raise
        raise ExportError(f"forward: expected it to take [1, {', '.join(map(str, x[:steps].shape))}] and give "
                          f"{list(y[:steps].shape)} as step does, got {type(error).__name__}: {error}",
                          Status.tensor_mismatch) from error
    if off is not None:
        raise ExportError(f"forward: expected the outputs of step, got some that differ from these by {off}",
                          Status.tensor_mismatch)
