"""Whether a module computes what its official classes say: no hooks, no patches, no foreign layers."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import types
from typing import Any

from ._errors import ExportError, Status

# Packages whose layers are known, and the PyTorch layers that their models and a wrapper may hold.
OFFICIAL = ("xlstm", "mlstm_kernels", "tirex")
TORCH_LAYERS = {
    "Linear", "Embedding", "Identity", "Dropout", "SiLU", "Sigmoid", "Conv1d", "ModuleList", "ModuleDict", "Sequential",
}
# What may not even be another function of the package: attribute, and what its function may be called.
_CALLS = ("__call__", "_call_impl", "_wrapped_call_impl")
METHODS = {"forward": ("forward", "_forward_unimplemented"), "step": ("step",), **{name: _CALLS for name in _CALLS}}
# What dataclasses compile from text.
GENERATED = {
    "__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__", "__setattr__", "__delattr__",
    "__replace__",
}
# Attributes of a class that come with it and run nothing.
SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)


def refuse(name: str, expected: str, got: str) -> ExportError:
    return ExportError(f"{name or 'module'}: expected {expected}, got {got}", Status.tensor_mismatch)


def type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def package_of(kind: Any) -> str:
    return (getattr(kind, "__module__", None) or "").partition(".")[0]


def _folders(package: str) -> list[str]:
    paths = getattr(sys.modules.get(package), "__path__", [])  # several of a namespace package
    return [os.path.realpath(path) + os.sep for path in paths]


def _is_of(code: types.CodeType, *packages: str) -> bool:
    file = os.path.realpath(code.co_filename)
    return any(file.startswith(folder) for package in packages for folder in _folders(package))


def _chain(function: Any) -> list[Any]:
    """A function and, where decorators say it, what it wraps, innermost last."""
    found = [function]
    while (inner := getattr(found[-1], "__wrapped__", None)) is not None and inner not in found:
        found.append(inner)
    return found


def _comes_from(function: Any, *packages: str) -> bool:
    """Whether a plain function and all that it wraps are of these packages; contextlib makes decorators for them."""
    chain = _chain(function)
    codes = [part.__code__ for part in chain if isinstance(getattr(part, "__code__", None), types.CodeType)]
    if len(codes) != len(chain):
        return False
    decorators = (contextlib.contextmanager.__code__.co_filename,)
    return _is_of(codes[-1], *packages) and all(
        _is_of(code, *packages, "torch") or code.co_filename in decorators for code in codes[:-1])


def _where(function: Any) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{name} of {code.co_filename}:{code.co_firstlineno}" if code else name


def check_layers(root: Any, inside: frozenset[int] | None = None, judged: frozenset[str] = frozenset()) -> None:
    """Refuses, with the reason, what forward would do beyond its official classes. What the caller judges by its outputs
    instead: layers that are not `inside` (ids; default: all are) and that are a user's own or PyTorch's without
    parameters; `judged`, names of functions of a cell."""
    import torch

    hooks = torch.nn.modules.module
    for kind in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        if getattr(hooks, kind, None):
            raise refuse("torch.nn.Module", "no global forward hooks", "some")
    for name, module in root.named_modules():
        around = inside is not None and id(module) not in inside
        own = around and not type(module).__module__.startswith("torch.")
        _check_hooks(name, module)
        if not own:
            _check_type(name, module, around)
            check_class(type(module), name)
        _check_instance(name, module, own, judged)


def check_wrapper(module: Any, own: frozenset[str] = frozenset()) -> None:
    """The same for what is peeled off a module; `own`: methods that it replaces itself."""
    _check_hooks("", module)
    check_class(type(module), "")
    _check_instance("", module, False, frozenset(), own)


def check_object(name: str, thing: Any) -> None:
    """The same for what a module holds beside its layers, and for what that holds."""
    if package_of(type(thing)) not in OFFICIAL:
        raise refuse(name, f"an object of {', '.join(OFFICIAL)}", type_name(type(thing)))
    check_class(type(thing), name)
    for attribute, value in vars(thing).items():
        if callable(value) or hasattr(type(thing), attribute) and callable(getattr(type(thing), attribute)):
            raise refuse(f"{name}.{attribute}", f"the methods of {type_name(type(thing))}", f"{_where(value)} in its place")
        if hasattr(value, "__dict__") and not isinstance(value, type):
            check_object(f"{name}.{attribute}", value)


def _check_hooks(name: str, module: Any) -> None:
    if getattr(module, "parametrizations", None):
        tensors = ", ".join(module.parametrizations)
        raise refuse(name, "plain parameters (torch.nn.utils.parametrize.remove_parametrizations)",
                     f"a parametrization of {tensors}")
    for attribute, what in (("_forward_pre_hooks", "forward pre-hook"), ("_forward_hooks", "forward hook")):
        for hook in getattr(module, attribute, {}).values():
            kind = type(hook).__name__
            if kind in ("WeightNorm", "SpectralNorm"):
                raise refuse(name, "plain parameters (remove weight or spectral norm first)", kind)
            raise refuse(name, "no forward hooks, which a file cannot hold", f"the {what} {_where(hook)}")


def _check_type(name: str, module: Any, around: bool) -> None:
    import torch

    kind = type(module)
    if package_of(kind) in OFFICIAL:
        return
    if kind.__module__.startswith("torch.nn.modules."):
        if getattr(module, "max_norm", None) is not None and isinstance(module, torch.nn.Embedding):
            raise refuse(name, "an embedding without max_norm, which changes its weights", f"max_norm {module.max_norm}")
        if kind.__name__ in TORCH_LAYERS or around and not list(module.parameters(recurse=False)):
            return
    raise refuse(name, f"layers of {', '.join(OFFICIAL)} and linear maps around them", type_name(kind))


def forget_classes() -> None:
    """A patch may come and go between two exports."""
    _patched.cache_clear()


@functools.lru_cache(maxsize=None)
def _patched(kind: type) -> str:
    """What of a class is not its own; empty if nothing."""
    for part in kind.__mro__:
        if package_of(part) not in (*OFFICIAL, "torch"):
            continue
        for attribute, value in vars(part).items():
            if not _is_own(part, attribute, value):
                return f"{part.__name__}.{attribute} replaced by {_where(value)}"
    return ""


def _is_own(part: type, attribute: str, value: Any) -> bool:
    """Whether an attribute of a class is data or a function that its package defines."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        return all(_is_own(part, "", f) for f in (value.fget, value.fset, value.fdel) if f is not None)
    if isinstance(value, types.FunctionType):
        if attribute in GENERATED and value.__code__.co_filename == "<string>":
            return "__dataclass_fields__" in vars(part)
        renamed = attribute in METHODS and value.__qualname__.rpartition(".")[2] not in METHODS[attribute]
        return not renamed and _comes_from(value, package_of(part), "torch")
    if isinstance(value, SLOTS):
        return True
    if isinstance(value, type):  # a class that belongs to it, such as config_class
        return attribute not in METHODS and package_of(value) in (package_of(part), "torch", "builtins", "types")
    annotation = type(value).__module__ == "typing"
    return attribute not in METHODS and (annotation or not (callable(value) or hasattr(type(value), "__get__")))


def check_class(kind: type, name: str) -> None:
    patch = _patched(kind)
    if patch:
        raise refuse(name, f"the methods of {type_name(kind)}", patch)


def _is_known(value: Any) -> bool:
    """Whether a callable is of the packages, and so are those that it is bound to."""
    if isinstance(value, functools.partial):
        bound = [a for a in (*value.args, *value.keywords.values()) if callable(a) and not isinstance(a, type)]
        return all(_is_known(part) for part in (value.func, *bound))
    if hasattr(value, "__code__"):
        return _comes_from(value, *OFFICIAL, "torch")
    return package_of(value) in (*OFFICIAL, "torch")


def _check_instance(
    name: str, module: Any, own: bool, judged: frozenset[str], replaced: frozenset[str] = frozenset()
) -> None:
    """`own`: of a user's class, whose attributes are its own affair as long as its methods are the class's."""
    import torch

    kind = type(module)
    for attribute, value in vars(module).items():
        if value is None or isinstance(value, (torch.nn.Module, torch.Tensor)) or not callable(value):
            continue
        shadowed = inspect.getattr_static(kind, attribute, None)
        methods = (types.FunctionType, classmethod) if own else object
        if shadowed is not None and isinstance(shadowed, methods) and attribute not in replaced:
            raise refuse(name, f"the {attribute} of {type_name(kind)}", f"{_where(value)} in its place")
        if not own and not isinstance(value, type) and attribute not in judged and not _is_known(value):
            raise refuse(f"{name}.{attribute}", "a function of the package", _where(value))
