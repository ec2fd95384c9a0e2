"""What xstd publishes beside its records: times, flatbuffers, snapshots, heartbeats, alarms."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

import numpy as np
import pytest
import zmq

from xst_tool import BIN, good
from xstd_tool import PATIENCE_S, Xstd, subscriber

APPS = pathlib.Path(__file__).resolve().parents[2] / "apps"
KEYS = {"timestamp", "seq", "epoch", "quality", "y", "x", "latency_us"}
NAMES = ["rest", "walk", "run", "speed", "logit"]


@pytest.fixture
def context():
    c = zmq.Context()
    yield c
    c.destroy(linger=0)


def config(model, tmp_path, publish="", stream="", top=""):
    return f"""
publish: {{endpoint: "ipc://{tmp_path}/pub"{publish}}}
{top}
streams:
  - name: s
    model: {model}
    source: {{type: pull, endpoint: "ipc://{tmp_path}/pull"}}
    {stream}
"""


class Pusher:
    def __init__(self, context, endpoint):
        self.socket, self.seq = context.socket(zmq.PUSH), 0
        self.socket.linger = PATIENCE_S * 1000
        self.socket.connect(endpoint)

    def push(self, *rows):
        for row in rows:
            self.socket.send_string(json.dumps({"t": self.seq / 100, "seq": self.seq, "x": list(row)}))
            self.seq += 1


class Watch:
    """A running `xst watch` and what it prints."""

    def __init__(self, endpoint, *args):
        self.process = subprocess.Popen([BIN / "xst", "watch", endpoint, *args], stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b""

    def until(self, pattern, meanwhile=lambda: None):
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < end and self.process.poll() is None, self.text
            meanwhile()
            time.sleep(0.02)
            self.text += self.process.stdout.read() or b""

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE_S) == 0


def joined(context, daemon, push, topic=b""):
    """A subscriber that surely gets what comes from now on."""
    socket = subscriber(context, daemon.endpoints["publish"], topic)
    socket.rcvtimeo = 20
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        push.push((0, 0, 0))
        try:
            socket.recv_multipart()
            break
        except zmq.Again:
            pass
    socket.rcvtimeo = PATIENCE_S * 1000
    return socket


def records(socket, until, topic=b"s/"):
    """Messages up to the record of that seq."""
    got = []
    while True:
        got.append(socket.recv_multipart())
        if got[-1][0] == topic and json.loads(got[-1][1]).get("seq") == until:
            return got


def test_default_records_are_as_ever(models, context, tmp_path):
    with Xstd(config(models["wrapped"], tmp_path)) as daemon:
        push = Pusher(context, daemon.endpoints["s"])
        socket = joined(context, daemon, push)
        push.push((1, 2, 3), (4, 5, 6))
        got = records(socket, push.seq - 1)
        assert set(daemon.endpoints) == {"publish", "s"}
        assert daemon.stop() == 0
        assert {topic for topic, _ in got} == {b"s/"}
        assert all(set(json.loads(payload)) == KEYS for _, payload in got)
        socket.rcvtimeo = 300
        with pytest.raises(zmq.Again):  # no word at the end either
            socket.recv_multipart()


def test_times(models, context, tmp_path):
    before = time.time()
    with Xstd(config(models["wrapped"], tmp_path, ", times: true")) as daemon:
        push = Pusher(context, daemon.endpoints["s"])
        socket = joined(context, daemon, push)
        push.push((1, 2, 3))
        record = json.loads(records(socket, push.seq - 1)[-1][1])
    assert set(record) == KEYS | {"t_receive", "t_publish"}
    assert record["timestamp"] == (push.seq - 1) / 100
    assert before - 5 < record["t_receive"] <= record["t_publish"] < time.time() + 5


def test_snapshots_for_who_comes_late(models, context, tmp_path):
    text = config(models["wrapped"], tmp_path, f', snapshot: "ipc://{tmp_path}/snapshot", heartbeat_s: 0.05',
                  "alarms: [{name: on, output: speed, above: -1e9}]")
    with Xstd(text) as daemon:
        assert daemon.endpoints["snapshot"] == f"ipc://{tmp_path}/snapshot"
        req = context.socket(zmq.REQ)
        req.rcvtimeo, req.linger = PATIENCE_S * 1000, 0
        req.connect(daemon.endpoints["snapshot"])

        def ask(prefix):
            req.send(prefix)
            parts = req.recv_multipart()
            assert len(parts) % 2 and parts[-1] == b""
            return list(zip(parts[::2], parts[1::2]))

        assert ask(b"") == []  # nothing yet
        push = Pusher(context, daemon.endpoints["s"])
        socket = joined(context, daemon, push)
        push.push((1, 2, 3), (4, 5, 6))
        live = [payload for topic, payload in records(socket, push.seq - 1) if topic == b"s/"][-1]
        assert ask(b"s/") == [(b"s/", live)]
        assert ask(b"") == [(b"s/", live), *ask(b"alarm/s/")]
        assert ask(b"other") == ask(b"s/x") == []
        alarm = json.loads(ask(b"alarm/")[0][1])
        assert alarm["name"] == "on" and alarm["active"] is True
        # A DEALER has no delimiter; questions of many frames, or too long, are passed over.
        dealer = context.socket(zmq.DEALER)
        dealer.rcvtimeo, dealer.linger = PATIENCE_S * 1000, 0
        dealer.connect(daemon.endpoints["snapshot"])
        dealer.send_multipart([b"a", b"b", b"c", b"d"])
        dealer.send(b"s/")
        assert dealer.recv_multipart() == [b"s/", live, b""]
        # Who asks and never reads costs a few answers.
        for _ in range(5000):
            dealer.send(b"")
        assert ask(b"s/") == [(b"s/", live)]


def test_heartbeats_and_bye(models, context, tmp_path):
    with Xstd(config(models["wrapped"], tmp_path, ", heartbeat_s: 0.02")) as daemon:
        push = Pusher(context, daemon.endpoints["s"])
        socket = joined(context, daemon, push)
        push.push((1, 2, 3))
        record = json.loads(records(socket, push.seq - 1)[-1][1])
        while True:
            topic, payload = socket.recv_multipart()
            assert topic == b"_xstd/"
            beat = json.loads(payload)
            assert set(beat) == {"timestamp", "streams"}
            if beat["streams"]["s"]["seq"] == record["seq"]:
                break
        assert beat["streams"] == {"s": {"epoch": record["epoch"], "seq": record["seq"]}}
        watch = Watch(daemon.endpoints["publish"])
        watch.until(b"s/ t=", lambda: push.push((1, 2, 3)))
        daemon.stop()
        last = socket.recv_multipart()
        while not (last[0] == b"_xstd/" and b"bye" in last[1]):
            last = socket.recv_multipart()
        bye = json.loads(last[1])
        assert bye["bye"] is True and bye["streams"]["s"]["seq"] == push.seq - 1
        watch.until(b"the daemon has stopped\n")
        watch.stop()


def test_alarms_are_raised_and_cleared(models, inputs, context, tmp_path):
    x = inputs["wrapped"].reshape(-1, 3)
    np.save(tmp_path / "x.npy", x)
    good("run", models["wrapped"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    speed = np.load(tmp_path / "y.npy")[:, NAMES.index("speed")]
    high, low = np.quantile(speed, [0.7, 0.4])
    want, active = [], False
    for seq, value in enumerate(speed):
        if (value <= low) if active else (value > high):
            active = not active
            want.append((seq, active))
    assert len(want) >= 2, "the recording has no alarm in it"
    text = config(models["wrapped"], tmp_path, stream=f"""alarms:
      - {{name: fast, output: speed, above: {float(high)!r}, clear: {float(low)!r}}}
      - {{name: never, output: walk, above: 2}}""")
    with Xstd(text, "--wait-subscriber", PATIENCE_S) as daemon:
        socket = subscriber(context, daemon.endpoints["publish"])
        push = Pusher(context, daemon.endpoints["s"])
        push.push(*[[float(v) if np.isfinite(v) else None for v in row] for row in x])
        got = records(socket, len(x) - 1)
        daemon.stop()
        got += [socket.recv_multipart()] if want[-1][0] == len(x) - 1 else []
    alarms = [json.loads(payload) for topic, payload in got if topic == b"alarm/s/"]
    assert [(a["seq"], a["active"]) for a in alarms] == want
    for a in alarms:
        assert set(a) == {"timestamp", "seq", "epoch", "name", "output", "active", "value"}
        assert (a["name"], a["output"]) == ("fast", "speed")
        assert np.float32(a["value"]) == speed[a["seq"]]
    # Each right behind its output.
    for i, (topic, payload) in enumerate(got):
        if topic == b"alarm/s/":
            assert json.loads(got[i - 1][1])["seq"] == json.loads(payload)["seq"]


def test_an_alarm_on_no_output(models, tmp_path):
    (tmp_path / "x.yaml").write_text(config(models["wrapped"], tmp_path, stream="alarms: [{name: a, output: pulse, above: 1}]"))
    for args in (["--check-config"], []):
        done = subprocess.run([BIN / "xstd", "--config", tmp_path / "x.yaml", *args], capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 1
        assert re.search(rb"x\.yaml:8:32: streams\[0\]\.alarms\[0\]\.output: expected an output of the model "
                         rb'\(rest, walk, run, speed, logit\), got "pulse"', done.stderr), done.stderr


def test_watch_reads_flatbuffers(models, context, tmp_path):
    with Xstd(config(models["wrapped"], tmp_path, ", encoding: flatbuffer, heartbeat_s: 0.1",
                     "alarms: [{name: on, output: speed, above: -1e9}]")) as daemon:
        push = Pusher(context, daemon.endpoints["s"])
        socket = joined(context, daemon, push, b"s/")
        push.push((1, 2, 3))
        topic, payload = socket.recv_multipart()
        assert topic == b"s/" and payload[4:8] == b"XSTO"
        watch = Watch(daemon.endpoints["publish"])
        watch.until(rb"s/ t=.*speed=.*logit=.*in a0=1\.00 in a1=2\.00 in a2=3\.00",
                    lambda: push.push((1, 2, 3)))
        watch.stop()


def run_example(endpoint, *keys):
    return subprocess.Popen([sys.executable, APPS / "examples/subscribe.py", endpoint, *keys], stdout=subprocess.PIPE)


def test_the_python_subscriber_shows_gaps(context):
    publish = context.socket(zmq.XPUB)
    publish.linger = 0
    port = publish.bind_to_random_port("tcp://127.0.0.1")
    process = run_example(f"tcp://127.0.0.1:{port}")
    assert publish.recv() == b"\x01"
    for epoch, seq in [(1, 0), (1, 1), (1, 5), (2, 9), (2, 10)]:
        publish.send_multipart([b"s/", json.dumps({"epoch": epoch, "seq": seq, "y": {}}).encode()])
    publish.send_multipart([b"_xstd/", b'{"timestamp": 1, "streams": {}}'])
    lines = []
    while not (lines and lines[-1].startswith("_xstd/")):
        lines.append(process.stdout.readline().decode())
    assert [line for line in lines if "lost" in line] == ["s/ lost 3 records\n"]
    assert len(lines) == 7
    process.kill()
    process.wait()
    assert len((APPS / "examples/subscribe.py").read_text().splitlines()) <= 24


def test_the_python_subscriber_with_keys(models, context, tmp_path):
    (tmp_path / "clients").mkdir()
    for name in ("daemon", "clients/me"):
        good("keygen", "-o", tmp_path / name)
    text = config(models["wrapped"], tmp_path, top=f"curve: {{secret: {tmp_path}/daemon.secret, clients: {tmp_path}/clients}}")
    with Xstd(text.replace(f"ipc://{tmp_path}/pub", "tcp://127.0.0.1:*")) as daemon:
        process = run_example(daemon.endpoints["publish"], tmp_path / "daemon.public", tmp_path / "clients/me.secret")
        os.set_blocking(process.stdout.fileno(), False)
        push, end, text = Pusher(context, daemon.endpoints["s"]), time.monotonic() + PATIENCE_S, b""
        while b"s/ {" not in text:
            assert time.monotonic() < end and process.poll() is None
            push.push((1, 2, 3))
            time.sleep(0.02)
            text += process.stdout.read() or b""
        process.kill()
        process.wait()


def test_the_plotjuggler_layout_names_what_the_demo_publishes():
    layout = xml.parse(APPS / "examples/plotjuggler.xml").getroot()
    assert layout.tag == "root" and layout.find("tabbed_widget/Tab/Container/DockSplitter") is not None
    config = (APPS / "demos/ecg/model/config.yaml").read_text()
    names = set()
    for kind, name in re.findall(r"^  - (gaussian|surprise|sigmoid): (\S+)$", config, re.M):
        names |= {f"ecg//y/{name}"} | ({f"ecg//y/{name}.sigma"} if kind == "gaussian" else set())
    names |= {"ecg//x/ecg", "ecg//latency_us", "ecg//quality"}
    curves = {curve.get("name") for curve in layout.iter("curve")}
    assert curves and curves <= names, curves - names
    for splitter in layout.iter("DockSplitter"):
        assert int(splitter.get("count")) == len(splitter) == len(splitter.get("sizes").split(";"))
    assert int(layout.find("tabbed_widget/Tab").get("containers")) == 1
