"""What the Python suites of the running daemon share."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import BIN, VECTORS, good  # noqa: E402

PATIENCE_S = 60  # for a process to get somewhere; never what a test measures


class Daemon:
    """A running xstd; .endpoints by the names of its ready line."""

    def __init__(self, folder, text, env=None):
        self.config = folder / "xstd.yaml"
        self.config.write_text(text)
        self.log = folder / "xstd.log"
        with open(self.log, "wb") as err:
            self.process = subprocess.Popen(
                [BIN / "xstd", "--config", self.config, "--summary", folder / "summary.json"],
                stdin=subprocess.DEVNULL, stderr=err, env=env)
        end = time.monotonic() + PATIENCE_S
        while not (ready := re.search(r"ready ([^\"\n]+)[\"\n]", self.text())):
            assert self.process.poll() is None and time.monotonic() < end, self.text()
            time.sleep(0.01)
        self.endpoints = dict(word.split("=", 1) for word in ready[1].split())
        if "http" in self.endpoints:
            self.port = int(self.endpoints["http"].rsplit(":", 1)[1])

    def text(self):
        return self.log.read_text(errors="replace")

    def raw(self, request, timeout=PATIENCE_S):
        """The whole answer to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as s:
            s.sendall(request)
            answer = b""
            try:
                while piece := s.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer

    def get(self, path, host="localhost"):
        """Status, headers in lower case, body."""
        answer = self.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head, body = answer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), headers, body

    def status(self):
        return json.loads(self.get("/status")[2])

    def wait(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None and time.monotonic() < end, self.text()
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.text()


@pytest.fixture
def daemon(tmp_path):
    """daemon(yaml text) starts one; ended with the test."""
    running = []

    def start(text, env=None):
        running.append(Daemon(tmp_path, text, env))
        return running[-1]
    yield start
    for d in running:
        d.process.kill()
        d.process.wait()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """stream/forecaster, packed: one channel at 100 Hz."""
    path = tmp_path_factory.mktemp("model") / "forecaster.xst"
    good("pack", VECTORS / "stream/forecaster", "-o", path)
    return path
