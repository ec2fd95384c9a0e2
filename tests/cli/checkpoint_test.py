"""Checkpoints that are not what they say: one clear line on standard error, exit status 1, nothing written."""

import json
import shutil
import struct

import pytest
from xst_tool import VECTORS, good, xst

HUB = VECTORS / "large" / "06_hub_two_shards"
INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))


@pytest.fixture
def hub(tmp_path):
    """A copy of the hub checkpoint to spoil."""
    folder = tmp_path / "hub"
    shutil.copytree(HUB, folder)
    return folder


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_header(path, change):
    """Changes the JSON header of a safetensors file and leaves its data alone."""
    raw = path.read_bytes()
    length, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length:])


def refused(folder, *parts):
    model = folder.parent / "m.xst"
    done = xst("pack", folder, "-o", model)
    error = done.stderr.decode()
    assert done.returncode == 1, (done.returncode, error)
    assert error.startswith("xst: error: ") and error.count("\n") == 1 and "expected" in error and "got" in error
    for part in parts:
        assert part in error, error
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_the_untouched_copy_packs(hub):
    good("pack", hub, "-o", hub.parent / "m.xst")


def test_a_missing_shard(hub):
    (hub / SECOND).unlink()
    refused(hub, SECOND)


@pytest.mark.parametrize("name", ["../" + FIRST, "/etc/hostname", "..", "sub/" + FIRST, "\\\\server\\share"])
def test_an_index_that_points_outside(hub, name):
    edit_json(hub / INDEX, lambda index: index["weight_map"].update({"lm_head.weight": name}))
    refused(hub, INDEX, "same folder")


def test_an_index_that_names_a_tensor_nobody_has(hub):
    edit_json(hub / INDEX, lambda index: index["weight_map"].update({"ghost.weight": FIRST}))
    refused(hub, FIRST, "ghost.weight")


def test_an_index_that_names_the_wrong_shard(hub):
    edit_json(hub / INDEX, lambda index: index["weight_map"].update({"lm_head.weight": FIRST}))
    refused(hub, "lm_head.weight", "index")


@pytest.mark.parametrize("shift", [(-4, -4), (0, -4), (4, 4), (0, 4), (1 << 40, 1 << 40), (0, 1 << 62)])
def test_overlapping_or_lying_offsets(hub, shift):
    def change(header):
        name = sorted(n for n in header if n != "__metadata__")[1]
        begin, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = [max(begin + shift[0], 0), end + shift[1]]

    edit_header(hub / FIRST, change)
    refused(hub, FIRST, "header")


def test_a_shape_whose_product_wraps(hub):
    def change(header):
        header[max(header)]["shape"] = [1 << 32, 1 << 32]

    edit_header(hub / FIRST, change)
    refused(hub, FIRST, "2^64")


@pytest.mark.parametrize("field, value, part",
                         [("num_heads", 3, "num_heads"), ("num_hidden_layers", 3, "num_blocks"),
                          ("vocab_size", 41, "vocab"), ("use_bias", True, "missing"), ("add_out_norm", False, "unused"),
                          ("v_dim_factor", 0.5, "shape"), ("gate_soft_cap", "x", "gate_soft_cap"),
                          ("model_type", "mamba", "model_type"), ("norm_eps", 1e400, "config.json")])
def test_configuration_and_weights_disagree(hub, field, value, part):
    edit_json(hub / "config.json", lambda config: config.update({field: value}))
    refused(hub, part if part != "vocab" else "[41, 64]")


@pytest.mark.parametrize("name", ["config.json", INDEX])
@pytest.mark.parametrize("text", ['{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", '{"a": ' * 200_000, "", "\xff\xfe"],
                         ids=["deep list", "deep map", "empty", "no UTF-8"])
def test_hostile_json(hub, name, text):
    (hub / name).write_bytes(text.encode("latin-1"))
    refused(hub, name)


@pytest.mark.parametrize("yaml, part", [("embedding_dim: &a 64\nnum_heads: 4\nnum_blocks: *a\nvocab_size: 40\n", "anchor"),
                                        ("a: &a [x]\nb: [*a, *a]\n", "anchor"),
                                        ("embedding_dim: !!python/object:os.system 64\n", "tag"),
                                        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "config.yaml")])
def test_hostile_yaml(hub, yaml, part):
    (hub / "config.yaml").write_text(yaml)
    refused(hub, "config.yaml", part)
