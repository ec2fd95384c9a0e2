"""The example scripts as a user starts them, in the virtual environment that has their libraries."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from xst_tool import BIN, VECTORS, good

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "apps/examples"
TIREX, LM = VECTORS / "tirex/01_small", VECTORS / "block_stack/lm_untied"


def example(name, *args):
    """The finished process."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run([sys.executable, EXAMPLES / name, *map(str, args)], capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    """What this PyTorch needs to read numbers: nothing, or --trust (1.13)."""
    path = tmp_path_factory.mktemp("torch") / "number.pt"
    torch.save({"quantile": 0.5}, path)
    try:
        torch.load(path, weights_only=True)
        return []
    except Exception:
        return ["--trust"]


def checkpoint():
    """What TiRex' training would have left of the public case."""
    config = yaml.safe_load((TIREX / "config.yaml").read_text())["config"]
    config["model_config"]["block_kwargs"]["slstm_backend"] = "cuda"
    state = {name.replace("blocks.", "block_stack.blocks.").replace("out_norm", "block_stack.out_norm"): tensor
             for name, tensor in load_file(TIREX / "weights.safetensors").items()}
    assert sum("block_stack." in name for name in state) > 20
    return {"hyper_parameters": config, "state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.4.0"}


def test_a_tirex_checkpoint_packs_to_the_same_model(trust, tmp_path):
    torch.save(checkpoint(), tmp_path / "model.ckpt")
    done = example("tirex_ckpt.py", tmp_path / "model.ckpt", tmp_path / "made/tirex", *trust)
    assert done.returncode == 0, done.stderr
    assert "39568 parameters" in done.stdout
    outputs = []
    for folder in (tmp_path / "made/tirex", TIREX):
        good("pack", folder, "-o", tmp_path / "m.xst")
        good("forecast", tmp_path / "m.xst", "--input", TIREX / "input.npy", "--output", tmp_path / "y.npy",
             "--horizon", 24)
        outputs.append(np.load(tmp_path / "y.npy"))
    assert outputs[0].shape == (2, 24, 9) and outputs[0].tobytes() == outputs[1].tobytes()


class Code:
    """Unpickling this would print."""

    def __reduce__(self):
        return print, ("the checkpoint ran code",)


def test_code_in_a_checkpoint_runs_only_if_trusted(tmp_path):
    torch.save({**checkpoint(), "callbacks": Code()}, tmp_path / "model.ckpt")
    done = example("tirex_ckpt.py", tmp_path / "model.ckpt", tmp_path / "out")
    assert done.returncode == 1 and "--trust" in done.stderr and "ran code" not in done.stdout
    assert not (tmp_path / "out").exists()
    done = example("tirex_ckpt.py", tmp_path / "model.ckpt", tmp_path / "out", "--trust")
    assert done.returncode == 0 and "ran code" in done.stdout


def spoil(what):
    made = checkpoint()
    if what == "no hyper_parameters":
        del made["hyper_parameters"]
    elif what == "no quantiles":
        del made["hyper_parameters"]["model_config"]["quantiles"]
    elif what == "a list":
        made = [made]
    elif what == "no tensor":
        made["state_dict"]["out_norm.weight"] = 7
    elif what == "a name twice":
        made["state_dict"]["blocks.0.norm_ffn.weight"] = torch.zeros(32)
    return made


@pytest.mark.parametrize("what", ["no hyper_parameters", "no quantiles", "a list", "no tensor", "a name twice"])
def test_other_checkpoints_are_one_error(what, trust, tmp_path):
    torch.save(spoil(what), tmp_path / "model.ckpt")
    done = example("tirex_ckpt.py", tmp_path / "model.ckpt", tmp_path / "out", *trust)
    assert done.returncode == 1 and "expected hyper_parameters" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x03\x04 and no more"])
def test_files_that_are_no_checkpoint_are_one_error(content, tmp_path):
    if content is not None:
        (tmp_path / "model.ckpt").write_bytes(content)
    done = example("tirex_ckpt.py", tmp_path / "model.ckpt", tmp_path / "out")
    assert done.returncode == 1 and "expected a PyTorch checkpoint" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def language(tmp_path):
    """A model of 50 tokens and a byte-level tokenizer for them; two of them are halves of one character."""
    good("pack", LM, "-o", tmp_path / "lm.xst")
    first, second = "Ã", "¤"  # how a byte-level vocabulary writes the two bytes of ä
    words = [first, second] + [chr(ord("a") + i) for i in range(26)] + [f"Ġw{i}" for i in range(22)]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "lm.xst", tmp_path / "tokenizer.json", tokenizer


def test_text_goes_in_and_comes_out(language):
    model, path, tokenizer = language
    prompt = tokenizer.encode("bänk").ids
    assert len(prompt) == 5
    sampling = ("--temperature", 1.5, "--seed", 4)
    ids = [int(i) for i in good("generate", model, "--prompt", ",".join(map(str, prompt)), "--max-tokens", 40,
                                *sampling).split()]
    done = example("generate_text.py", model, path, "bänk", "--max-tokens", 40, *sampling)
    assert done.returncode == 0, done.stderr
    want = tokenizer.decode(ids)
    assert done.stdout.rstrip("\n").rstrip("�") == want.rstrip("�") and len(set(want)) > 5


def test_errors_of_xst_come_through(language, tmp_path):
    model, path, _ = language
    done = example("generate_text.py", tmp_path / "gone.xst", path, "a")
    assert done.returncode == 1 and "xst: error:" in done.stderr and "gone.xst" in done.stderr
    done = example("generate_text.py", model, path, "a", "--top-p", 7)
    assert done.returncode == 2 and "--top-p" in done.stderr
    assert "Traceback" not in done.stderr
