"""What export() refuses: modules that compute something that a file cannot hold."""

import functools

import pytest
import torch
import xlstm_stream as xst
from official import both_kinds
from torch import nn
from torch.nn.utils import parametrize

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


def test_global_hooks_are_refused(tmp_path):
    handle = nn.modules.module.register_module_forward_hook(lambda m, x, y: y)
    try:
        with pytest.raises(xst.ExportError, match="global"):
            xst.export(both_kinds(), tmp_path / "m.xst")
    finally:
        handle.remove()
