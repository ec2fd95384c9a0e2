"""export(): every public case from a live official module, and in every form that it takes."""

import dataclasses
import os

import numpy as np
import official
import pytest
import torch
import xlstm_stream as xst
import yaml
from official import both_kinds, stack_of
from torch import nn
from xst_tool import VECTORS, case_id, cases, good, tolerance

BLOCKS = VECTORS / "block_stack"
torch.set_grad_enabled(False)


@pytest.mark.parametrize("case", cases("block_stack", "stream", "large", "tirex"), ids=case_id)
def test_every_public_case_goes_around(case, tmp_path, capsys):
    module, options, probe = official.live(case)
    module.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    report = xst.export(module, tmp_path / "m.xst", probe=probe, **options)
    assert capsys.readouterr() == ("", "")
    with capsys.disabled():
        print(f"\n  {case_id(case)}: error {report.error:.3g} of {report.largest:.3g}, bound {report.bound:.3g}", end="")
    assert report.error <= report.bound and report.precision == "float64" and report.rounding == 0
    assert report.error < 3e-7 * report.largest  # one rounding to float32
    assert module.training and all(p.training for p in module.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["m.xst"]

    model = xst.Model(report.path)
    assert (model.arch_hash, model.source_hash, model.file_hash) == (
        report.arch_hash, report.source_hash, report.file_hash)
    xst.pack(case, tmp_path / "packed.xst")
    packed = xst.Model(tmp_path / "packed.xst")
    assert packed.source_hash == report.source_hash
    if case.parent.name != "tirex":  # whose forecast section is not the case's
        assert packed.arch_hash == report.arch_hash
    proof = model.verify()
    assert proof.passed and proof.error_framework <= proof.bound
    assert b"from the training framework" in good("verify", report.path)
    if probe is not None:
        expected = np.load(case / "expected.npy")
        session = xst.Session(model)
        y = np.stack([session.step(now) for now in probe])
        expected = expected if expected.ndim == 2 else expected[:, 0]
        assert np.nanmax(np.abs(y - expected)) <= tolerance(case)


@pytest.mark.parametrize("dtype", ["i16", "bf16", "i8"])
def test_smaller_types(dtype, tmp_path):
    report = xst.export(both_kinds(), tmp_path / "m.xst", dtype=dtype)
    model = xst.Model(report.path)
    assert model.dtype == report.dtype == dtype and model.verify().passed
    assert report.error <= report.bound and 0 < report.rounding < 0.3 * report.largest
    assert np.isclose(model.verify().error_framework, report.rounding, rtol=0.1)
    probe = np.random.default_rng(1).standard_normal((20, model.input_width), np.float32)
    outputs = {}
    for kind in ("f32", dtype):
        report = xst.export(both_kinds(), tmp_path / "m.xst", dtype=kind, probe=probe)
        outputs[kind] = xst.Session(xst.Model(report.path, device="reference")).forward(probe)
    assert np.isclose(report.rounding, np.abs(outputs[dtype] - outputs["f32"]).max(), rtol=1e-5)
    state = xst.export(both_kinds().state_dict(), tmp_path / "n.xst", dtype=dtype, config=both_kinds().config, probe=probe)
    assert np.isclose(state.rounding, report.rounding, rtol=1e-9) and np.isnan(state.error)


def test_half_and_double_modules(tmp_path):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        report = xst.export(both_kinds().to(dtype), tmp_path / "m.xst")
        assert report.error < 1e-6 * report.largest
    report = xst.export(both_kinds().to(torch.bfloat16), tmp_path / "m.xst", dtype="bf16")
    assert report.dtype == "bf16" and report.rounding == 0


def test_a_cuda_layout_goes_around_without_a_gpu(tmp_path):
    """What a module trained on a GPU looks like: its cell's parameters in the other layout."""
    from xlstm.blocks.slstm.cell import sLSTMCell_cuda
    module = both_kinds()
    expected = xst.export(module, tmp_path / "a.xst")
    for block in module.blocks:
        cell = getattr(block.xlstm, "slstm_cell", None)
        if cell is None:
            continue
        config = dataclasses.replace(cell.config, backend="cuda")
        made = sLSTMCell_cuda(config, skip_backend_init=True)
        made._recurrent_kernel_.copy_(made._recurrent_kernel_ext2int(cell._recurrent_kernel_int2ext(cell._recurrent_kernel_)))
        made._bias_.copy_(made._bias_ext2int(cell._bias_int2ext(cell._bias_)))
        block.xlstm.slstm_cell = made
    report = xst.export(module, tmp_path / "b.xst")
    assert report.source_hash == expected.source_hash and report.error <= report.bound


def test_a_large_model_as_it_is_trained(tmp_path):
    """A training configuration keeps no state; the proof runs on native kernels all the same."""
    module = official.large(VECTORS / "large/01_single_defaults")
    module.config.mode, module.config.return_last_states = "train", False
    assert xst.export(module, tmp_path / "m.xst").error < 1e-5


@pytest.mark.parametrize("case", ["block_stack/readme_config", "block_stack/lm_tied", "stream/classifier", "tirex/01_small",
                                  "large/01_single_defaults"])
def test_a_model_too_large_for_a_copy_runs_itself(case, tmp_path, monkeypatch):
    from xlstm_stream import _modules
    monkeypatch.setattr(_modules, "MANY_PARAMETERS", 1)
    module, options, _ = official.live(VECTORS / case)
    module.train()
    next(iter(module.children())).eval()
    modes = [part.training for part in module.modules()]
    report = xst.export(module, tmp_path / "m.xst", **options)
    assert report.precision == ("float64" if case.startswith("tirex") else "float32") and report.error <= report.bound
    assert report.error < 1e-4 * report.largest and [part.training for part in module.modules()] == modes


def test_state_dicts(tmp_path):
    from safetensors.numpy import load_file
    for case in (BLOCKS / "lm_tied", VECTORS / "stream/classifier"):
        config = case / "config.yaml"
        state = load_file(case / "weights.safetensors")
        report = xst.export(state, tmp_path / "m.xst", config=config)
        assert np.isnan(report.error) and report.precision == "" and "not run" in str(report)
        text = xst.export({k: torch.from_numpy(v) for k, v in state.items()}, tmp_path / "n.xst", config=config.read_text())
        assert report.source_hash == text.source_hash
    module = both_kinds()
    report = xst.export(module.state_dict(), tmp_path / "m.xst", config=module.config)
    assert report.source_hash == xst.export(module, tmp_path / "n.xst").source_hash
    with pytest.raises(xst.ExportError, match="config: expected one with a state dict"):
        xst.export(state, tmp_path / "o.xst")
    del state["head.weight"]
    with pytest.raises(xst.DataError, match="missing head.weight"):
        xst.export(state, tmp_path / "o.xst", config=config)
    assert not (tmp_path / "o.xst").exists()


def test_sections_as_text_files_and_dicts(tmp_path):
    module, section = official.wrapped(VECTORS / "stream/classifier")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"stream": section}))
    hashes = {xst.export(module, tmp_path / "m.xst", stream=given).arch_hash
              for given in (section, yaml.safe_dump(section), tmp_path / "s.yaml", str(tmp_path / "s.yaml"))}
    assert len(hashes) == 1
    with pytest.raises(xst.DataError, match="rate_hz"):
        xst.export(module, tmp_path / "m.xst", stream={k: v for k, v in section.items() if k != "rate_hz"})
    with pytest.raises(xst.ExportError, match="stream: expected what is around"):
        xst.export(module, tmp_path / "m.xst")
    with pytest.raises(xst.ExportError, match="stream: expected it around an xLSTMBlockStack"):
        xst.export(stack_of("lm_tied"), tmp_path / "m.xst", stream=section)
    with pytest.raises(xst.ExportError, match="YAML"):
        xst.export(module, tmp_path / "m.xst", stream="a: [\n")


# --- arguments ---

@pytest.mark.parametrize("arguments, words", [
    (dict(dtype="f16"), "dtype"),
    (dict(probe=np.zeros((3, 5))), "probe"),
    (dict(probe=np.zeros((0, 16))), "probe"),
    (dict(probe=np.zeros((1, 3, 16))), "probe"),
    (dict(probe=np.full((3, 16), np.nan)), "^probe: expected finite values, got nan at step 0, value 0$"),
    (dict(probe=np.full((3, 16), 1e39)), "^probe: expected finite values, got 1e.39"),
    (dict(probe=["a"]), "probe"),
    (dict(probe=[[1, 2], [3]]), "^probe: expected .* unequal rows"),
    (dict(config="absent.yaml"), "^config: expected a file of YAML at absent.yaml"),
    (dict(config={"model": "lm", "config": None}), "^config: config: expected a map"),
    (dict(stream={"rate_hz": 0}), "^stream: inputs: expected a list of at least one map with a name, got None"),
    (dict(stream={"inputs": []}), "^stream: inputs"),
    (dict(stream={"inputs": ["a"]}), "^stream: inputs"),
    (dict(stream={"inputs": [{"unit": "V"}]}), "^stream: inputs"),
    (dict(stream={"inputs": [{"name": "a"}], "outputs": ["b"]}), "^stream: outputs: expected a list of maps"),
    (dict(stream={"inputs": [{"name": "a"}], "outputs": [{"of": "a"}]}), "^stream: outputs: expected one of"),
    (dict(stream={"inputs": [{"name": "a"}], "outputs": [{"softmax": 3}]}), "^stream: outputs: softmax"),
    (dict(stream={"inputs": [{"name": "a", "mean": "x"}], "encoder": "none", "head": "none"}), "stream"),
    (dict(config={"embedding_dim": 17, "mlstm_block": {}}), "weights.safetensors: .*shape"),
    (dict(config={"mlstm_block": {}, "nonsense": 1}), "^config.yaml:4:3: config.nonsense"),
    (dict(forecast={"every": 3}), "forecast"),
])
def test_bad_arguments(arguments, words, tmp_path):
    with pytest.raises(xst.ExportError, match=words):
        xst.export(stack_of(), tmp_path / "m.xst", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_other_objects_and_places(tmp_path):
    for thing in (3, nn.Linear(2, 2), nn.LSTM(2, 2), None):
        with pytest.raises(xst.ExportError, match="expected"):
            xst.export(thing, tmp_path / "m.xst")
    with pytest.raises(xst.ExportError, match="folder"):
        xst.export(stack_of(), tmp_path / "absent/m.xst")
    (tmp_path / "folder").mkdir()
    for folder in (tmp_path / "folder", tmp_path, f"{tmp_path}/folder/"):
        with pytest.raises(xst.ExportError, match="folder: expected a file to write, got a folder" if "folder" in str(folder)
                           else "got a folder"):
            xst.export(stack_of(), folder)
    with pytest.raises(xst.ExportError, match="expected to write it, got File name too long"):
        xst.export(stack_of(), tmp_path / ("x" * 300))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"] and not list((tmp_path / "folder").iterdir())
    for name in ("model.xst.xst", "made.xst", "source", "model.xst", "weights.safetensors", ".xst", "..xst", "m ä.xst", "x" * 250):
        assert xst.export(stack_of(), tmp_path / "folder" / name).error < 1e-5
        assert xst.Model(tmp_path / "folder" / name).verify().passed
    meta = both_kinds()
    meta.blocks[0].xlstm.proj_down.weight = nn.Parameter(meta.blocks[0].xlstm.proj_down.weight.to("meta"))
    with pytest.raises(xst.ExportError, match="meta"):
        xst.export(meta, tmp_path / "m.xst")


def test_a_probe_longer_than_the_context_and_with_missing_values(tmp_path):
    module, section = official.wrapped(VECTORS / "stream/forecaster")
    length = module.beta.config.context_length + 50
    x = np.random.default_rng(0).standard_normal((length, len(section["inputs"])), np.float32)
    x[7, 0], x[60] = np.nan, np.inf
    report = xst.export(module, tmp_path / "m.xst", stream=section, probe=x)
    assert report.steps == length and report.error <= report.bound
    tokens = torch.arange(5)
    assert xst.export(stack_of("lm_tied"), tmp_path / "n.xst", probe=tokens).steps == 5


def test_dropout_counts_for_nothing(tmp_path):
    case = BLOCKS / "mixed_bias_batch3"
    description = official.describe(case)
    from safetensors.torch import load_file
    module = official.stack(dict(description["config"], dropout=0.5), load_file(case / "weights.safetensors")).train()
    assert xst.export(module, tmp_path / "m.xst").error < 1e-5 and module.training


def test_a_hub_folder(tmp_path):
    case = VECTORS / "large/06_hub_two_shards"
    with xst.load_hf(case, path=tmp_path / "m.xst") as model, xst.Session(model) as session:
        tokens = np.load(case / "input.npy")[:, 0]
        assert np.abs(session.forward(tokens) - np.load(case / "expected.npy")[:, 0]).max() <= tolerance(case)
    folder = tmp_path / "hub"
    folder.mkdir()
    for file in case.iterdir():
        os.symlink(file, folder / file.name)
    with xst.load_hf(folder, dtype="i16", device="reference") as model:
        assert model.dtype == "i16" and (folder / "model.xst").exists()
    with pytest.raises(xst.DataError):
        xst.load_hf(tmp_path / "absent")


def test_a_tirex_forecast_from_the_exported_file(tmp_path):
    case = VECTORS / "tirex/01_small"
    module = official.tirex(case)
    report = xst.export(module, tmp_path / "m.xst", forecast={"every": 8, "horizon": 24, "rollout": 1})
    forecaster = xst.Forecaster(xst.Model(report.path))
    assert (forecaster.every, forecaster.horizon) == (8, 24)
    x = np.load(case / "input.npy")[0]
    official_quantiles = module._forecast_quantiles(torch.from_numpy(x)[None], 24)[0][0].numpy()
    got = forecaster.forecast(x)  # the package rounds its cell to bfloat16
    assert np.abs(got - official_quantiles).max() < 0.02 * np.abs(official_quantiles).max()
