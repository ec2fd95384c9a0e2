"""pack, unpack, inspect, verify and bench."""

import json
import os
import re
import shutil
import struct

import numpy as np
import pytest

from safetensors_file import read_safetensors, write_safetensors
from xst_tool import VECTORS, good, isas, xst

BARE = VECTORS / "block_stack/mlstm_defaults"
BENCH_KEYS = ["isa", "device", "p50_us", "p99_us", "p999_us", "max_us", "stream_steps_per_s", "weight_bytes",
              "state_bytes", "limit_us", "limit_ratio", "cold_p50_us", "cold_limit_us"]


@pytest.fixture
def case(tmp_path):
    """A copy of a case to spoil."""
    folder = tmp_path / "case"
    folder.mkdir()
    for name in ("config.yaml", "weights.safetensors"):
        shutil.copyfile(BARE / name, folder / name)
    return folder


def test_pack_says_what_it_wrote(tmp_path):
    path = tmp_path / "m.xst"
    text = good("pack", BARE, "-o", path).decode()
    parameters = sum(t.size for t in read_safetensors(BARE / "weights.safetensors").values())
    assert text.count("\n") == 1
    assert f"{path.stat().st_size} bytes" in text and f"{parameters} parameters" in text and "tensors" in text


def test_pack_takes_weights_with_a_config_elsewhere(tmp_path, models):
    shutil.copyfile(BARE / "config.yaml", tmp_path / "c.yaml")
    good("pack", BARE / "weights.safetensors", "--config", tmp_path / "c.yaml", "-o", tmp_path / "m.xst")
    a, b = (json.loads(good("inspect", m, "--json")) for m in (tmp_path / "m.xst", models["bare"]))
    assert a["arch_hash"] == b["arch_hash"] and a["source_hash"] == b["source_hash"]


def test_pack_is_reproducible_and_replaces(tmp_path):
    path = tmp_path / "m.xst"
    good("pack", BARE, "-o", path)
    first = path.read_bytes()
    good("pack", BARE, "-o", path)
    assert path.read_bytes() == first and os.listdir(tmp_path) == ["m.xst"]


def test_pack_verbose_names_fields_without_effect(case, tmp_path):
    text = good("pack", case, "-o", tmp_path / "m.xst", "--verbose").decode()
    assert "context_length" in text


@pytest.mark.parametrize("dtype", ["i16", "bf16", "i8"])
def test_pack_says_what_rounding_costs(dtype, tmp_path):
    full, small = tmp_path / "f32.xst", tmp_path / "small.xst"
    x = np.load(BARE / "input.npy")[:, 0]
    np.save(tmp_path / "p.npy", x)
    good("pack", BARE, "-o", full)
    line = good("pack", BARE, "-o", small, "--dtype", dtype, "--probe", tmp_path / "p.npy").decode().splitlines()[1]
    outputs = []
    for model in (full, small):
        good("run", model, "--input", tmp_path / "p.npy", "--output", tmp_path / "y.npy", "--device", "reference")
        outputs.append(np.load(tmp_path / "y.npy"))
    error, largest = np.abs(outputs[1] - outputs[0]).max(), np.abs(outputs[0]).max()
    said = re.fullmatch(rf"{dtype} against f32 on the probe: largest error (\S+), (\S+) of the largest output", line)
    assert float(said[1]) == pytest.approx(error, rel=0.1) and float(said[2]) == pytest.approx(error / largest, rel=0.1)


def test_pack_calibrates_i8_with_a_recording(tmp_path):
    t = np.arange(400)[:, None] * np.linspace(0.05, 0.1, 16)
    np.save(tmp_path / "x.npy", np.sin(t).astype(np.float32))
    for name, options in {"nearest": [], "calibrated": ["--calibrate", tmp_path / "x.npy"]}.items():
        good("pack", BARE, "-o", tmp_path / f"{name}.xst", "--dtype", "i8", *options)
        good("verify", tmp_path / f"{name}.xst")
    a, b = (json.loads(good("inspect", tmp_path / f"{n}.xst", "--json")) for n in ("nearest", "calibrated"))
    assert a["tensors"] == b["tensors"] and a["source_hash"] == b["source_hash"] and a["file_hash"] != b["file_hash"]


def test_recordings_that_no_model_takes_are_refused(tmp_path, refused):
    x = np.zeros((5, 16), np.float32)
    nan = x.copy()
    nan[3, 2] = np.nan
    bad = {"width": (x[:, :3], ["calibration", "float32 [T, 16]", "float32 [5, 3]"]),
           "empty": (x[:0], ["calibration", "T from 1", "float32 [0, 16]"]),
           "tokens": (np.zeros(5, np.int64), ["calibration", "float32 [T, 16]", "int64 [5]"]),
           "nan": (nan, ["calibration", "finite", "nan at index 50"])}
    target = tmp_path / "m.xst"
    for name, (values, names) in bad.items():
        np.save(tmp_path / f"{name}.npy", values)
        refused("pack", BARE, "-o", target, "--dtype", "i8", "--calibrate", tmp_path / f"{name}.npy", names=names)
    refused("pack", BARE, "-o", target, "--dtype", "i8", "--calibrate", tmp_path / "none.npy", names=["none.npy"])
    np.save(tmp_path / "x.npy", x)
    for dtype in ("f32", "i16", "bf16"):
        refused("pack", BARE, "-o", target, "--dtype", dtype, "--calibrate", tmp_path / "x.npy", status=2,
                names=["--calibrate", dtype])
    refused("pack", VECTORS / "tirex/01_small", "-o", target, "--dtype", "i8", "--calibrate", tmp_path / "x.npy",
            names=["calibration", "tirex"])
    assert not target.exists() and not list(tmp_path.glob("m.xst*"))


def test_calibration_of_wrapped_models_and_tokens(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.1, np.nan, 1], [np.nan, 2, 3]] * 10, np.float32))
    good("pack", VECTORS / "stream/classifier", "-o", tmp_path / "m.xst", "--dtype", "i8",
         "--calibrate", tmp_path / "x.npy")
    np.save(tmp_path / "t.npy", np.arange(40) % 3)
    good("pack", VECTORS / "block_stack/lm_tied", "-o", tmp_path / "m.xst", "--dtype", "i8",
         "--calibrate", tmp_path / "t.npy")


def test_pack_takes_a_probe(tmp_path):
    x = np.random.default_rng(5).standard_normal((7, 16)).astype(np.float32)
    np.save(tmp_path / "p.npy", x)
    good("pack", BARE, "-o", tmp_path / "m.xst", "--probe", tmp_path / "p.npy")
    assert "7 steps" in good("verify", tmp_path / "m.xst").decode()


def test_pack_refuses_a_probe_that_does_not_fit(tmp_path, refused):
    for bad in (np.zeros((7, 15), np.float32), np.zeros((7, 1, 16), np.float32), np.zeros((7, 16), np.int64),
                np.zeros((0, 16), np.float32)):
        np.save(tmp_path / "p.npy", bad)
        refused("pack", BARE, "-o", tmp_path / "m.xst", "--probe", tmp_path / "p.npy")
    refused("pack", BARE, "-o", tmp_path / "m.xst", "--probe", tmp_path / "gone.npy", names=["gone.npy"])
    assert not (tmp_path / "m.xst").exists()


@pytest.mark.parametrize("dtype, largest", [("i16", 32767), ("i8", 127), ("bf16", None)])
def test_unpacked_weights_are_rounded_as_the_format_says(dtype, largest, tmp_path):
    model, weights = tmp_path / "m.xst", tmp_path / "w.safetensors"
    good("pack", BARE, "-o", model, "--dtype", dtype)
    good("unpack", model, "-o", weights)
    full, stored = read_safetensors(BARE / "weights.safetensors"), read_safetensors(weights)
    name = "blocks.0.xlstm.proj_up.weight"
    if largest:
        scale = np.max(np.abs(full[name]), axis=1, keepdims=True) / np.float32(largest)
        expected = np.round(full[name].astype(np.float64) / scale).astype(np.float32) * scale
    else:
        bits = full[name].view(np.uint32)
        expected = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).view(np.float32)
    assert (stored[name] == expected).all() and (expected != full[name]).any()
    norm = "blocks.0.xlstm_norm.weight"
    assert (stored[norm] == full[norm]).all()
    assert json.loads(good("inspect", model, "--json"))["dtype"] == dtype


def test_every_wrong_tensor_is_named_at_once(case, tmp_path, refused):
    tensors = read_safetensors(case / "weights.safetensors")
    names = sorted(tensors)
    missing, short, broken = names[0], names[3], names[6]
    del tensors[missing]
    tensors[short] = tensors[short].reshape(-1)[:-1]
    tensors[broken] = tensors[broken].copy()
    tensors[broken].reshape(-1)[0] = np.inf
    tensors["extra.weight"] = np.zeros(3, np.float32)
    write_safetensors(case / "weights.safetensors", tensors)
    refused("pack", case, "-o", tmp_path / "m.xst", names=[missing, short, "extra.weight"])
    tensors = read_safetensors(BARE / "weights.safetensors")
    tensors[broken] = np.full_like(tensors[broken], np.nan)
    write_safetensors(case / "weights.safetensors", tensors)
    refused("pack", case, "-o", tmp_path / "m.xst", names=[broken])
    assert not (tmp_path / "m.xst").exists()


def test_a_lying_safetensors_header_is_refused(case, tmp_path, refused):
    weights = case / "weights.safetensors"
    data = weights.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    lies = {
        "header longer than the file": struct.pack("<Q", 1 << 60) + data[8:],
        "no JSON": data[:8] + b"x" * size + data[8 + size:],
        "cut": data[:-10],
        "cut header": data[:20],
        "empty": b"",
        "longer": data + b"0000",
        "offsets beyond": data[:8] + data[8:8 + size].replace(b"[0,", b"[9,", 1) + data[8 + size:],
    }
    for what, content in lies.items():
        weights.write_bytes(content)
        refused("pack", case, "-o", tmp_path / "m.xst", names=["weights.safetensors"])
        assert not (tmp_path / "m.xst").exists(), what


@pytest.mark.parametrize("change", [
    ("num_blocks: ", "num_blokcs: "), ("embedding_dim: 16", "embedding_dim: wide"),
    ("embedding_dim: 16", "embedding_dim: -16"), ("config:", "config: &anchor"), ("config:", "config: ["),
], ids=lambda change: change[1])
def test_a_bad_configuration_is_named_with_its_place(change, case, tmp_path, refused):
    text = (case / "config.yaml").read_text()
    assert change[0] in text
    (case / "config.yaml").write_text(text.replace(*change, 1))
    refused("pack", case, "-o", tmp_path / "m.xst", names=["config.yaml:"])


def test_nothing_is_left_where_packing_fails(case, tmp_path, refused):
    refused("pack", case, "-o", tmp_path / "no" / "m.xst", names=["m.xst"])
    (case / "weights.safetensors").write_bytes(b"")
    target = tmp_path / "m.xst"
    target.write_bytes(b"old")
    refused("pack", case, "-o", target)
    assert target.read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["case", "m.xst"]


@pytest.mark.parametrize("name", ["block_stack/mlstm_defaults", "block_stack/slstm_defaults",
                                  "block_stack/readme_config", "stream/classifier"])
def test_unpack_gives_the_official_tensors_back(name, tmp_path):
    good("pack", VECTORS / name, "-o", tmp_path / "m.xst")
    good("unpack", tmp_path / "m.xst", "-o", tmp_path / "w.safetensors")
    before, after = (read_safetensors(p) for p in (VECTORS / name / "weights.safetensors",
                                                   tmp_path / "w.safetensors"))
    assert sorted(before) == sorted(after)
    for key, value in before.items():
        if key.endswith(("_recurrent_kernel_", "slstm_cell._bias_")):  # one of two layouts
            assert np.array_equal(np.sort(value, axis=None), np.sort(after[key], axis=None)), key
        else:
            assert value.shape == after[key].shape and np.array_equal(value, after[key]), key


def test_inspect(models):
    info = json.loads(good("inspect", models["wrapped"], "--json"))
    assert info["family"] == "block_stack" and info["wrapped"] and info["dtype"] == "f32"
    assert [i["name"] for i in info["inputs"]] == ["a0", "a1", "a2"] and info["inputs"][0]["unit"] == "g"
    assert info["input_width"] == 3 and info["output_width"] == len(info["outputs"]) == 5
    assert info["rate_hz"] == 100
    parameters = sum(t.size for t in read_safetensors(VECTORS / "stream/classifier/weights.safetensors").values())
    assert info["parameters"] == parameters
    assert info["file_bytes"] == models["wrapped"].stat().st_size
    assert info["weight_bytes"] >= 4 * parameters and info["state_bytes"] > 0 and info["flops"] > parameters
    assert sum(t["bytes"] for t in info["tensors"]) <= info["file_bytes"]
    for hash_ in ("arch_hash", "source_hash", "file_hash"):
        assert int(info[hash_], 16)
    assert "embedding_dim" in info["config"]
    text = good("inspect", models["wrapped"]).decode()
    for word in ("a0", "parameters", "state", "FLOP", info["arch_hash"], "embedding_dim", info["tensors"][0]["name"]):
        assert word in text, word


def test_inspect_of_the_readme_model(tmp_path):
    good("pack", VECTORS / "block_stack/readme_config", "-o", tmp_path / "m.xst")
    info = json.loads(good("inspect", tmp_path / "m.xst", "--json"))
    assert info["parameters"] == 764848


def test_a_damaged_model_is_refused_everywhere(models, inputs, tmp_path, refused):
    data = bytearray(models["bare"].read_bytes())
    np.save(tmp_path / "x.npy", inputs["bare"])
    bad = tmp_path / "bad.xst"
    for spoil in (lambda d: d[:-1], lambda d: d[:63], lambda d: b"", lambda d: d + b"0", lambda d: b"XSTX" + d[4:],
                  lambda d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:]):
        bad.write_bytes(spoil(bytes(data)))
        for args in (["inspect", bad], ["verify", bad], ["unpack", bad, "-o", tmp_path / "w.safetensors"],
                     ["run", bad, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"], ["bench", bad]):
            refused(*args, names=["bad.xst"])
    assert sorted(os.listdir(tmp_path)) == ["bad.xst", "x.npy"]


def test_verify_reports_error_and_bound(models):
    for device in ("cpu", "reference"):
        text = good("verify", models["wrapped"], "--device", device).decode()
        assert "checksums" in text and "16 steps" in text and "bound" in text and text.endswith("verified\n")


def test_bench_is_one_flat_object(models):
    done = json.loads(good("bench", models["bare"], "--steps", 500, "--json"))
    assert list(done) == BENCH_KEYS
    assert done["isa"] == isas()[-1] and done["device"] == "cpu"
    assert 0 < done["p50_us"] <= done["p99_us"] <= done["p999_us"] <= done["max_us"]
    assert done["limit_us"] > 0 and done["limit_ratio"] == pytest.approx(done["p50_us"] / done["limit_us"])
    assert done["cold_p50_us"] > 0 and done["cold_limit_us"] > 0
    info = json.loads(good("inspect", models["bare"], "--json"))
    assert done["weight_bytes"] == info["weight_bytes"] and done["state_bytes"] == info["state_bytes"]


def test_bench_limit_of_many_streams(models):
    one, many = (json.loads(good("bench", models["bare"], "--steps", 100, "--json", "--streams", n)) for n in (1, 3))
    assert list(many) == BENCH_KEYS and many["state_bytes"] == one["state_bytes"]
    assert many["limit_us"] > 0 and many["limit_ratio"] == pytest.approx(many["p50_us"] / many["limit_us"])


@pytest.mark.parametrize("streams", [1, 2])
def test_bench_on_threads_has_a_limit_too(streams, models):
    done = json.loads(good("bench", models["bare"], "--steps", 200, "--json", "--device", "cpu:2", "--streams", streams))
    assert list(done) == BENCH_KEYS and done["device"] == "cpu:2"
    assert all(done[key] > 0 for key in BENCH_KEYS[2:])


def test_bench_without_a_limit_says_null(models):
    for args in (["--device", "reference"], ["--forward", 3]):
        done = json.loads(good("bench", models["wrapped"], "--steps", 50, "--json", *args))
        assert list(done) == BENCH_KEYS and all(done[key] is None for key in BENCH_KEYS[-4:])
        assert done["p50_us"] > 0 and done["stream_steps_per_s"] > 0


@pytest.mark.parametrize("kind", ["bare", "wrapped", "lm"])
@pytest.mark.parametrize("isa", isas())
def test_bench_in_words(kind, isa, models):
    text = good("bench", models[kind], "--steps", 100, "--isa", isa).decode()
    assert isa in text and "p50" in text and "stream steps/s" in text and "100 calls" in text


def test_output_into_a_full_device_is_an_error(models):
    done = xst("unpack", models["bare"], "-o", "/dev/full")
    assert done.returncode == 1 and b"/dev/full" in done.stderr


def test_c_arrays_replace_only_their_own(tmp_path):
    mine = tmp_path / "main.c"
    mine.write_text("int main(void) { return 0; }\n")
    (tmp_path / "folder.c").mkdir()
    for name in ("main.xst", "main.c", "folder.xst", "folder.c"):
        done = xst("pack", BARE, "-o", tmp_path / name, "--c-array")
        assert done.returncode == 1 and b"expected nothing or an array of --c-array to replace" in done.stderr
    assert mine.read_text() == "int main(void) { return 0; }\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.c", "main.c"]
    for _ in range(2):
        good("pack", BARE, "-o", tmp_path / "Other.C", "--c-array")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Other.C", "folder.c", "main.c"]
