"""export() of a caller's module around a stack: its parts are found by type, its forward is judged by what it gives."""

import numpy as np
import official
import pytest
import torch
import xlstm_stream as xst
from conftest import ROOT
from official import stack_of
from torch import nn

torch.set_grad_enabled(False)
SECTION = {"rate_hz": 100, "inputs": [{"name": "a", "unit": "V", "mean": 2.0, "std": 3.0}, {"name": "b"}],
           "outputs": [{"gaussian": "next", "of": "a", "residual": True}, {"surprise": "s", "of": "next"}, {"sigmoid": "p"}]}


def wrapper(forward=None, **parts):
    body = stack_of()
    base = official.Wrapper(body, 3, 2)
    kind = type("Mine", (official.Wrapper,), {"forward": forward} if forward else {})
    base.__class__ = kind
    for name, part in parts.items():
        setattr(base, name, part)
    return base


def head(self, x):
    return self.alpha(self.beta(self.gamma(x)))


ACCEPTED = {
    "rows": None,
    "the last row": lambda self, x: head(self, x)[:, -1],
    "raw samples": lambda self, x: head(self, (x - torch.tensor([2.0, 0.0])) / torch.tensor([3.0, 1.0])),
    "dropout in between": lambda self, x: self.alpha(nn.functional.dropout(self.beta(self.gamma(x)), 0.3, self.training)),
    "flat": lambda self, x: head(self, x).flatten(),
    "with a state": lambda self, x: (head(self, x), {"state": x}),
    "with another tensor": lambda self, x: [head(self, x), x],
    "in a dict": lambda self, x: {"logits": head(self, x)},
    "in float32": lambda self, x: head(self.float(), x.float()),
}
OTHER = {
    "an activation": lambda self, x: self.alpha(torch.tanh(self.beta(self.gamma(x)))),
    "a residual path": lambda self, x: self.alpha(self.beta(self.gamma(x)) + self.gamma(x)),
    "scaled": lambda self, x: 1.01 * head(self, x),
    "scaled by little": lambda self, x: 1.00005 * head(self, x),
    "scaled where values are": lambda self, x: head(self, x) * (1 + (x.abs().sum() > 0)),
    "undefined": lambda self, x: head(self, x) * float("nan"),
    "two passes": lambda self, x: self.alpha(self.beta(self.beta(self.gamma(x)))),
}


@pytest.mark.parametrize("forward", ACCEPTED.values(), ids=ACCEPTED)
def test_wrappers_that_do_what_the_file_does(forward, tmp_path):
    report = xst.export(wrapper(forward).train(), tmp_path / "m.xst", stream=SECTION)
    assert report.error <= report.bound
    assert [n for n, _ in xst.Model(report.path).outputs] == ["next", "next.sigma", "s", "p"]


@pytest.mark.parametrize("forward", OTHER.values(), ids=OTHER)
def test_wrappers_that_do_more_are_refused(forward, tmp_path):
    with pytest.raises(xst.ExportError, match="forward: expected encoder, xLSTMBlockStack, head and nothing else.*step"):
        xst.export(wrapper(forward), tmp_path / "m.xst", stream=SECTION)


@pytest.mark.parametrize("parts, words", [
    ({"delta": nn.Linear(2, 2)}, ["2 linear maps", "delta"]),
    ({"delta": nn.LayerNorm(8)}, ["delta", "LayerNorm"]),
    ({"delta": nn.PReLU()}, ["delta", "PReLU"]),
    ({"delta": nn.BatchNorm1d(3)}, ["delta", "BatchNorm1d"]),
    ({"gain": nn.Parameter(torch.ones(1))}, ["weights only in linear maps"]),
    ({"alpha": nn.Linear(16, 5)}, ["alpha (16, 5)", "head (16, 3)"]),
    ({"gamma": nn.Linear(7, 16)}, ["encoder (2, 16)"]),
    ({"beta2": None}, None),
], ids=str)
def test_wrappers_of_other_parts(parts, words, tmp_path):
    if words is None:
        module = nn.ModuleDict({"a": stack_of(), "b": stack_of()})
        words = ["one xLSTMBlockStack"]
        module = wrapper(beta2=stack_of())
    else:
        module = wrapper(**parts)
    with pytest.raises(xst.ExportError) as caught:
        xst.export(module, tmp_path / "m.xst", stream=SECTION)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("forward", [None, *OTHER.values()], ids=["nothing", *OTHER])
def test_missing_values_of_a_probe_hide_nothing(forward, tmp_path):
    x = np.random.default_rng(0).standard_normal((12, 2), np.float32)
    for gaps in (np.s_[0], np.s_[0, 1], np.s_[:], np.s_[5:7, 0]):
        probe = x.copy()
        probe[gaps] = np.nan
        if forward is None:
            assert xst.export(wrapper(), tmp_path / "m.xst", stream=SECTION, probe=probe).error < 1e-5
            (tmp_path / "m.xst").unlink()
            continue
        with pytest.raises(xst.ExportError, match="forward: expected encoder"):
            xst.export(wrapper(forward), tmp_path / "m.xst", stream=SECTION, probe=probe)
    assert list(tmp_path.iterdir()) == []


def test_layers_without_weights_may_be_around(tmp_path):
    """A loss, an activation that is not called or called last: forward is judged by what it gives."""
    losses = {"loss": nn.MSELoss(), "other": nn.CrossEntropyLoss(weight=torch.ones(3)), "act": nn.GELU(), "tanh": nn.Tanh(),
              "pool": nn.AvgPool1d(2)}
    assert xst.export(wrapper(**losses), tmp_path / "m.xst", stream=SECTION).error < 1e-5
    softmax = {"rate_hz": 0, "inputs": [{"name": "a"}, {"name": "b"}], "outputs": [{"softmax": ["x", "y", "z"]}]}
    module = nn.Sequential(nn.Linear(2, 16), stack_of(), nn.Linear(16, 3), nn.Softmax(-1))
    assert xst.export(module, tmp_path / "m.xst", stream=softmax).error < 1e-5
    for last in (nn.Sigmoid(), nn.Softmax(1), nn.Tanh()):
        module[3] = last
        with pytest.raises(xst.ExportError, match="forward: expected encoder"):
            xst.export(module, tmp_path / "m.xst", stream=softmax)


class Attributes(official.Wrapper):
    activation = None
    scale = staticmethod(torch.abs)

    def __init__(self, *args):
        super().__init__(*args)
        self.activation, self.scale, self.optimizer = torch.tanh, torch.neg, torch.optim.Adam


def test_attributes_of_a_users_class_are_its_own_affair(tmp_path):
    module = Attributes(stack_of(), 3, 2)
    assert xst.export(module, tmp_path / "m.xst", stream=SECTION).error < 1e-5
    module.forward = lambda x: x
    with pytest.raises(xst.ExportError, match="the forward of .*Attributes"):
        xst.export(module, tmp_path / "m.xst", stream=SECTION)


def test_a_bare_stack_with_channels_is_compared_too(tmp_path):
    import functools
    bare = {"rate_hz": 0, "encoder": "none", "head": "none", "inputs": [{"name": f"c{i}"} for i in range(16)]}
    module = stack_of()
    cell = module.blocks[0].xlstm.mlstm_cell
    cell.backend_fn = functools.partial(cell.backend_fn, eps=0.5)
    with pytest.raises(xst.ExportError, match="forward: expected"):
        xst.export(module, tmp_path / "m.xst", stream=bare)


def test_a_buffer_inside_the_stack_is_named_from_the_top(tmp_path):
    module = wrapper()
    module.beta.blocks[0].register_buffer("seen", torch.tensor(3))
    with pytest.raises(xst.ExportError, match=r"^beta.blocks.0.seen: expected a dense floating point tensor, got torch.int64"):
        xst.export(module, tmp_path / "m.xst", stream=SECTION)


def test_another_whole_sequence_mlstm_must_give_the_same(tmp_path, monkeypatch):
    """The ECG demo trains with one of its own."""
    monkeypatch.syspath_prepend(ROOT / "apps/demos/ecg")
    import model as demo
    module, section = demo.load(ROOT / "apps/demos/ecg/model")
    report = xst.export(module, tmp_path / "m.xst", stream=section)
    xst.pack(ROOT / "apps/demos/ecg/model", tmp_path / "packed.xst")
    assert report.source_hash == xst.Model(tmp_path / "packed.xst").source_hash
    for block in module.backbone.blocks:
        if hasattr(block.xlstm, "mlstm_cell"):
            block.xlstm.mlstm_cell.backend_fn = lambda *a, **k: 1.1 * demo.mlstm_chunkwise(*a, **k) + 0.3
    with pytest.raises(xst.ExportError, match="forward: expected encoder"):
        xst.export(module, tmp_path / "m.xst", stream=section)


def test_a_hook_on_a_wrapper_is_refused(tmp_path):
    module = wrapper()
    module.register_forward_hook(lambda m, x, y: y)
    with pytest.raises(xst.ExportError, match="forward hook"):
        xst.export(module, tmp_path / "m.xst", stream=SECTION)


def test_two_maps_of_one_shape_are_told_apart_by_forward(tmp_path):
    body = stack_of()
    inputs = [{"name": f"c{i}"} for i in range(16)]
    section = {"rate_hz": 0, "inputs": inputs, "outputs": [{"raw": f"r{i}"} for i in range(16)]}
    module = official.Wrapper(body, 16, 16)
    report = xst.export(module, tmp_path / "m.xst", stream=section)
    x = np.random.default_rng(0).standard_normal((5, 16), np.float32)
    got = xst.Session(xst.Model(report.path)).forward(x)
    assert np.abs(got - module(torch.from_numpy(x)[None])[0].numpy()).max() < 1e-4


def test_sequential_data_parallel_and_channels_alone(tmp_path):
    one = {"rate_hz": 100, "inputs": [{"name": "a"}], "outputs": [{"value": "v", "of": "a"}]}
    module = nn.Sequential(nn.Linear(1, 16), stack_of(), nn.Dropout(0.5), nn.Linear(16, 1, bias=False))
    report = xst.export(nn.DataParallel(module), tmp_path / "m.xst", stream=one, probe=np.arange(9.0))
    assert report.steps == 9

    class Squeezed(official.Wrapper):
        def forward(self, z):
            return self.alpha(self.beta(self.gamma(z[..., None])))[..., 0]
    assert xst.export(Squeezed(stack_of(), 1, 1), tmp_path / "m.xst", stream=one).error < 1e-5
    bare = {"rate_hz": 0, "encoder": "none", "head": "none", "inputs": [{"name": f"c{i}"} for i in range(16)]}
    assert xst.export(stack_of(), tmp_path / "m.xst", stream=bare).family == "block_stack"
