"""What export() refuses: modules that compute something that a file cannot hold."""

import functools
import operator

import numpy as np
import official
import pytest
import torch
import xlstm_stream as xst
from official import both_kinds, stack_of
from torch import nn
from torch.nn.utils import parametrize
from xst_tool import VECTORS

torch.set_grad_enabled(False)

# --- refusals: what, how the module becomes so, and words of the reason ---

def hook(module):
    module.blocks[1].register_forward_hook(lambda m, x, y: y)


def pre_hook(module):
    module.blocks[0].xlstm.register_forward_pre_hook(lambda m, x: None)


def root_hook(module):
    module.register_forward_hook(lambda m, x, y: 2 * y)


def patched_instance(module):
    module.forward = lambda x: x


def patched_layer(module):
    layer = module.blocks[0].xlstm
    layer.step = functools.partial(type(layer).step, layer)


def patched_cell(module):
    cell = next(b.xlstm.mlstm_cell for b in module.blocks if hasattr(b.xlstm, "mlstm_cell"))
    cell.backend_fn = lambda queries, keys, values, **_: values


def patched_activation(module):
    next(b.ffn for b in module.blocks if b.ffn is not None).act_fn = torch.sin


def patched_activation_that_steps_alike(module):
    """Only the whole-sequence function of a cell is another."""
    cell = next(b.xlstm.mlstm_cell for b in module.blocks if hasattr(b.xlstm, "mlstm_cell"))
    cell.backend_fn = functools.partial(cell.backend_fn, eps=0.5)


def patched_inside_a_partial(module):
    cell = next(b.xlstm.mlstm_cell for b in module.blocks if hasattr(b.xlstm, "mlstm_cell"))
    cell.backend_fn = functools.partial(functools.partial, lambda **_: 0)


def class_in_a_methods_place(module):
    module.forward = nn.Identity


def counter(module):
    module.blocks[0].register_buffer("seen", torch.tensor(3))


def other_activation(module):
    next(b.ffn for b in module.blocks if b.ffn is not None).act_fn = nn.functional.silu


def foreign_layer(module):
    module.blocks[0].xlstm.ogate_act_fn = nn.Tanh()


def foreign_block(module):
    module.blocks[1] = nn.GRU(module.config.embedding_dim, module.config.embedding_dim)


def subclass(module):
    class Mine(type(module)):
        def forward(self, x):
            return super().forward(2 * x)
    module.__class__ = Mine


def weight_norm(module):
    linear = next(m for m in module.modules() if isinstance(m, nn.Linear))
    nn.utils.weight_norm(linear)


class Symmetric(nn.Module):
    def forward(self, w):
        return w * 1


def parametrized(module):
    parametrize.register_parametrization(next(m for m in module.modules() if isinstance(m, nn.Linear)), "weight", Symmetric())


def wrong_shape(module):
    module.blocks[0].xlstm.proj_down.weight = nn.Parameter(torch.zeros(3, 5))


def extra_weight(module):
    module.blocks[0].gain = nn.Parameter(torch.ones(2))


def not_finite(module):
    module.blocks[0].xlstm.proj_down.weight[0, 3] = float("nan")


def swapped(module):
    module.blocks[0], module.blocks[1] = module.blocks[1], module.blocks[0]


REFUSED = [
    (hook, ["blocks.1", "forward hook", "hook.<locals>.<lambda>"]),
    (pre_hook, ["blocks.0.xlstm", "forward pre-hook"]),
    (root_hook, ["module", "forward hook"]),
    (patched_instance, ["module", "forward", "in its place"]),
    (patched_layer, ["blocks.0.xlstm", "step"]),
    (patched_cell, ["mlstm_cell.backend_fn", "a function of the package", "patched_cell"]),
    (patched_activation_that_steps_alike, ["forward", "outputs of step", "differ"]),
    (patched_inside_a_partial, ["mlstm_cell.backend_fn", "a function of the package"]),
    (class_in_a_methods_place, ["the forward of", "in its place"]),
    (counter, ["blocks.0.seen", "floating point", "torch.int64", "LSTMBlock"]),
    (patched_activation, ["value", "does not reproduce", "step"]),
    (other_activation, ["does not reproduce", "step"]),
    (foreign_layer, ["blocks.0.xlstm.ogate_act_fn", "torch.nn.modules.activation.Tanh"]),
    (foreign_block, ["blocks.1", "GRU"]),
    (subclass, ["Mine"]),
    (weight_norm, ["WeightNorm"]),
    (parametrized, ["parametrization of weight", "remove_parametrizations"]),
    (wrong_shape, ["shape [3, 5] of blocks.0.xlstm.proj_down.weight"]),
    (extra_weight, ["unused blocks.0.gain"]),
    (not_finite, ["not finite blocks.0.xlstm.proj_down.weight (element 3)"]),
    (swapped, ["missing blocks.0"]),
]


@pytest.mark.parametrize("change, words", REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_module_that_computes_something_else_is_refused(change, words, tmp_path):
    module, path = both_kinds(), tmp_path / "m.xst"
    xst.export(module, path)
    kept = path.read_bytes()
    change(module)
    with pytest.raises(xst.ExportError) as caught:
        xst.export(module, path)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "expected" in str(caught.value) and "got" in str(caught.value)
    assert path.read_bytes() == kept and [p.name for p in tmp_path.iterdir()] == ["m.xst"]


def test_a_patched_class_is_refused_and_a_restored_one_is_not(tmp_path, monkeypatch):
    module = both_kinds()
    layer = type(module.blocks[0].xlstm)
    for method in ("forward", "step"):
        with monkeypatch.context() as patch:
            patch.setattr(layer, method, lambda self, x, **_: x)
            with pytest.raises(xst.ExportError, match=f"{layer.__name__}.{method} replaced"):
                xst.export(module, tmp_path / "m.xst")
        with monkeypatch.context() as patch:  # one that claims to be the original
            original = getattr(layer, method)
            patch.setattr(layer, method, functools.wraps(original)(lambda self, *a, **k: original(self, *a, **k)))
            with pytest.raises(xst.ExportError, match=f"{layer.__name__}.{method} replaced"):
                xst.export(module, tmp_path / "m.xst")
    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", layer.step)
        with pytest.raises(xst.ExportError, match="forward replaced"):
            xst.export(module, tmp_path / "m.xst")
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, "forward", lambda self, x: x)
        with pytest.raises(xst.ExportError, match="Linear.forward replaced"):
            xst.export(module, tmp_path / "m.xst")
    assert not (tmp_path / "m.xst").exists()
    xst.export(module, tmp_path / "m.xst")


class Called:
    """What replaces a method and is no function."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    def __get__(self, instance, owner):
        return lambda *a, **k: 2 * self.wrapped(instance, *a, **k)


def from_text(code):
    """A function as a console, a notebook or standard input makes it."""
    made = {"torch": torch}
    exec(compile(code, "<stdin>", "exec"), made)
    return made["forward"]


PATCHES = {
    "from standard input": lambda f: from_text("forward = lambda self, x, **_: x * 0"),
    "a def from standard input": lambda f: from_text("def forward(self, x, **_): return x * 0"),
    "decorated by the package": lambda f: from_text("@torch.no_grad()\ndef forward(self, x, **_): return x * 0"),
    "a generated name": lambda f: eval(compile("lambda self, x, **_: x * 0", "<string>", "eval")),
    "a partial method": lambda f: functools.partialmethod(lambda self, k, x, **_: k * x, 0),
    "a descriptor": Called,
    "a built-in": lambda f: operator.neg,
    "a static method": lambda f: staticmethod(lambda x, **_: x * 0),
    "a property": lambda f: property(lambda self: lambda x, **_: x * 0),
    "a class": lambda f: nn.Identity,
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
@pytest.mark.parametrize("method", ["forward", "step", "__call__", "_call_impl"])
def test_a_method_replaced_by_anything_is_refused(patch, method, tmp_path, monkeypatch):
    stack, lm = both_kinds(), stack_of("lm_tied")
    for module, part in ((stack, stack), (stack, stack.blocks[0].xlstm), (stack, stack.post_blocks_norm), (lm, lm)):
        if method == "step" and not hasattr(part, "step"):
            continue
        with monkeypatch.context() as patched:
            patched.setattr(type(part), method, patch(getattr(type(part), method)), raising=False)
            with pytest.raises(xst.ExportError, match=f"{type(part).__name__}.{method} replaced"):
                xst.export(module, tmp_path / "m.xst")
    assert list(tmp_path.iterdir()) == []
    xst.export(module, tmp_path / "m.xst")


def test_other_methods_of_a_class_count_too(tmp_path, monkeypatch):
    module = both_kinds()
    norm = type(module.post_blocks_norm)
    monkeypatch.setattr(norm, "weight_proxy", property(from_text("forward = lambda self: self.weight")))
    with pytest.raises(xst.ExportError, match="LayerNorm.weight_proxy replaced"):
        xst.export(module, tmp_path / "m.xst")


def test_a_function_of_the_package_that_only_forward_calls_is_run(tmp_path, monkeypatch):
    """No class and no instance shows it; what forward gives does."""
    from xlstm.blocks.mlstm import backends
    for name in ("mlstm_defaults", "lm_tied"):
        module = stack_of(name)
        with monkeypatch.context() as patch:
            patch.setattr(backends.parallel_stabilized_simple, "__defaults__", (None, True, 0.5))
            with pytest.raises(xst.ExportError, match="forward: expected the outputs of step"):
                xst.export(module, tmp_path / "m.xst")
        xst.export(module, tmp_path / "m.xst")


# --- models that are not run by a step of their own ---

def large_norm(module):
    next(m for m in module.modules() if hasattr(m, "force_float32_reductions")).eps = 10


def large_activation(module):
    module.backbone.blocks[0].ffn.act_fn = nn.Sigmoid()


def large_embedding(module):
    module.embedding.max_norm = 0.01


def large_config(module):
    module.config.gate_soft_cap = 0.5


def large_layer_config(module):
    module.backbone.blocks[0].mlstm_layer.config.gate_soft_cap = 0.5


def large_kernel(module):
    backend = module.backbone.blocks[0].mlstm_layer.mlstm_backend
    backend._train_fn = functools.partial(backend._train_fn, eps=0.5)


def large_kernel_eps(module):
    module.backbone.blocks[0].mlstm_layer.mlstm_backend.config.eps = 0.5


@pytest.mark.parametrize("change, words", [
    (large_norm, "does not reproduce"), (large_activation, "does not reproduce"), (large_embedding, "max_norm 0.01"),
    (large_config, "does not reproduce"), (large_layer_config, "does not reproduce"),
    (large_kernel, "mlstm_backend._train_fn"), (large_kernel_eps, "mlstm_backend"),
], ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("copied", [True, False])
def test_a_changed_large_model_is_refused(change, words, copied, tmp_path, monkeypatch):
    from xlstm_stream import _modules
    if not copied:
        monkeypatch.setattr(_modules, "MANY_PARAMETERS", 1)
    module = official.large(VECTORS / "large/01_single_defaults")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    change(module)
    with pytest.raises(xst.ExportError, match=words):
        xst.export(module, tmp_path / "m.xst")
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def tokenizer_instance(module, patch):
    module.tokenizer.input_transform = lambda data: (data, None)


def tokenizer_class(module, patch):
    patch.setattr(type(module.tokenizer), "output_transform", from_text("forward = lambda self, data, state: data"))


def tokenizer_scaler_class(module, patch):
    patch.setattr(type(module.tokenizer.scaler), "get_loc_scale", from_text("forward = lambda self, x, eps=0: None"))


def tokenizer_scaler(module, patch):
    module.tokenizer.scaler.re_scale = lambda x, state: x


def tokenizer_type(module, patch):
    module.tokenizer = type("PatchedTokenizer", (type(module.tokenizer),), {"__module__": __name__})(8)


def tokenizer_patch(module, patch):
    module.tokenizer.patch_size *= 2


def tokenizer_function(module, patch):
    patch.setattr(torch, "nanmean", lambda x, dim, keepdim: torch.zeros_like(x[..., :1]))


def tirex_loop(module, patch):
    cell = next(m for m in module.modules() if hasattr(m, "_impl_forward_torch"))
    cell._impl_forward_torch = functools.partial(cell._impl_forward_torch)


def tirex_method(module, patch):
    patch.setattr(type(module), "_forecast_single_step", from_text("forward = lambda self, context, n=1: context"))


@pytest.mark.parametrize("change, words", [
    (tokenizer_instance, "tokenizer.input_transform"), (tokenizer_class, "PatchedTokenizer.output_transform replaced"),
    (tokenizer_scaler_class, "StandardScaler.get_loc_scale replaced"), (tokenizer_scaler, "tokenizer.scaler.re_scale"),
    (tokenizer_type, "tokenizer: expected an object of"), (tokenizer_patch, "tokenizer"),
    (tokenizer_function, "tokenizer.input_transform"), (tirex_loop, "_impl_forward_torch"),
    (tirex_method, "TiRexZero._forecast_single_step replaced"),
], ids=lambda v: getattr(v, "__name__", ""))
def test_a_changed_tirex_is_refused(change, words, tmp_path, monkeypatch):
    module = official.tirex(VECTORS / "tirex/01_small")
    change(module, monkeypatch)
    with pytest.raises(xst.ExportError, match=words):
        xst.export(module, tmp_path / "m.xst", forecast={"every": 8, "horizon": 24})
    assert list(tmp_path.iterdir()) == []


# --- what is around a module ---

def test_a_wrapper_is_peeled_only_if_it_is_pytorchs_and_as_it_was(tmp_path, monkeypatch):
    def hooked(wrapper):
        wrapper.register_forward_hook(lambda m, x, y: 2 * y)

    def patched(wrapper):
        wrapper.forward = lambda x: x

    for change, words in ((hooked, "forward hook"), (patched, "the forward of torch.nn.parallel.data_parallel")):
        changed = nn.DataParallel(both_kinds())
        change(changed)
        for wrapper in (changed, nn.DataParallel(changed)):
            with pytest.raises(xst.ExportError, match=words):
                xst.export(wrapper, tmp_path / "m.xst")
    with monkeypatch.context() as patch:
        patch.setattr(nn.DataParallel, "forward", from_text("forward = lambda self, x: x"))
        with pytest.raises(xst.ExportError, match="DataParallel.forward replaced"):
            xst.export(nn.DataParallel(both_kinds()), tmp_path / "m.xst")

    class DataParallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return 2 * self.module(x)
    section = {"rate_hz": 0, "encoder": "none", "head": "none", "inputs": [{"name": f"c{i}"} for i in range(16)]}
    module = stack_of()
    with pytest.raises(xst.ExportError, match="stream: expected what is around"):
        xst.export(DataParallel(module), tmp_path / "m.xst")
    with pytest.raises(xst.ExportError, match="forward: expected encoder"):
        xst.export(DataParallel(module), tmp_path / "m.xst", stream=section)
    assert list(tmp_path.iterdir()) == []
    assert xst.export(nn.DataParallel(module), tmp_path / "m.xst").error < 1e-5


def test_a_probe_that_shows_nothing_is_not_the_only_one(tmp_path):
    module = stack_of()
    module.post_blocks_norm.eps = 0.3
    for probe in (None, np.zeros((3, module.config.embedding_dim))):
        with pytest.raises(xst.ExportError, match="does not reproduce"):
            xst.export(module, tmp_path / "m.xst", probe=probe)


def test_global_hooks_are_refused(tmp_path):
    handle = nn.modules.module.register_module_forward_hook(lambda m, x, y: y)
    try:
        with pytest.raises(xst.ExportError, match="global"):
            xst.export(both_kinds(), tmp_path / "m.xst")
    finally:
        handle.remove()
