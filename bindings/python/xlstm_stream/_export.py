"""export(): a live model into one file that is proven to compute the same."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _config
from ._core import Model, Session, check, pack, unpack
from ._errors import DataError, ExportError, Status

if TYPE_CHECKING:
    from ._modules import Source

DTYPES = ("f32", "i16", "bf16", "i8")


@dataclass(frozen=True)
class ExportReport:
    """What export() wrote, and how far the file is from the module."""

    path: pathlib.Path
    family: str
    dtype: str
    parameters: int
    file_bytes: int
    steps: int
    """of the probe"""
    error: float
    """largest difference between the module and the float64 reference reading the file, on the weights as they were;
    NaN for a state dict, which cannot be run"""
    largest: float
    """largest output"""
    bound: float
    """what `error` was allowed to be"""
    precision: str
    """what the module was run in: float64, a large one in its own type; empty for a state dict"""
    rounding: float
    """largest difference that rounding the weights to `dtype` makes to an output of the reference; 0 where it is none"""
    arch_hash: str
    source_hash: str
    file_hash: str
    remarks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        error = (f"error {self.error:.3g} of {self.largest:.3g} (bound {self.bound:.3g}, module in {self.precision}, "
                 f"{self.steps} steps)" if self.precision else "not run: a state dict")
        rounding = f", rounding to {self.dtype} {self.rounding:.3g}" if self.rounding else ""
        what = f"{self.family} {self.dtype}, {self.parameters} parameters, {self.file_bytes} bytes"
        return f"{self.path}: {what}; {error}{rounding}"


def export(
    module_or_state_dict: Any,
    path: str | os.PathLike[str],
    config: Any = None,
    stream: Any = None,
    dtype: str = "f32",
    probe: Any = None,
    *,
    forecast: Any = None,
) -> ExportReport:
    """Writes a model file from a live module, and leaves none that does not reproduce it.

    module_or_state_dict: an official xLSTMBlockStack, xLSTMLMModel, xLSTMLarge or TiRexZero; a torch.nn.Module around
    one xLSTMBlockStack with a linear encoder and head, found by type; or a state dict (then `config` is required and
    nothing can be run: only shapes and names are checked).
    config: instead of the module's own: a dict, a dataclass, YAML text or the path of a file.
    stream: the `stream:` section (inputs, outputs, rate), in any of these forms; required for a module around a stack.
    forecast: the `forecast:` section of a TiRex model.
    dtype: type of the stored weights: f32, i16, bf16 or i8.
    probe: the input that is run: (T, inputs) in raw units, (T, embedding_dim), (T,) token ids or, for TiRex, tokens
    (T, 2 patch) of values and mask. Default: 16 random steps.

    The module stays as it is: it is run as a float64 copy in eval mode on the CPU (from 2**26 parameters on itself, in
    its own type), step by step. Dropout counts for nothing, as in eval mode. The file carries the probe with the module's
    output, so that `xst verify` can repeat the proof on any device.

    Around a stack, layers without weights and any forward will do that give what the file gives: the head's rows or the
    outputs, of all steps or the last, alone or as the first of several.

    Raises ExportError, with the reason, for hooks, patched methods, parametrizations, layers that are not of the
    packages, weights that are not finite or not of the configuration's shapes, and a forward that does something else.
    What was at `path` is then still there.
    """
    if dtype not in DTYPES:
        raise ExportError(f"dtype: expected {', '.join(DTYPES)}, got {dtype!r}", Status.invalid_argument)
    target = pathlib.Path(os.fspath(path))
    given = None if config is None else _config.read("config", config)
    section = None if stream is None else _config.read_section("stream", stream)
    if section is None and given and isinstance(given.get("stream"), dict):
        section = given["stream"]
    when = None if forecast is None else _config.read_section("forecast", forecast)
    if isinstance(module_or_state_dict, Mapping):
        return _export_state_dict(module_or_state_dict, target, given, section, when, dtype, probe)
    import torch

    if not isinstance(module_or_state_dict, torch.nn.Module):
        raise ExportError(f"expected a torch.nn.Module or a state dict, got {type(module_or_state_dict).__name__}",
                          Status.invalid_argument)
    from ._modules import open_module

    source = open_module(module_or_state_dict, section, given and _config.family_of(given)[1])
    description = {"model": source.family, "config": source.fields}
    return _write(target, description, source.stream, when, source.tensors, dtype, probe, source)


def _export_state_dict(
    state: Mapping[str, Any], path: pathlib.Path, config: Any, stream: Any, forecast: Any, dtype: str, probe: Any
) -> ExportReport:
    import torch

    if config is None:
        raise ExportError("config: expected one with a state dict, got none", Status.invalid_config)
    family, fields = _config.family_of(config)
    tensors = {name: torch.as_tensor(value).detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    return _write(path, {"model": family, "config": fields}, stream, forecast, tensors, dtype, probe, None)


def _write(
    path: pathlib.Path,
    description: dict[str, Any],
    stream: dict[str, Any] | None,
    forecast: dict[str, Any] | None,
    tensors: dict[str, Any],
    dtype: str,
    probe: Any,
    source: Source | None,
) -> ExportReport:
    import yaml
    from safetensors.torch import save_file

    sections = {"stream": stream, "forecast": forecast}
    description = description | {key: value for key, value in sections.items() if value is not None}
    if os.path.isdir(path):
        raise ExportError(f"{path}: expected a file to write, got a folder", Status.io_error)
    if not os.path.isdir(path.parent):
        raise ExportError(f"{path}: expected a folder to write it to, got none", Status.not_found)
    with _scratch(path) as scratch:
        folder, made = scratch / "source" / (path.stem.strip(".") or "model"), scratch / "made.xst"
        folder.mkdir(parents=True)
        save_file(tensors, folder / "weights.safetensors")
        (folder / "config.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
        check(folder)  # first: a module of other shapes cannot be run
        x = None if source is None and probe is None else _probe(probe, source, stream)
        y = None if source is None else _run(source, x)
        lossless = "bf16" if all(str(t.dtype) == "torch.bfloat16" for t in tensors.values()) else "f32"
        remarks = pack(folder, made, dtype=lossless, probe=x, framework=None if y is None else y.astype(np.float32))
        proof = None if source is None or y is None else _prove(made, x, y, source, tensors)
        if source is not None and probe is not None:  # which may be one that shows little
            other = _probe(None, source, stream)
            _prove(made, other, _run(source, other), source, tensors)
        if dtype != lossless:
            remarks = pack(folder, made, dtype=dtype, probe=x, framework=None if y is None else y.astype(np.float32))
        rounded = dtype not in (lossless, "f32")
        report = _report(made, path, proof, source, rounded, [r.replace(f"{folder}/", "") for r in remarks])
        os.replace(made, path)
    return report


@contextlib.contextmanager
def _scratch(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside `path`. What packing refuses is what export() refuses, and the folder is nobody's business."""
    folder = ""
    try:
        with tempfile.TemporaryDirectory(prefix=".xst-export-", dir=path.parent) as folder:
            yield pathlib.Path(folder)
    except ExportError:
        raise
    except DataError as error:
        raise ExportError(re.sub(re.escape(folder) + r"/(source/[^/]*/)?", "", str(error)), error.status) from None
    except OSError as error:
        raise ExportError(f"{path}: expected to write it, got {error.strerror or error}", Status.io_error) from None


def _probe(given: Any, source: Source | None, stream: dict[str, Any] | None) -> np.ndarray:
    if given is None:
        assert source is not None
        return source.default_probe(np.random.default_rng(20260101))
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()
    wanted = "one axis of token ids" if source and source.family in ("lm", "large") else "[T, inputs]"
    try:
        array = np.asarray(given)
    except ValueError:
        raise ExportError(f"probe: expected {wanted}, got {type(given).__name__} of unequal rows",
                          Status.shape_mismatch) from None
    if source is not None and array.ndim == 1 and source.family not in ("lm", "large"):
        array = array[:, None]  # one channel
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "fiu":
        raise ExportError(f"probe: expected {wanted}, got {array.dtype} {list(array.shape)}", Status.shape_mismatch)
    if array.ndim == 1:
        if array.dtype.kind not in "iu":
            raise ExportError(f"probe: expected {wanted}, got {array.dtype}", Status.invalid_argument)
        return array.astype(np.int64)
    with np.errstate(over="ignore"):
        samples = array.astype(np.float32)
    if stream is None and not np.isfinite(samples).all():
        step, value = np.argwhere(~np.isfinite(samples))[0]
        raise ExportError(f"probe: expected finite values, got {array[step, value]} at step {step}, value {value}",
                          Status.invalid_argument)
    return samples


def _run(source: Source, x: Any) -> np.ndarray:
    """The module's own output. What a package raises for a probe of another width is its own business to explain."""
    try:
        return source.run(x)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"probe: expected {type(source.module).__name__} to run {list(x.shape)}, got "
                          f"{type(error).__name__}: {error}", Status.tensor_mismatch) from error


@dataclass(frozen=True)
class _Proof:
    error: float
    largest: float
    bound: float


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|: 0 where both are NaN, infinite where one is."""
    with np.errstate(invalid="ignore"):
        d = np.abs(a.astype(np.float64) - b)
    d[np.isnan(a) & np.isnan(b)] = 0
    d[np.isnan(a) != np.isnan(b)] = np.inf
    return np.where(np.isnan(d), np.inf, d)


def _reference(path: pathlib.Path, x: np.ndarray) -> np.ndarray:
    with Model(path, device="reference") as model, Session(model) as session:
        return session.forward(x)


def _prove(path: pathlib.Path, x: Any, y: np.ndarray, source: Source, tensors: dict[str, Any]) -> _Proof:
    """The float64 reference reading the file against the module."""
    expected = _reference(path, x)
    if expected.shape != y.shape:
        raise ExportError(f"probe: expected outputs {list(expected.shape)} of the module, got {list(y.shape)}",
                          Status.shape_mismatch)
    difference = _difference(expected, y)
    finite = np.abs(y[np.isfinite(y)])
    largest = float(finite.max()) if finite.size else 0.0
    bound, error = source.relative_bound() * largest, float(difference.max())
    if not error <= bound:
        step, value = np.unravel_index(int(difference.argmax()), difference.shape)
        raise ExportError(
            f"the file does not reproduce the module: expected outputs within {bound:.3g} (largest {largest:.3g}), got "
            f"a difference of {error:.3g} at step {step}, value {value}{_worst_tensor(path, tensors)}",
            Status.tensor_mismatch)
    return _Proof(error, largest, bound)


def _worst_tensor(path: pathlib.Path, tensors: dict[str, Any]) -> str:
    """Names the weight that the file holds least well, if one differs at all."""
    from safetensors.torch import load_file

    unpacked = path.with_suffix(".safetensors")
    unpack(path, unpacked)
    worst, name = 0.0, ""
    for key, stored in load_file(unpacked).items():
        own = tensors.get(key, tensors.get(f"backbone.{key}"))
        if own is None or own.shape != stored.shape:
            continue
        off = float((own.float() - stored).abs().max())
        if off > worst:
            worst, name = off, key
    return f"; worst tensor {name}, off by {worst:.3g}" if name else "; every stored weight is the module's"


def _report(
    made: pathlib.Path,
    path: pathlib.Path,
    proof: _Proof | None,
    source: Source | None,
    rounded: bool,
    remarks: list[str],
) -> ExportReport:
    rounding = 0.0
    if rounded:
        with Model(made, device="reference") as reference:
            rounding = reference.verify().error_full
    with Model(made, check_full=True) as model:
        verified = model.verify()
        if not verified.passed:
            raise ExportError(f"{path}: expected a probe error of at most {verified.bound:.3g} on {model.device}, got "
                              f"{verified.error:.3g}", Status.corrupt)
        return ExportReport(
            path=path,
            family=model.family,
            dtype=model.dtype,
            parameters=model.parameters,
            file_bytes=model.file_bytes,
            steps=verified.steps,
            error=proof.error if proof else float("nan"),
            largest=proof.largest if proof else verified.largest,
            bound=proof.bound if proof else float("nan"),
            precision=source.precision if source else "",
            rounding=rounding,
            arch_hash=model.arch_hash,
            source_hash=model.source_hash,
            file_hash=model.file_hash,
            remarks=remarks,
        )


def load_hf(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    dtype: str = "lossless",
    **options: Any,
) -> Model:
    """Packs a local Hugging Face folder of xLSTM Large (config.json and shards) and opens it.

    path: the model file to write, default `model.xst` in the folder. dtype: f32, i16, bf16, i8, or lossless: bf16 for
    a checkpoint of bf16 tensors, else f32. options: as of Model (device, isa, …). Raises DataError naming what is
    missing.
    """
    made = pathlib.Path(folder) / "model.xst" if path is None else pathlib.Path(path)
    pack(folder, made, dtype=dtype)
    return Model(made, **options)
