"""`xst replay` and `xst watch` against real sockets, without a daemon."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import numpy as np
import pytest
import zmq

from xst_tool import BIN, xst

PATIENCE_S = 60  # for a process to get somewhere; never what a test measures


@pytest.fixture
def context():
    with zmq.Context() as c:
        yield c


@pytest.fixture
def pull(context):
    socket = context.socket(zmq.PULL)
    socket.rcvtimeo = PATIENCE_S * 1000
    socket.linger = 0
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    yield socket, f"tcp://127.0.0.1:{port}"
    socket.close()


@pytest.fixture
def publish(context):
    socket = context.socket(zmq.XPUB)
    socket.rcvtimeo = PATIENCE_S * 1000
    socket.linger = 0
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    yield socket, f"tcp://127.0.0.1:{port}"
    socket.close()


def start(*args, **options):
    return subprocess.Popen([BIN / "xst", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process, status=0):
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, err.decode()
    return out.decode(), err.decode()


def record(seq, topic="ecg/", quality=0, **y):
    payload = {"timestamp": seq / 10, "seq": seq, "epoch": 7, "quality": quality, "y": y, "x": {"ecg": -0.5},
               "latency_us": 12.5}
    return [topic.encode(), json.dumps(payload).encode()]


def test_replay_sends_every_sample_once_in_order(pull, tmp_path):
    socket, endpoint = pull
    x = np.random.default_rng(1).standard_normal((5000, 2)).astype(np.float32)
    x[7, 1] = np.nan
    rows = "".join(f"{i / 100:.2f},{a!r},{'' if np.isnan(b) else repr(b)}\n" for i, (a, b) in enumerate(x.tolist()))
    (tmp_path / "d.csv").write_text("t,a,b\n" + rows)
    process = start("replay", tmp_path / "d.csv", "--to", endpoint, "--fast")
    got = [json.loads(socket.recv()) for _ in x]
    out, _ = finish(process)
    assert "sent 5000 samples" in out
    assert [m["t"] for m in got] == [round(i / 100, 2) for i in range(len(x))]
    values = np.array([[np.nan if v is None else v for v in m["x"]] for m in got], np.float32)
    assert np.array_equal(values, x, equal_nan=True)
    assert all(set(m) == {"t", "x"} for m in got)
    assert got[7]["x"][1] is None


def test_replay_keeps_a_sequence_number_and_needs_no_time(pull, tmp_path):
    socket, endpoint = pull
    (tmp_path / "d.csv").write_text('"a","seq"\r\n1.5,10\r\nnan,12\r\n+2,13\r\n')
    process = start("replay", tmp_path / "d.csv", "--to", endpoint, "--rate", 1000)
    assert [json.loads(socket.recv()) for _ in range(3)] == [
        {"seq": 10, "x": [1.5]}, {"seq": 12, "x": [None]}, {"seq": 13, "x": [2]}]
    finish(process)


def test_replay_waits_for_a_listener_and_for_room(context, tmp_path):
    """Far more than the sockets hold: nothing is lost while nobody reads."""
    (tmp_path / "d.csv").write_text("a\n" + "".join(f"{i}\n" for i in range(300_000)))
    endpoint = f"ipc://{tmp_path}/socket"
    process = start("replay", tmp_path / "d.csv", "--to", endpoint, "--fast")
    line = process.stderr.readline().decode()
    assert "waiting for a listener at " + endpoint in line
    with context.socket(zmq.PULL) as socket:
        socket.rcvtimeo, socket.linger = PATIENCE_S * 1000, 0
        socket.bind(endpoint)
        assert json.loads(socket.recv()) == {"x": [0]}
        time.sleep(0.5)
        assert process.poll() is None
        assert [json.loads(socket.recv())["x"][0] for _ in range(299_999)] == list(range(1, 300_000))
    finish(process)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_replay_into_a_daemon_that_does_not_read_yet(transport, models, context, tmp_path):
    """More than rings hold, and as much as fits into the network's buffers sent before the daemon reads any."""
    columns = "".join(f"{i}," * 2 + f"{i}\n" for i in range(50_000))
    (tmp_path / "d.csv").write_text("a0,a1,a2\n" + columns)
    endpoint = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/pull"
    (tmp_path / "xstd.yaml").write_text(f"""
publish: {{endpoint: "ipc://{tmp_path}/pub"}}
streams:
  - {{name: s, model: {models["wrapped"]}, source: {{type: pull, endpoint: "{endpoint}"}}}}
""")
    daemon = subprocess.Popen([BIN / "xstd", "--config", tmp_path / "xstd.yaml", "--wait-subscriber", "60",
                               "--summary", tmp_path / "s.json"], stderr=subprocess.PIPE)
    try:
        ready = daemon.stderr.readline().decode()
        replay = start("replay", tmp_path / "d.csv", "--to", re.search(r" s=(\S+)", ready)[1], "--fast")
        time.sleep(3)  # longer than connections may be silent
        with context.socket(zmq.SUB) as outputs:
            outputs.rcvtimeo, outputs.linger, outputs.rcvhwm = PATIENCE_S * 1000, 0, 0
            outputs.subscribe(b"")
            outputs.connect(f"ipc://{tmp_path}/pub")
            while b'"seq":49999,' not in outputs.recv_multipart()[1].replace(b" ", b""):
                pass
        out, _ = finish(replay)
        assert "sent 50000 samples" in out
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=PATIENCE_S)
    stream = json.loads((tmp_path / "s.json").read_text())["streams"][0]
    assert stream["samples"] == stream["outputs"] == 50_000


@pytest.mark.parametrize("text,names", [
    ("", ["line 1", "header"]), ("1,2\n3,4\n", ["line 1", "header"]), ("t\n1\n", ["line 1"]),
    ("t,a\n0,1\n1\n", ["line 3", "2 fields"]), ("t,a\n0,1\n1,2,3\n", ["line 3"]), ("t,a\n0,x\n", ["line 2", "x"]),
    ("t,a\nsoon,1\n", ["line 2", "soon"]), ("t,a\n,1\n", ["line 2"]), ("a,seq\n1,-1\n", ["line 2", "-1"]),
])
def test_replay_of_a_bad_recording(text, names, pull, tmp_path):
    (tmp_path / "d.csv").write_text(text)
    done = xst("replay", tmp_path / "d.csv", "--to", pull[1], "--rate", 1e6)
    assert done.returncode == 1
    for name in ("xst: error: ", "d.csv", "expected", "got", *names):
        assert name in done.stderr.decode(), (name, done.stderr)


def test_replay_needs_a_pace(pull, tmp_path):
    (tmp_path / "d.csv").write_text("a\n1\n")
    done = xst("replay", tmp_path / "d.csv", "--to", pull[1])
    assert done.returncode == 2 and b"--rate" in done.stderr


@pytest.mark.parametrize("command", [["replay", "d.csv", "--fast", "--to"], ["watch"]])
def test_an_endpoint_that_cannot_be(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_text("a\n1\n")
    done = xst(*command, "nowhere")
    assert done.returncode == 1 and done.stderr.startswith(b"xst: error: endpoint: expected tcp://HOST:PORT")


def test_watch_without_a_terminal_prints_a_line_a_second(publish):
    socket, endpoint = publish
    process = start("watch", endpoint)
    assert socket.recv() == b"\x01"
    socket.send_multipart([b"ecg/", b"no json"])
    socket.send_multipart([b"one frame"])
    socket.send_multipart(record(0, quality=5, next=1.25, beat=None))
    socket.send_multipart([b"x/\x1b[2J", record(0, up=1)[1]])
    lines = [process.stdout.readline().decode() for _ in range(2)]
    assert "\x1b" not in "".join(lines)
    ecg = next(line for line in lines if line.startswith("ecg/ "))
    for word in ("next=1.25", "beat=–", "in ecg=-0.5", "quality=held warming", "latency=12.5us", "seq=0"):
        assert word in ecg, (word, ecg)
    assert any(line.startswith("x/?[2J ") and "up=1.00" in line for line in lines)
    process.send_signal(signal.SIGINT)
    finish(process)


def test_watch_ends_by_itself(publish):
    done = xst("watch", publish[1], "--seconds", "0.3")
    assert done.returncode == 0 and done.stdout == b""


class Terminal:
    """A pseudo-terminal with a process in it and everything it wrote."""

    def __init__(self, columns, rows, *args):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen([BIN / "xst", *map(str, args)], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, preexec_fn=lambda: os.close(os.open(os.ttyname(slave), os.O_RDWR)))
        self.text = ""

    def resize(self, columns, rows):
        import fcntl
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, pattern, feed=lambda: None):
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text, re.S):
            assert time.monotonic() < end, f"no {pattern!r} in {self.text[-3000:]!r}"
            feed()
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def frame(self, feed):
        """Lines of the next whole picture, without escapes."""
        self.text = ""
        self.read_until(r"\x1b\[H.*\x1b\[H", feed)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text.split("\x1b[H")[1]).split("\r\r\n")

    def close(self):
        os.close(self.slave)
        os.close(self.master)


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "key"])
def test_watch_on_a_terminal_draws_and_restores_it(ending, publish):
    socket, endpoint = publish
    terminal = Terminal(70, 20, "watch", endpoint)
    terminal.read_until(r"\x1b\[\?1049h\x1b\[\?25l")
    assert socket.recv() == b"\x01"
    seq = [0]

    def feed():
        for _ in range(20):
            socket.send_multipart(record(seq[0], next=float(np.sin(seq[0] / 5)), beat=0.5))
            seq[0] += 1

    terminal.read_until("next.*beat.*in ecg", feed)
    terminal.read_until("[\u2801-\u28ff]{3}", feed)
    lines = terminal.frame(feed)
    assert len(lines) == 20 and all(len(line) <= 69 for line in lines)
    assert endpoint in lines[-1]

    terminal.resize(40, 10)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.text = ""
    terminal.read_until(r"\x1b\[2J", feed)
    lines = terminal.frame(feed)
    assert len(lines) == 10 and all(len(line) <= 39 for line in lines)

    if ending == "key":
        os.write(terminal.master, b"q")
    else:
        terminal.process.send_signal(getattr(signal, ending))
    terminal.read_until(r"\x1b\[\?25h\x1b\[\?1049l")
    assert terminal.process.wait(PATIENCE_S) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.close()
