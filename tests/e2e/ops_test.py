"""How a running daemon is watched: its HTTP port and what hostile clients can do there, the service
manager, the log, `xst status`."""

import http.client
import json
import os
import re
import select
import socket
import subprocess
import time

import pytest
import zmq

from conftest import PATIENCE_S
from xst_tool import BIN, xst

ENDPOINTS = 'publish: {endpoint: "tcp://127.0.0.1:*"}\nhttp: {endpoint: "127.0.0.1:*"}\n'


def pull(model, name="ecg"):
    return ENDPOINTS + f'streams:\n  - {{name: {name}, model: "{model}", ' \
        'source: {type: pull, endpoint: "tcp://127.0.0.1:*"}}\n'


@pytest.fixture
def push():
    """push(daemon, stream name) → a function that sends samples."""
    with zmq.Context() as context:
        sockets = []

        def connect(d, name="ecg"):
            s = context.socket(zmq.PUSH)
            s.linger = 0
            s.connect(d.endpoints[name])
            sockets.append(s)
            return lambda first, count: [
                s.send_string(json.dumps({"t": i / 100, "seq": i, "x": [i % 7 / 7]}))
                for i in range(first, first + count)]
        yield connect
        for s in sockets:
            s.close()


def counts(d):
    return d.status()["streams"][0]["counts"]


def test_status_metrics_and_health_agree_with_the_summary(daemon, model, push, tmp_path):
    d = daemon(pull(model))
    send = push(d)
    send(0, 300)
    send(310, 10)
    d.wait(lambda: counts(d)["samples"] == 310)
    code, headers, body = d.get("/healthz")
    assert (code, body) == (200, b"ok\n")
    status = d.status()
    assert status["streams"][0]["last"]["seq"] == counts(d)["outputs"] - 1
    code, headers, body = d.get("/metrics")
    assert code == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    text = body.decode()
    shown = dict(re.findall(r'^xstd_stream_(\w+)_total\{stream="ecg"\} (\S+)$', text, re.M))
    assert {k: int(v) for k, v in shown.items()} == counts(d)
    assert shown["gaps"] == "1" and shown["missing"] == "10"
    assert int(re.search(r'^process_resident_memory_bytes (\d+)$', text, re.M)[1]) > 1 << 20
    assert re.search(r'^xstd_stream_step_seconds_count\{stream="ecg"\} 320$', text, re.M)
    for line in text.splitlines():  # the exposition format
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|[a-z_]+(\{[^{}]*\})? \S+", line), line
    d.stop()
    summary = json.loads((tmp_path / "summary.json").read_text())["streams"][0]
    assert summary["samples"] == 310 and summary["outputs"] == 320


def test_only_gets_of_this_machine_are_answered(daemon, model):
    d = daemon(pull(model))
    for host in ("localhost", f"LOCALHOST:{d.port}", "127.0.0.1", f"127.0.0.1:{d.port}", "[::1]:80"):
        assert d.get("/healthz", host)[0] == 200, host
    for host in ("example.org", "127.0.0.1.example.org", "localhost.example.org", "", "192.0.2.1",
                 f"evil:{d.port}"):
        code, headers, body = d.get("/status", host)
        assert code == 403 and b"ecg" not in body, host
    assert d.raw(b"GET /status HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert d.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").startswith(
        b"HTTP/1.1 405")
    assert d.get("/no/such")[0] == 404
    code, headers, body = d.get("/")
    policy = headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-(\w{32})'", policy)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert body.count(nonce.encode()) == 2 and b"@NONCE@" not in body
    assert nonce not in d.get("/")[1]["content-security-policy"]
    assert not re.search(rb"(src|href)=\"?(https?:)?//", body)
    assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"


HOSTILE = [
    b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n", os.urandom(4000),
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET /status HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-1," * 1800 + b"\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"1" * 7000 + b"-\r\n\r\n",
    b"GET /events?stream=" + b"%" * 4000 + b" HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"[" * 5000 + b"\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
]


def test_hostile_clients_do_not_hurt_the_stream(daemon, model, push):
    d = daemon(pull(model))
    for request in HOSTILE:
        with socket.create_connection(("127.0.0.1", d.port), PATIENCE_S) as s:
            try:
                s.sendall(request)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:  # answered and closed before all was sent
                pass
    # Half-open connections: more than are served at a time, and nothing more is said.
    idle = [socket.socket() for _ in range(40)]
    for s in idle:
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", d.port))
    # Readers of events that do not read.
    send = push(d)
    send(0, 3000)
    for s in idle:
        s.close()
    d.wait(lambda: counts(d)["samples"] == 3000)
    assert counts(d)["errors"] == 0 and d.get("/healthz")[0] == 200
    d.stop()


def events(d, stream="ecg"):
    connection = http.client.HTTPConnection("127.0.0.1", d.port, timeout=PATIENCE_S)
    connection.request("GET", "/events?stream=" + stream)
    return connection.getresponse()


def read_event(response, wanted):
    """The next event of that kind, as JSON."""
    while True:
        kind = response.readline()
        if kind == b"event: " + wanted.encode() + b"\n":
            return json.loads(response.readline().split(b": ", 1)[1])
        assert kind, "the stream has ended"


def test_events_carry_series_status_and_points(daemon, model, push):
    d = daemon(pull(model))
    send = push(d)
    send(0, 50)
    response = events(d, "")
    assert response.headers["Content-Type"] == "text/event-stream"
    series = read_event(response, "series")
    assert series["name"] == "ecg" and series["inputs"][0]["name"] == "ecg"
    kinds = {s["name"]: s["kind"] for s in series["outputs"]}
    assert kinds["next"] == "gaussian" and kinds["next.sigma"] == "sigma"
    assert read_event(response, "status")["stream"]["name"] == "ecg"
    got = []
    while len(got) < 50:
        points = read_event(response, "points")
        assert points["lost"] == 0
        got += points["low"][0]
    assert got == pytest.approx([i % 7 / 7 for i in range(50)], rel=1e-4)


def test_eight_viewers_and_no_more(daemon, model):
    d = daemon(pull(model))
    viewers = [events(d) for _ in range(8)]
    assert [v.status for v in viewers] == [200] * 8
    assert events(d).status == 503
    assert b"xstd_viewers 8\n" in d.get("/metrics")[2]
    assert d.get("/")[0] == 200  # there is room for other requests
    viewers.pop().close()
    d.wait(lambda: events(d).status == 200)
    d.stop()  # with viewers connected


def test_a_viewer_that_does_not_read_is_let_go(daemon, model, push):
    d = daemon(pull(model))
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", d.port))
        s.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        send = push(d)
        sent = 0

        def gone():
            nonlocal sent
            send(sent, 500)
            sent += 500
            time.sleep(0.2)
            return b"xstd_viewers 0\n" in d.get("/metrics")[2]
        d.wait(lambda: b"xstd_viewers 1\n" in d.get("/metrics")[2])
        d.wait(gone)
    d.wait(lambda: counts(d)["samples"] == sent)
    d.stop()


def test_a_taken_port_is_named(daemon, model, tmp_path):
    d = daemon(pull(model))
    other = tmp_path / "other.yaml"
    other.write_text(pull(model).replace('http: {endpoint: "127.0.0.1:*"}',
                                         f'http: {{endpoint: "127.0.0.1:{d.port}"}}'))
    done = subprocess.run([BIN / "xstd", "--config", other], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"http endpoint 127.0.0.1:{d.port}: expected" in done.stderr and "ready publish" not in done.stderr


def test_xst_status(daemon, model, push):
    d = daemon(pull(model))
    push(d)(0, 20)
    d.wait(lambda: counts(d)["samples"] == 20)
    table = xst("status", f"127.0.0.1:{d.port}")
    assert table.returncode == 0, table.stderr
    assert re.search(r"^ecg +up +20 +0/1,024 ", table.stdout.decode(), re.M), table.stdout.decode()
    as_json = json.loads(xst("status", f"http://localhost:{d.port}", "--json").stdout)
    assert as_json["streams"][0]["counts"]["samples"] == 20
    d.stop()
    done = xst("status", f"127.0.0.1:{d.port}")
    assert done.returncode == 1 and b"expected a daemon" in done.stderr
    assert xst("status", "nonsense").returncode == 2


def test_json_log(daemon, model, push):
    d = daemon("log: {format: json}\n" + pull(model))
    with zmq.Context() as context, context.socket(zmq.PUSH) as s:
        s.connect(d.endpoints["ecg"])
        s.send_string('{"x": ["\\u0007"]}')
        d.wait(lambda: counts(d)["rejected"] == 1)
    d.stop()
    lines = [json.loads(line) for line in d.text().splitlines()]
    assert lines[0]["message"].startswith("ready publish=tcp://127.0.0.1:")
    warning = next(line for line in lines if line["level"] == "warning")
    assert warning["stream"] == "ecg" and "1 malformed messages" in warning["message"]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket; its next messages."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(PATIENCE_S)
        yield s


def test_service_manager_hears_ready_watchdog_and_stopping(daemon, model, manager, push):
    env = os.environ | {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"}
    d = daemon(pull(model), env)

    def until(wanted):
        seen = []
        while wanted not in seen:
            seen.append(manager.recv(4096).decode())
        return seen
    assert until("READY=1")[-1] == "READY=1"
    until("WATCHDOG=1")  # nothing waits
    push(d)(0, 100)
    d.wait(lambda: counts(d)["samples"] == 100)
    until("WATCHDOG=1")
    until("WATCHDOG=1")
    while select.select([manager], [], [], 0)[0]:
        manager.recv(4096)
    d.stop()
    assert "STOPPING=1" in until("STOPPING=1")
