"""The view's beat rule is the one that evaluate.py scores."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import yaml

from xst_tool import good

DEMO = pathlib.Path(os.environ["ECG_DEMO"])
sys.path.insert(0, str(DEMO))
import evaluate  # noqa: E402


def beats(p, rule):
    text = "".join(f"{v!r}\n" for v in np.asarray(p, np.float64).tolist())
    done = subprocess.run([os.environ["BEAT_RULE"], rule, str(evaluate.RATE_HZ)], input=text.encode(),
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [tuple(map(float, line.split())) for line in done.stdout.decode().splitlines()]


def test_on_random_probabilities(tmp_path):
    random = np.random.default_rng(3)
    found = 0
    for trial in range(50):
        p = np.convolve(random.random(3000) ** random.uniform(1, 20), np.hanning(random.integers(3, 40)), "same")
        p = (p / p.max()).astype(np.float32)
        p[random.random(len(p)) < 0.01] = np.nan
        rule = {"threshold": float(random.uniform(0, 0.9)), "release": float(random.uniform(0.2, 1)),
                "refractory_s": float(random.uniform(0, 0.5)), "delay_s": float(random.uniform(0, 0.2))}
        (tmp_path / "rule.yaml").write_text(yaml.safe_dump(rule))
        expected = evaluate.detect_beats(p.astype(np.float64), **rule)
        found += len(expected)
        assert beats(p, tmp_path / "rule.yaml") == expected, (trial, rule)
    assert found > 500


def test_on_the_recording(tmp_path):
    good("pack", DEMO / "model", "-o", tmp_path / "ecg.xst")
    good("run", tmp_path / "ecg.xst", "--input", DEMO / "ecg.csv", "--output", tmp_path / "y.npy", timeout=300)
    p = np.load(tmp_path / "y.npy")[:, evaluate.COLUMNS.index("beat")].astype(np.float64)
    rule = DEMO / "model" / "beats.yaml"
    expected = evaluate.detect_beats(p, **yaml.safe_load(rule.read_text()))
    assert beats(p, rule) == expected and len(expected) > 400


@pytest.mark.parametrize("text", ["", "threshold: 0.5\n", "threshold: [\n", "- 1\n",
                                  "threshold: high\nrelease: 1\nrefractory_s: 1\ndelay_s: 1\n"])
def test_a_bad_rule_is_named(text, tmp_path):
    (tmp_path / "rule.yaml").write_text(text)
    done = subprocess.run([os.environ["BEAT_RULE"], tmp_path / "rule.yaml", "360"], input=b"", capture_output=True,
                          timeout=60)
    assert done.returncode == 1 and b"rule.yaml: expected" in done.stderr
