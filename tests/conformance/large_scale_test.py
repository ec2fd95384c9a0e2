"""xLSTM Large at a fiftieth of 7B, from a hub checkpoint of bf16 shards to generated tokens: memory, proof, continuity."""

import pathlib
import sys

import numpy as np
import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / room) for room in ("support", "bench")]
import large  # noqa: E402
from xst_tool import BIN, good  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    large.SHARD_BYTES = 100_000_000
    weights = large.write_checkpoint(folder, large.FIFTIETH)
    assert len(list(folder.glob("*.safetensors"))) == 3
    return folder, weights


@pytest.mark.parametrize("dtype, bytes_each", [("bf16", 2), ("i8", 1)])
def test_packs_in_bounded_memory_and_proves_itself(checkpoint, dtype, bytes_each, tmp_path):
    folder, weights = checkpoint
    model = tmp_path / "m.xst"
    _, peak, _ = large.watched([BIN / "xst", "pack", folder, "-o", model, "--dtype", dtype])
    largest = 4 * large.FIFTIETH["vocab_size"] * large.FIFTIETH["embedding_dim"]
    assert peak < 2 * largest, f"{peak} bytes for a largest tensor of {largest}"
    assert weights * bytes_each <= model.stat().st_size < weights * bytes_each * 1.05
    assert list(tmp_path.iterdir()) == [model]
    assert b"verified" in good("verify", model)


def test_steps_go_on_where_a_state_ended(checkpoint, tmp_path):
    model, x, y, state = (tmp_path / name for name in ("m.xst", "x.npy", "y.npy", "s"))
    good("pack", checkpoint[0], "-o", model, "--dtype", "i8")
    tokens = np.random.default_rng(2).integers(large.FIFTIETH["vocab_size"], size=6)

    def run(part, *options):
        np.save(x, part)
        good("run", model, "--input", x, "--output", y, *options)
        return np.load(y)

    whole = run(tokens)
    first = run(tokens[:4], "--state-out", state)
    assert np.concatenate([first, run(tokens[4:], "--state-in", state)]).tobytes() == whole.tobytes()
    prompt = ",".join(map(str, tokens))
    ids = good("generate", model, "--prompt", prompt, "--max-tokens", 3).split()
    assert int(ids[0]) == np.argmax(whole[-1]) and len(ids) == 3
