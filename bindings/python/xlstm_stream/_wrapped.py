"""A caller's module around a block stack: its parts, and whether its forward is what the file will compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _forward, _stream
from ._errors import ExportError, Status
from ._inspect import check_layers, refuse, type_name

if TYPE_CHECKING:
    from ._modules import WrappedSource


def take_apart(root: Any, stack: Any, stream: dict[str, Any]) -> tuple[Any, Any]:
    """(encoder, head), each a Linear or None where the stream section says so."""
    import torch

    inside = frozenset(id(m) for m in stack.modules())
    # Another whole-sequence mLSTM, say a faster one, is no part of a step; _compare_forward has it agree with one.
    check_layers(root, inside, frozenset({"backend_fn"}) if root is not stack else frozenset())
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
        _compare_forward(root, stack, [z, _stream.raw(stream, z)], r, y, to)
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
    root: Any, stack: Any, inputs: list[np.ndarray], r: np.ndarray, y: np.ndarray, to: dict[str, Any]
) -> None:
    """Refuses a forward that gives neither the head's rows nor the outputs, of all steps or of the last, whether it
    takes normalised or raw samples. Where values were missing, all of these are of what was put in their place."""
    import torch

    steps = _forward.longest(stack.config, len(r))
    first, why = None, ""
    for x in inputs:
        for shape in ((1, steps, -1), (1, steps)) if x.shape[1] == 1 else ((1, steps, -1),):
            try:
                got, kind = _forward.call(root, torch.from_numpy(x[:steps].reshape(shape)).to(**to))
            except Exception as error:  # whatever a caller's forward may raise
                why = why or f"{type(error).__name__}: {error}"
                continue
            for expected in (r[:steps], y[:steps]):
                try:
                    off = _forward.difference(got, kind, expected)
                except _forward.Mismatch as error:
                    why = why or str(error)
                    continue
                if off is None:
                    return
                first = first or off
    if first is None:
        raise ExportError(f"forward: expected it to take [1, {steps}, {inputs[0].shape[1]}] and give "
                          f"[1, {steps}, {r.shape[1]}], got {why}", Status.tensor_mismatch)
    raise ExportError("forward: expected encoder, xLSTMBlockStack, head and nothing else, got outputs that differ from "
                      f"these by {first}", Status.tensor_mismatch)
