"""A running xstd, for tests in Python."""

import json
import pathlib
import re
import signal
import subprocess
import tempfile

import zmq

from xst_tool import BIN

PATIENCE_S = 60  # for a process to get somewhere; never what a test measures


class Xstd:
    """Starts `xstd` with a configuration text and waits until it is ready; stops it at the end of a `with`."""

    def __init__(self, config, *args, stdin=subprocess.DEVNULL, prefix=()):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        (self.path / "xstd.yaml").write_text(config)
        self.log = open(self.path / "log", "w+b")
        self.process = subprocess.Popen(
            [*prefix, BIN / "xstd", "--config", self.path / "xstd.yaml", "--summary", self.path / "summary.json", *map(str, args)],
            stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        lines = []
        while True:
            line = self.process.stderr.readline().decode()
            lines.append(line)
            if line.startswith("ready "):
                break
            assert line, "".join(lines)
        self.endpoints = dict(word.split("=", 1) for word in line.split()[1:])
        # The rest goes to a file, lest a full pipe stop the daemon.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)
        self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        self.folder.cleanup()

    def stop(self):
        """SIGTERM; the exit status, with everything it logged in `err`."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.drain.wait(PATIENCE_S)
        self.err = (self.path / "log").read_text()
        return status

    def summary(self):
        return json.loads((self.path / "summary.json").read_text())

    def rss_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def assert_grew_less(self, before_mb, most_mb):
        """Of its memory; AddressSanitizer keeps what was freed for a while."""
        if "libasan" in pathlib.Path(f"/proc/{self.process.pid}/maps").read_text():
            most_mb += 512
        grown = self.rss_mb() - before_mb
        assert grown < most_mb, f"grew by {grown:.0f} MB"


def read_key(path):
    """The key of a file of `xst keygen`."""
    return next(line.encode() for line in path.read_text().split("\n") if line and not line.startswith("#"))


def subscriber(context, endpoint, topic=b"", keys=None):
    """A SUB socket; keys: (server public, own public, own secret)."""
    socket = context.socket(zmq.SUB)
    socket.rcvtimeo, socket.linger = PATIENCE_S * 1000, 0
    if keys:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = keys
    socket.subscribe(topic)
    socket.connect(endpoint)
    return socket
