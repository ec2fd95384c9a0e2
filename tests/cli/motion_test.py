"""The motion demo through `xst run`: what it gets right on the untouched test cases, beside simple baselines."""

import json
import pathlib
import sys

import numpy as np
import pytest
import zmq

from xst_tool import BIN
from xstd_tool import PATIENCE_S, Xstd

DEMO = pathlib.Path(__file__).resolve().parents[2] / "apps/demos/motion"
sys.path.insert(0, str(DEMO))
import baselines  # noqa: E402
import data  # noqa: E402
import evaluate  # noqa: E402

TRAIN_X, TRAIN_Y = data.read("train")
X, Y = data.read("test")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    packed = tmp_path_factory.mktemp("motion") / "motion.xst"
    evaluate.pack(BIN / "xst", DEMO / "model", packed)
    return packed


@pytest.fixture(scope="module")
def alone(model):
    return evaluate.fresh(BIN / "xst", model, X)


def test_the_recordings_are_whole():
    assert X.shape == TRAIN_X.shape == (40, 100, 6) and np.isfinite(X).all() and np.isfinite(TRAIN_X).all()
    assert np.bincount(Y).tolist() == np.bincount(TRAIN_Y).tolist() == [10] * 4
    assert not any((a == b).all() for a in X for b in TRAIN_X)


@pytest.mark.parametrize("seen, least", [(25, 0.975), (50, 0.975), (100, 0.975)])
def test_a_case_is_known_and_better_than_by_simple_means(alone, seen, least):
    ours = (alone[:, :seen].mean(1).argmax(1) == Y).mean()
    x, train_x = X[:, :seen], TRAIN_X[:, :seen]
    logistic = baselines.Logistic(baselines.features(train_x), TRAIN_Y, 4)(baselines.features(x))
    euclid = baselines.nearest(baselines.euclid, train_x, TRAIN_Y, x)
    assert ours >= least
    assert ours > (logistic == Y).mean() and ours > (euclid == Y).mean()


def test_one_second_is_enough_for_most(alone):
    ours = (alone[:, 9].argmax(1) == Y).mean()
    x, train_x = X[:, :10], TRAIN_X[:, :10]
    assert ours >= 0.875
    assert ours > (baselines.nearest(baselines.warp, train_x, TRAIN_Y, x) == Y).mean()


def test_a_stream_that_is_never_reset_follows_every_change(model):
    right = evaluate.one_stream(BIN / "xst", model).argmax(2) == Y[:, None]
    assert right.mean() >= 0.92
    assert right[:, 24].mean() >= 0.975 and right[:, 49].mean() >= 0.975
    assert right.mean() > (evaluate.last_samples(TRAIN_X, TRAIN_Y, X, 10) == Y[:, None]).mean()


def test_the_daemon_says_the_same_and_raises_its_alarm(model):
    text = (DEMO / "xstd.yaml").read_text()
    text = text.replace("tcp://127.0.0.1:9872", "tcp://127.0.0.1:*").replace("127.0.0.1:9873", "127.0.0.1:*")
    text = text.replace("motion.xst", str(model)).replace("test.csv, speed: 1", f"{DEMO}/test.csv, speed: 0")
    expected = evaluate.one_stream(BIN / "xst", model).reshape(-1, 4)
    records, alarms = [], []
    with Xstd(text, "--wait-subscriber", PATIENCE_S) as daemon, zmq.Context() as context:
        with context.socket(zmq.SUB) as socket:
            socket.linger, socket.rcvtimeo, socket.rcvhwm = 0, PATIENCE_S * 1000, 0
            socket.subscribe(b"")
            socket.connect(daemon.endpoints["publish"])
            while len(records) < len(expected):
                topic, payload = socket.recv_multipart()
                if topic == b"motion/":
                    records.append(json.loads(payload))
                elif topic.startswith(b"alarm/"):
                    alarms.append(json.loads(payload))
    got = np.array([[r["y"][name] for name in data.CLASSES] for r in records], np.float32)
    assert np.abs(got - expected).max() < 1e-6
    # The alarm's rule over the same probabilities: above 0.9 for a second, until 0.5.
    active, since, raised = False, None, 0
    for n, p in enumerate(expected[:, data.CLASSES.index("running")]):
        since = (n if since is None else since) if p > 0.9 else None
        if not active and since is not None and n - since >= data.RATE_HZ:
            active, raised = True, raised + 1
        elif active and p <= 0.5:
            active = False
    assert raised >= 5
    assert sum(a["active"] for a in alarms) in (raised, raised - 1)  # the last may come behind the last record
