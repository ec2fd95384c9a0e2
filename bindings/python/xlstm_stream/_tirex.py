"""What of a TiRex model is not a layer: the tokenizer that scales and cuts a series, and the loop of its cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ._inspect import check_class, check_object, refuse, type_name

CELL = "tirex.models.slstm.cell.sLSTMCell"
LOOP = "tirex.models.slstm.cell.sLSTMCellTorch"


def check(module: Any, patch: int) -> None:
    """Refuses a tokenizer that does not scale and cut as a forecast does, and a cell with another loop."""
    check_object("tokenizer", module.tokenizer)
    _check_scaling(module.tokenizer, patch)
    for name, part in module.named_modules():
        if type_name(type(part)) == CELL:
            loop = _loop(part)
            if type_name(loop) != LOOP:
                raise refuse(name, LOOP, type_name(loop))
            check_class(loop, name)
            if getattr(part, "_impl_forward_torch", loop.slstm_forward) is not loop.slstm_forward:
                raise refuse(f"{name}._impl_forward_torch", f"{LOOP}.slstm_forward", repr(part._impl_forward_torch))


def _loop(cell: Any) -> Any:
    return vars(sys.modules[type(cell).__module__])["sLSTMCellTorch"]


def _check_scaling(tokenizer: Any, patch: int) -> None:
    """Runs it on series with gaps, a constant one and one of nothing."""
    import torch

    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((4, 4 * patch)) + 7
    x[1, :: 3] = np.nan
    x[2], x[3] = -2.5, np.nan
    there = np.isfinite(x)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    loc = np.where(there, x, 0).sum(1, keepdims=True) / count
    scale = np.sqrt((np.where(there, x - loc, 0) ** 2).sum(1, keepdims=True) / count)
    scale[3] = 1
    scale = np.where(scale == 0, np.abs(loc) + 1e-5, scale)
    rows = rng.standard_normal((4, 2, 4, patch))
    try:
        tokens, state = tokenizer.input_transform(torch.from_numpy(x))
        back = tokenizer.output_transform(torch.from_numpy(rows), state)
        got = [tokens.numpy(), back.numpy()]
    except Exception as error:  # whatever a replaced part may raise
        raise refuse("tokenizer", f"patches of {patch} samples", f"{type(error).__name__}: {error}") from error
    expected = [((x - loc) / scale).reshape(4, 4, patch), rows.reshape(4, 2, -1) * scale[..., None] + loc[..., None]]
    for what, mine, its in zip(("input_transform", "output_transform"), expected, got):
        if mine.shape != its.shape or not np.allclose(mine, its, rtol=1e-9, atol=1e-9, equal_nan=True):
            raise refuse(f"tokenizer.{what}", "values over mean and standard deviation of the series, in patches",
                         f"another result of shape {list(its.shape)}")


def unrounded(cell: Any) -> Callable[[Any, Any], Any]:
    """The cell's loop around its own pointwise function, without the rounding of each step to bfloat16."""
    import torch

    def run(x: Any, state: Any) -> Any:
        heads, gates, width = cell.config.num_heads, cell.config.num_gates, cell.config.head_dim
        bias = cell._bias_.reshape(heads, gates, width).transpose(0, 1).reshape(-1)
        states, outputs = list(state.unbind(0)), []
        for now in x.reshape(x.shape[0], x.shape[1], -1):
            y = states[0].reshape(-1, heads, 1, width)
            recurrent = (y @ cell._recurrent_kernel_).reshape(-1, heads, gates, width).transpose(1, 2)
            states = _loop(cell).slstm_forward_pointwise(now, recurrent.reshape(len(now), -1), bias, states)
            outputs.append(states[0])
        return torch.stack(outputs), torch.stack(states)

    return run
