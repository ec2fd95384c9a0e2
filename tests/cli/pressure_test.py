"""The arterial pressure demo through `xst run`: forecasts and alarms on the untouched part, beside autoregression."""

import json
import pathlib
import sys

import numpy as np
import pytest
import yaml
import zmq

from xst_tool import BIN
from xstd_tool import PATIENCE_S, Xstd

DEMO = pathlib.Path(__file__).resolve().parents[2] / "apps/demos/pressure"
sys.path.insert(0, str(DEMO))
import baselines  # noqa: E402
import data  # noqa: E402
import evaluate  # noqa: E402

X, OWN = data.read()
CASES = data.cases(X)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return evaluate.Stream(BIN / "xst", DEMO / "model", tmp_path_factory.mktemp("pressure"))


@pytest.fixture(scope="module")
def found(stream):
    train = X[: data.TRAIN_END]
    autoregression = [baselines.Autoregression(train, 16, h) for h in (1, 25)]
    return {name: evaluate.judge(detector, X, OWN, *CASES)
            for name, detector in (("ours", stream.scores()), ("AR(16)", autoregression))}


def test_the_recording_and_its_anomaly():
    assert len(X) == 7501 and np.isfinite(X).all()
    assert np.flatnonzero(OWN).tolist() == list(range(4187, 4199))
    assert data.TRAIN_END < data.TEST_BEGIN < 4187


def test_every_kind_changes_its_beat_and_nothing_before():
    kinds, columns, begins, ends = CASES
    assert [int((kinds == kind).sum()) for kind in data.KINDS] == [11] * len(data.KINDS)
    feet = data.feet(X)
    for kind, y, a, b in zip(kinds, columns, begins, ends):
        start = next(f - data.LEAD for f in feet
                     if f >= data.LEAD and (X[f - data.LEAD : f] == y[: data.LEAD]).all())
        same = y == X[start : start + data.LENGTH]
        assert same[:a].all() and not same[a:b].all(), kind
        # Only the stuck sensor jumps, where it comes back.
        steps = np.abs(np.diff(y))[a - 1 : b + 1].max()
        assert steps < 3 * np.abs(np.diff(X[: data.TRAIN_END])).max() or kind == "stuck sensor", (kind, steps)


def test_forecasts_beat_autoregression(stream):
    ahead = evaluate.forecasts(stream, X)
    for order in (16, 64):
        assert ahead["this model"][1] < 0.4 * ahead[f"AR({order})"][1]


def test_the_archives_anomaly_is_found_at_once(found):
    assert found["ours"]["own"] is not None and found["ours"]["own"] < 5
    assert found["ours"]["false"] <= 1


def test_more_is_found_than_by_autoregression(found):
    count = {name: sum(n for n, _ in r["found"].values()) for name, r in found.items()}
    assert count["ours"] >= 62, found["ours"]
    assert count["ours"] > count["AR(16)"] + 20


def test_the_daemon_raises_the_alarm_where_xst_run_says(stream):
    text = (DEMO / "xstd.yaml").read_text()
    rules = yaml.safe_load(text)["streams"][0]["alarms"]
    text = text.replace("tcp://127.0.0.1:9872", "tcp://127.0.0.1:*").replace("127.0.0.1:9873", "127.0.0.1:*")
    text = text.replace("pressure.xst", str(stream.model))
    text = text.replace("pressure.csv, speed: 1", f"{DEMO}/pressure.csv, speed: 0")
    y, expected = stream.run(X[None])[0], []
    for rule in rules:
        active = False
        for n, value in enumerate(y[:, evaluate.COLUMNS.index(rule["output"])]):
            if not active and value > rule["above"] or active and value <= rule["clear"]:
                active = not active
                expected.append((n, rule["name"], active))
    changes = []
    with Xstd(text, "--wait-subscriber", PATIENCE_S) as daemon, zmq.Context() as context:
        with context.socket(zmq.SUB) as socket:
            socket.linger, socket.rcvtimeo, socket.rcvhwm = 0, PATIENCE_S * 1000, 0
            socket.subscribe(b"")
            socket.connect(daemon.endpoints["publish"])
            last = -1
            while last < len(X) - 1:
                topic, payload = socket.recv_multipart()
                record = json.loads(payload)
                if topic == b"pressure/":
                    last = record["seq"]
                elif topic.startswith(b"alarm/"):
                    changes.append((record["seq"], record["name"], record["active"]))
    assert sorted(changes) == sorted(expected)
    first = min(n for n, _, active in expected if active and n > data.TRAIN_END)
    assert 4187 <= first < 4187 + 5
