"""Disks that are full, read-only or gone and a system time that jumps: nothing acknowledged is lost,
the stream goes on when the disk does, and only the times of samples without `t` follow the clock."""

import contextlib
import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import pathlib
import time

import numpy as np
import pytest
import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import BIN, VECTORS, good  # noqa: E402

PATIENCE_S = 60  # for a process to get somewhere; never what a test measures
OPEN, WRITE, SYNC, CLOCK = range(4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.xst"
    good("pack", VECTORS / "stream/forecaster", "-o", path)
    return path


class Daemon:
    """xstd with one acked stream, a subscriber and a client, on a disk and a clock that obey `set`."""

    def __init__(self, folder, model):
        self.folder, self.context = folder, zmq.Context()
        self.state = folder / "state"
        (folder / "faults").write_bytes(bytes(16))
        (folder / "d.yaml").write_text(
            'publish: {endpoint: "tcp://127.0.0.1:*"}\nstate_dir: state\n'
            f'streams: [{{name: ecg, model: {model}, source: {{type: acked, endpoint: "tcp://127.0.0.1:*"}}}}]\n')
        self.process, self.sockets = None, []

    def set(self, which, value):
        with open(self.folder / "faults", "r+b") as f:
            f.seek(4 * which)
            f.write(struct.pack("<i", value))

    def start(self):
        env = dict(os.environ, LD_PRELOAD=os.environ["XST_FAULTS_LIBRARY"], XST_FAULTS=str(self.folder / "faults"),
                   XST_FAULTS_FOLDER=str(self.state))
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [BIN / "xstd", "--config", self.folder / "d.yaml", "--wait-subscriber", "60", "--snapshot-every",
                 "0.1", "--summary", self.folder / "summary.json"], stderr=log, env=env)
        words = {}
        self.until(lambda: "ready " in self.log() or self.process.poll() is not None)
        for word in self.log().split("ready ", 1)[-1].split("\n")[0].split():
            words[word.split("=")[0]] = word.split("=")[-1]
        if "ecg" not in words:
            return self
        self.subscriber, self.client = self.context.socket(zmq.SUB), self.context.socket(zmq.DEALER)
        self.subscriber.subscribe(b"")
        for s, name in (self.subscriber, "publish"), (self.client, "ecg"):
            s.linger, s.rcvtimeo = 0, PATIENCE_S * 1000
            s.connect(words[name])
            self.sockets.append(s)
        return self

    def log(self):
        return (self.folder / "log").read_text()

    @staticmethod
    def until(done):
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end
            time.sleep(0.02)

    def send(self, first, count, timed=True):
        for seq in range(first, first + count):
            self.client.send_json({"seq": seq, "x": [seq % 7 - 3], **({"t": seq / 100} if timed else {})})

    def answers(self, count):
        return [json.loads(self.client.recv()) for _ in range(count)]

    def quiet(self):
        """Whether no answer comes for a while."""
        return not self.client.poll(500)

    def outputs(self, count):
        return [json.loads(self.subscriber.recv_multipart()[1]) for _ in range(count)]

    def stop(self, status=0):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == status, self.log()
        return json.loads((self.folder / "summary.json").read_text())["streams"][0]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        for s in self.sockets:
            s.close()
        self.context.term()


@pytest.fixture
def daemon(tmp_path, model):
    with contextlib.closing(Daemon(tmp_path, model)) as d:
        yield d


def expect_run(daemon, model, messages, count):
    x = np.array([i % 7 - 3 for i in range(count)], np.float32)[:, None]
    np.save(daemon.folder / "x.npy", x)
    good("run", model, "--input", daemon.folder / "x.npy", "--output", daemon.folder / "y.npy")
    want = np.load(daemon.folder / "y.npy")
    assert [m["seq"] for m in messages] == list(range(count))
    got = np.array([[np.nan if v is None else v for v in m["y"].values()] for m in messages], np.float32)
    assert np.array_equal(got, want, equal_nan=True)


@pytest.mark.parametrize("which, number", [(WRITE, errno.ENOSPC), (SYNC, errno.EIO), (WRITE, errno.EROFS)])
def test_a_disk_that_fails_stops_answers_until_it_works(daemon, model, which, number):
    daemon.start()
    daemon.send(0, 20)
    assert daemon.answers(20)[-1] == {"acked": 19}
    seen = daemon.outputs(20)
    daemon.set(which, number)
    if number == errno.EROFS:
        daemon.set(OPEN, number)
    daemon.send(20, 10)
    assert daemon.quiet()
    daemon.until(lambda: "writes of the input log failed" in daemon.log())
    daemon.send(20, 10)  # a client that got no answer
    daemon.set(which, 0)
    daemon.set(OPEN, 0)
    assert daemon.answers(20)[-1] == {"acked": 29}
    daemon.send(30, 10)
    assert daemon.answers(10)[-1] == {"acked": 39}
    expect_run(daemon, model, seen + daemon.outputs(20), 40)
    summary = daemon.stop()
    assert summary["log_errors"] > 0 and summary["samples"] == 40


def test_what_a_full_disk_did_not_keep_is_not_there_after_a_kill(daemon, model):
    daemon.start()
    daemon.send(0, 20)
    daemon.answers(20)
    daemon.set(WRITE, errno.ENOSPC)
    daemon.send(20, 10)
    assert daemon.quiet()
    daemon.kill()
    daemon.set(WRITE, 0)
    daemon.start()
    daemon.client.send(b"")
    assert daemon.answers(1) == [{"acked": 19}]
    daemon.send(20, 10)
    assert daemon.answers(10)[-1] == {"acked": 29}
    messages = daemon.outputs(30 - daemon_first(daemon))
    assert messages[-1]["seq"] == 29
    daemon.stop()


def daemon_first(daemon):
    """The seq that the daemon went on from."""
    return int(daemon.log().split("at seq ")[1].split()[0])


@pytest.mark.parametrize("which, number", [(OPEN, errno.EROFS), (WRITE, errno.ENOSPC), (SYNC, errno.EIO)])
def test_a_fresh_stream_does_not_start_without_its_first_snapshot(daemon, which, number):
    daemon.set(which, number)
    daemon.start()
    assert daemon.process.wait(PATIENCE_S) == 1
    assert "xstd: error: stream ecg: " in daemon.log() and os.strerror(number) in daemon.log()
    assert "ready" not in daemon.log()


def test_a_state_dir_that_vanished_is_said_and_used_again(daemon, model):
    daemon.start()
    daemon.send(0, 20)
    daemon.answers(20)
    shutil.rmtree(daemon.state)
    daemon.send(20, 10)
    assert daemon.quiet()
    daemon.until(lambda: "snapshots failed" in daemon.log() and "input log failed" in daemon.log())
    daemon.state.mkdir()
    assert daemon.answers(10)[-1] == {"acked": 29}
    seen = daemon.outputs(30)
    daemon.kill()
    daemon.start()
    assert daemon_first(daemon) > 0
    daemon.send(30, 1)
    assert daemon.answers(1) == [{"acked": 30}]
    again = daemon.outputs(31 - daemon_first(daemon))
    assert {m["epoch"] for m in again} == {seen[0]["epoch"]}
    expect_run(daemon, model, seen[:again[0]["seq"]] + again, 31)
    daemon.stop()


def test_only_the_times_of_samples_without_one_follow_the_system_time(daemon, model):
    daemon.start()
    jumps = [0, 86400, -86400, -1500000000, 2000000000 - int(time.time())]
    messages, far = [], []
    for i, jump in enumerate(jumps):
        daemon.set(CLOCK, jump)
        daemon.send(20 * i, 20, timed=i % 2 == 0)
        assert daemon.answers(20)[-1] == {"acked": 20 * i + 19}
        messages += daemon.outputs(20)
        far += [abs(m["timestamp"] - time.time() - jump) for m in messages[-20:]] if i % 2 else []
    expect_run(daemon, model, messages, 100)
    assert {m["epoch"] for m in messages} == {messages[0]["epoch"]}
    assert all(m["timestamp"] == m["seq"] / 100 for m in messages if m["seq"] // 20 % 2 == 0)
    assert max(far) < PATIENCE_S
    for m in messages:
        assert 0 <= m["latency_us"] < PATIENCE_S * 1e6
    # A kill and a time that stepped back: the samples keep the times of their arrival.
    daemon.kill()
    daemon.set(CLOCK, -10**6)
    daemon.start()
    first = daemon_first(daemon)
    again = daemon.outputs(100 - first)
    for key in "timestamp", "seq", "epoch", "y", "x":
        assert [m[key] for m in again] == [m[key] for m in messages[first:]]
    assert daemon.stop()["gaps"] == 0
