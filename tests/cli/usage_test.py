"""Exit status, help and version of every command, and the errors of usage and of this machine."""

import platform
import re
import shutil
import subprocess

import numpy as np
import pytest

from xst_tool import BIN, good, isas, xst

OPTIONS = {
    "pack": ["-o", "--config", "--dtype", "--probe", "--verbose"],
    "unpack": ["-o"],
    "inspect": ["--json"],
    "verify": ["--device"],
    "run": ["--input", "--output", "--device", "--mode", "--isa", "--state-in", "--state-out", "--format"],
    "forecast": ["--input", "--output", "--horizon", "--rollout", "--device", "--isa"],
    "generate": ["--prompt", "--max-tokens", "--temperature", "--top-k", "--top-p", "--seed", "--stop", "--device",
                 "--isa"],
    "bench": ["--device", "--isa", "--streams", "--steps", "--forward", "--resident", "--bf16-forward",
              "--json"],
    "replay": ["--to", "--rate", "--fast"],
    "watch": ["--seconds"],
}


def test_help_names_every_command_and_option():
    text = good("--help").decode()
    for command, options in OPTIONS.items():
        assert re.search(rf"^  {command} ", text, re.M), command
        own = good(command, "--help").decode()
        assert own.replace("\n", "").isprintable(), command
        for option in options:
            assert re.search(rf"(^|[ ,]){option}\b", own, re.M), (command, option)


def test_version():
    assert re.fullmatch(rb"\d+\.\d+\.\d+\n", good("--version"))


@pytest.mark.parametrize("args", [
    [], ["frobnicate"], ["--frobnicate"],
    ["pack"], ["pack", "x"], ["pack", "-o", "y.xst"], ["pack", "x", "-o", "-"],
    ["pack", "x", "-o", "y.xst", "--dtype", "f64"], ["pack", "x", "-o", "y.xst", "--frobnicate"],
    ["unpack", "x.xst"], ["inspect"], ["inspect", "a.xst", "b.xst"], ["verify"],
    ["verify", "x.xst", "--device", "tpu"], ["verify", "x.xst", "--device", "cpu:0"],
    ["run", "x.xst", "--input", "x.npy"], ["run", "x.xst", "--output", "y.npy"],
    ["run", "x.xst", "--input", "x.txt", "--output", "y.npy"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y.npy", "--mode", "sideways"],
    ["run", "x.xst", "--input", "-", "--output", "-", "--format", "xml"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y.npy", "--isa", "mmx"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y.npy", "--isa", "avx2", "--device", "cuda:0"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y.npy", "--isa", "avx2", "--device", "reference"],
    ["run", "x.xst", "--input", "x.npy", "--output", "y.npy", "--state-out", "-"],
    ["bench", "x.xst", "--isa", "scalar", "--device", "cuda:0"],
    ["bench", "x.xst", "--streams", "0"], ["bench", "x.xst", "--steps", "-1"], ["bench", "x.xst", "--steps", "many"],
    ["replay", "x.csv"], ["replay", "--to", "tcp://127.0.0.1:1"],
    ["replay", "x.csv", "--to", "tcp://127.0.0.1:1", "--rate", "0"],
    ["replay", "x.csv", "--to", "tcp://127.0.0.1:1", "--rate", "10", "--fast"],
    ["watch", "--seconds", "0"], ["watch", "a", "b"],
], ids=" ".join)
def test_bad_usage_is_2(args, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*args, status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [
    ["pack", "gone", "-o", "y.xst"], ["pack", "gone.safetensors", "--config", "c.yaml", "-o", "y.xst"],
    ["unpack", "gone.xst", "-o", "y.safetensors"], ["inspect", "gone.xst"], ["verify", "gone.xst"],
    ["run", "gone.xst", "--input", "x.npy", "--output", "y.npy"], ["bench", "gone.xst"],
    ["replay", "gone.csv", "--to", "tcp://127.0.0.1:1"],
], ids=" ".join)
def test_a_missing_file_is_1_and_named(args, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*args, names=["gone"])
    assert list(tmp_path.iterdir()) == []


def test_missing_instruction_set_lists_what_there_is(models, refused, tmp_path):
    lacking = "avx2" if platform.machine() in ("aarch64", "arm64") else "neon"
    for args in (["bench", models["bare"]], ["run", models["bare"], "--input", "x.npy", "--output", tmp_path / "y.npy"]):
        refused(*args, "--isa", lacking, names=[lacking, *isas()])


def test_missing_device_lists_what_there_is(models, refused, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 16), np.float32))
    for args in (["verify", models["bare"]],
                 ["run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]):
        refused(*args, "--device", "cuda:99", names=["cuda", "cpu", "reference"])


def test_without_the_cuda_backend_everything_else_works(models, tmp_path):
    alone = tmp_path / "xst"
    shutil.copy(BIN / "xst", alone)
    here = subprocess.run([alone, "verify", models["bare"]], capture_output=True)
    assert here.returncode == 0, here.stderr
    there = subprocess.run([alone, "verify", models["bare"], "--device", "cuda:0"], capture_output=True)
    assert there.returncode == 1
    assert b"expected one this build has (cpu, reference)" in there.stderr
    assert b"no CUDA backend" in there.stderr and b"libxst_cuda.so.0" in there.stderr


def test_errors_go_to_standard_error_only():
    done = xst("inspect", "gone.xst")
    assert done.stdout == b"" and done.stderr.startswith(b"xst: error: gone.xst: expected ")
