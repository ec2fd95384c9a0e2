"""The example as a user starts it, with little training."""

import os
import subprocess
import sys

import pytest
import xlstm_stream as xst
from conftest import ROOT


def test_train_export_stream(tmp_path):
    pytest.importorskip("matplotlib", reason="apps/packaging/install --extra has it")
    done = subprocess.run([sys.executable, ROOT / "apps/examples/train_export_stream.py", "--out", tmp_path, "--seconds", "3"],
                          capture_output=True, text=True, env={**os.environ, "MPLCONFIGDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "error" in done.stdout and "RMSE" in done.stdout
    assert (tmp_path / "pulse.png").read_bytes().startswith(b"\x89PNG")
    with xst.Model(tmp_path / "pulse.xst") as model:
        assert model.outputs == [("ahead", "V"), ("ahead.sigma", "V"), ("surprise", "")]
        assert model.verify().passed
