"""`apps/demo` as a user starts it; it builds the release preset, whose tests these are."""

import json
import os
import pathlib
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import time
import urllib.request

import pytest
import zmq

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "apps/demo"
PATIENCE_S = 240  # a build may come first


def start(*args, **options):
    return subprocess.Popen([DEMO, *args], start_new_session=True, **options)


def processes_of(session):
    """Processes of a session that are still there."""
    left = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            left.append(stat.parent.name)
    return left


def check_end(process):
    assert processes_of(process.pid) == []
    assert list((ROOT / "build/demo").glob("run-*")) == []


def check_summary(text, seconds):
    samples, seen = map(int, re.search(r"samples +(\d+) \(.* s at 360 Hz\), (\d+) of them seen", text).groups())
    assert 0 < seen <= samples and (seconds is None or samples >= seconds * 360 * 0.5)
    p50, p99, largest = map(float, re.search(r"p50 ([\d.]+) us, p99 ([\d.]+) us, max ([\d.]+) us", text).groups())
    assert 0 < p50 <= p99 <= largest
    assert re.search(r"^beats +\d+", text, re.M)
    late, outputs = map(int, re.search(r"deadlines missed +(\d+) of (\d+)", text).groups())
    assert late <= outputs == samples


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_plain_lines_and_a_subscriber_beside_them():
    port = free_port()
    process = start("--seconds", "5", "--publish", f"tcp://127.0.0.1:{port}", stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger, subscriber.rcvtimeo = 0, PATIENCE_S * 1000
        subscriber.subscribe(b"ecg/")
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        records = [json.loads(subscriber.recv_multipart()[1]) for _ in range(360)]
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    assert [r["seq"] for r in records] == list(range(records[0]["seq"], records[0]["seq"] + 360))
    assert set(records[0]) >= {"timestamp", "seq", "epoch", "quality", "y", "x", "latency_us"}
    text = out.decode()
    assert "\x1b" not in text
    lines = re.findall(r"^t [\d.]+ s  ecg .* mV  heart rate .*/min  beats \d+ .*$", text, re.M)
    assert len(lines) >= 3
    check_summary(text, 5)
    assert int(re.search(r"^beats +(\d+)", text, re.M)[1]) >= 3
    check_end(process)


@pytest.mark.parametrize("whom", ["group", "script"])
def test_a_signal_ends_it_with_its_summary(whom):
    process = start("--publish", "tcp://127.0.0.1:*", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    stdin=subprocess.DEVNULL)
    lines = []
    while not (lines and lines[-1].startswith(b"t ")):
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    if whom == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    check_summary(out.decode(), None)
    check_end(process)


def test_the_picture_on_a_terminal():
    master, slave = pty.openpty()
    import fcntl
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(slave)
    process = start("--seconds", "4", "--publish", "tcp://127.0.0.1:*", stdin=slave, stdout=slave, stderr=slave,
                    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    text, end = "", time.monotonic() + PATIENCE_S
    while "deadlines missed" not in text.split("\x1b[?1049l")[-1] or "\x1b[?1049l" not in text:
        assert time.monotonic() < end and "error" not in text, text[-2000:]
        text += os.read(master, 65536).decode(errors="replace")
    assert process.wait(PATIENCE_S) == 0
    picture = text.split("\x1b[H")[-1]
    for part in ("per minute", "mV", "surprise", "predicted 50 ms ahead", "▼", "now"):
        assert part in picture, part
    assert termios.tcgetattr(slave) == before
    check_summary(text.split("\x1b[?1049l")[-1], 4)
    check_end(process)
    os.close(master)
    os.close(slave)


def test_a_port_in_use_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        process = start("--seconds", "2", "--publish", endpoint, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and endpoint in err.decode() and "in use" in err.decode()
    check_end(process)


@pytest.mark.parametrize("args", [["--seconds"], ["--seconds", "0"], ["--seconds", "soon"], ["--publish"],
                                  ["--publish", 'x", y: "'], ["--frobnicate"], ["now"], ["ecg", "motion"],
                                  ["--page", "127.0.0.1:*"]], ids=" ".join)
def test_bad_usage(args):
    done = subprocess.run([DEMO, *args], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and done.stderr.startswith(b"demo: error: ") and b"expected" in done.stderr


def test_help():
    done = subprocess.run([DEMO, "--help"], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and b"--seconds" in done.stdout and b"--publish" in done.stdout


@pytest.mark.parametrize("name, shown", [("motion", r"^motion/ t=\S+ .* walking=\d\S* .* in acc_x=\S+"),
                                         ("pressure", r"^pressure/ t=\S+ .* surprise=\S+ .* in pressure=\S+")])
def test_another_demo_and_its_page(name, shown):
    process = start(name, "--seconds", "5", "--publish", "tcp://127.0.0.1:*", "--page", "127.0.0.1:*",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    lines, url = [], None
    while not (lines and re.search(shown, lines[-1])):
        lines.append(process.stdout.readline().decode())
        assert lines[-1], process.stderr.read()
        url = url or re.match(r"live page: (http://\S+)$", lines[-1])
    with urllib.request.urlopen(url[1] + "status", timeout=PATIENCE_S) as answer:
        assert name in json.load(answer)["streams"][0]["name"]
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err.decode()
    samples = int(re.search(r"^samples +(\d+)$", out.decode(), re.M)[1])
    assert re.search(rf"^deadlines missed +\d+ of {samples}$", out.decode(), re.M) and samples > 0
    assert re.search(r"^step time +p50 [\d.]+ us, p99 [\d.]+ us, max [\d.]+ us$", out.decode(), re.M)
    check_end(process)
