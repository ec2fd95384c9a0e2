"""A caller's module around a block stack: its parts, and whether its forward is what the file will compute."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _stream
from ._errors import ExportError, Status
from ._inspect import check_layers, refuse, type_name

if TYPE_CHECKING:
    from ._modules import WrappedSource

FORWARD_BOUND = 1e-3  # of the largest output: the package's whole-sequence pass is less exact than its step


def take_apart(root: Any, stack: Any, stream: dict[str, Any]) -> tuple[Any, Any]:
    """(encoder, head), each a Linear or None where the stream section says so."""
    import torch

    own = frozenset(id(m) for m in _around(root, stack) if not type(m).__module__.startswith("torch."))
    # Another whole-sequence mLSTM, say a faster one, is no part of a step; _compare_forward has it agree with one.
    check_layers(root, own, frozenset({"backend_fn"}) if root is not stack else frozenset())
    inside = {id(m) for m in stack.modules()}
    linears = [(n, m) for n, m in root.named_modules() if id(m) not in inside and isinstance(m, torch.nn.Linear)]
    held = inside | {id(m) for _, m in linears}
    for name, module in root.named_modules():
        if id(module) not in held and list(module.parameters(recurse=False)):
            raise refuse(name, "weights only in linear maps and the xLSTMBlockStack",
                         f"weights of {type_name(type(module))}")
    wanted = [key for key in ("encoder", "head") if stream.get(key, "linear") == "linear"]
    if len(linears) != len(wanted):
        raise refuse("", f"{len(wanted)} linear maps around the xLSTMBlockStack ({', '.join(wanted) or 'none'})",
                     f"{len(linears)}: {', '.join(n for n, _ in linears) or 'none'}")
    widths = _widths(stack, stream)
    orders = [linears, linears[::-1]] if len(linears) == 2 else [linears]
    fitting = [order for order in orders if all(_shape(m) == widths[key] for key, (_, m) in zip(wanted, order))]
    if not fitting:
        described = ", ".join(f"{n} {_shape(m)}" for n, m in linears)
        raise refuse("", "linear maps of " + ", ".join(f"{key} {widths[key]}" for key in wanted), described)
    order = fitting[0] if len(fitting) == 1 else _in_forward_order(root, linears, stack, widths)
    parts = dict(zip(wanted, (module for _, module in order)))
    return parts.get("encoder"), parts.get("head")


def _around(root: Any, stack: Any) -> Iterator[Any]:
    inside = {id(m) for m in stack.modules()}
    return (m for m in root.modules() if id(m) not in inside and type(m).__name__ != "Linear")


def _shape(linear: Any) -> tuple[int, int]:
    return linear.in_features, linear.out_features


def _widths(stack: Any, stream: dict[str, Any]) -> dict[str, tuple[int, int]]:
    dim = stack.config.embedding_dim
    return {"encoder": (len(stream["inputs"]), dim), "head": (dim, _stream.head_rows(stream))}


def _in_forward_order(root: Any, linears: list[Any], stack: Any, widths: dict[str, tuple[int, int]]) -> list[Any]:
    """Where both maps have one shape, the one that forward calls first is the encoder."""
    import torch

    from ._modules import evaluated

    called: list[int] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: called.append(id(m))) for _, m in linears]
    try:
        with torch.no_grad(), evaluated(root):
            like = next(stack.parameters())
            root(torch.zeros(1, 1, widths["encoder"][0], dtype=like.dtype, device=like.device))
    except Exception:
        called.clear()
    finally:
        for hook in hooks:
            hook.remove()
    if len(called) != 2:
        raise refuse("", "a forward of [1, T, inputs] that calls either linear map once", "another")
    return sorted(linears, key=lambda item: called.index(id(item[1])))


def run(source: WrappedSource, probe: np.ndarray) -> np.ndarray:
    """The values of a probe [T, inputs] in raw units, once the module's own forward has been found to agree."""
    import torch

    from ._modules import evaluated

    stream = source.stream
    assert stream is not None
    z, missing = _stream.normalise(stream, probe)
    root, stack, encoder, head = _copy(source)
    with torch.no_grad(), evaluated(root):
        like = next(stack.parameters())
        to = {"dtype": like.dtype, "device": like.device}
        e = torch.from_numpy(z).to(**to)
        rows, state = [], None
        for now in encoder(e) if encoder is not None else e:
            y, state = stack.step(now[None, None], state)
            rows.append((head(y) if head is not None else y)[0, 0])
        r = torch.stack(rows).double().cpu().numpy()
        y = _stream.values(stream, r, z, missing)
        if root is not stack:
            _compare_forward(root, stack, [z, probe.astype(np.float64)], r, y, missing.any(1), to)
    return y


def _copy(source: WrappedSource) -> tuple[Any, Any, Any, Any]:
    """root, stack, encoder, head in float64 on the CPU; the module itself, where it is too large for that."""
    from ._modules import double_copy

    parts = [source.root, source.module, source.encoder, source.head]
    if not source.exact:
        return tuple(parts)  # type: ignore[return-value]
    names = {id(m): name for name, m in source.root.named_modules()}
    made = dict(double_copy(source.root).named_modules())
    return tuple(None if part is None else made[names[id(part)]] for part in parts)  # type: ignore[return-value]


def _compare_forward(
    root: Any,
    stack: Any,
    inputs: list[np.ndarray],
    r: np.ndarray,
    y: np.ndarray,
    missing: np.ndarray,
    to: dict[str, Any],
) -> None:
    """Refuses a forward that gives neither the head's rows nor the outputs, of all steps or of the last, whether it
    takes normalised or raw samples."""
    steps = int(np.argmax(missing)) if missing.any() else len(r)
    if stack.config.mlstm_block is not None:  # the package's mask is only that long
        steps = min(steps, stack.config.context_length)
    if steps < 1:
        return
    first, why = None, ""
    for x in inputs:
        for shape in ((1, steps, -1), (1, steps)) if x.shape[1] == 1 else ((1, steps, -1),):
            try:
                got = _forward(root, x[:steps].reshape(shape), to)
            except Exception as error:  # whatever a caller's forward may raise
                why = why or f"{type(error).__name__}: {error}"
                continue
            for expected in (r[:steps], y[:steps]):
                whole = got.size == expected.size
                if not whole and got.size != expected.shape[1]:
                    continue
                wanted = expected if whole else expected[-1:]
                defined = np.isfinite(wanted)  # a surprise need not be
                if not defined.any():
                    continue
                difference = np.where(defined, np.abs(got.reshape(wanted.shape) - wanted), 0)
                difference[np.isnan(difference)] = np.inf
                largest = np.abs(wanted[defined]).max()
                if difference.max() <= FORWARD_BOUND * largest:
                    return
                where = np.unravel_index(difference.argmax(), difference.shape)
                first = first or (where, difference.max(), largest)
            why = why or f"an output of {got.size} values"
    if first is None:
        raise ExportError(f"forward: expected it to take [1, {steps}, {inputs[0].shape[1]}] and give "
                          f"[1, {steps}, {r.shape[1]}], got {why}", Status.tensor_mismatch)
    (step, row), worst, largest = first
    raise ExportError(f"forward: expected encoder, xLSTMBlockStack, head and nothing else, got outputs that differ "
                      f"from these by {worst:.3g} (largest {largest:.3g}) at step {step}, row {row}", Status.tensor_mismatch)


def _forward(root: Any, x: np.ndarray, to: dict[str, Any]) -> np.ndarray:
    """One call, in float32 where the module makes float32 tensors of its own."""
    import torch

    tensor = torch.from_numpy(x).to(**to)
    try:
        got = root(tensor)
    except RuntimeError:
        got = copy.deepcopy(root).float()(tensor.float())
    if not isinstance(got, torch.Tensor):
        raise TypeError(f"expected forward to return a tensor, got {type(got).__name__}")
    return got.double().cpu().numpy()
