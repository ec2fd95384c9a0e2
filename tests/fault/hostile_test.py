"""Peers that mean harm, or are broken: xstd serves the good ones all along, and tells the others nothing."""

import json
import os
import pathlib
import random
import signal
import socket as net
import stat
import struct
import subprocess
import sys
import time

import pytest
import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import BIN, VECTORS, good, xst  # noqa: E402
from xstd_tool import PATIENCE_S, Xstd, read_key, subscriber  # noqa: E402

SECRET_WORD = b"timestamp"  # in every record


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.xst"
    good("pack", VECTORS / "stream/classifier", "-o", path)
    return path


@pytest.fixture
def context():
    c = zmq.Context()
    yield c
    c.destroy(linger=0)


@pytest.fixture
def keys(tmp_path):
    """Key files: the daemon's, two clients' that it knows, a stranger's."""
    (tmp_path / "clients").mkdir()
    for name in ("daemon", "clients/one", "clients/two", "stranger"):
        good("keygen", "-o", tmp_path / name)
    return tmp_path


def trio(keys, client, server="daemon"):
    """What a client socket needs."""
    return tuple(read_key(keys / f"{name}") for name in (f"{server}.public", f"{client}.public", f"{client}.secret"))


def config(model, publish="tcp://127.0.0.1:*", pull="tcp://127.0.0.1:*", keys=None, more=""):
    curve = f"curve: {{secret: {keys}/daemon.secret, clients: {keys}/clients}}" if keys else ""
    return f"""
publish: {{endpoint: "{publish}"{more}}}
{curve}
streams:
  - {{name: s, model: {model}, source: {{type: pull, endpoint: "{pull}"}}}}
"""


class Client:
    """A sensor and a subscriber that do nothing wrong."""

    def __init__(self, context, daemon, keys=None):
        self.push = context.socket(zmq.PUSH)
        self.push.linger, self.seq = 0, 0
        if keys:
            self.push.curve_serverkey, self.push.curve_publickey, self.push.curve_secretkey = keys
        self.push.connect(daemon.endpoints["s"])
        self.outputs = subscriber(context, daemon.endpoints["publish"], b"s/", keys)
        self.outputs.rcvtimeo = 50
        self.seen = -1
        end = time.monotonic() + PATIENCE_S
        while self.seen < 0:
            assert time.monotonic() < end, "never served"
            self.send()
            self.read()
        self.outputs.rcvtimeo = PATIENCE_S * 1000

    def send(self):
        self.push.send_string(json.dumps({"t": self.seq / 100, "seq": self.seq, "x": [1, 2, self.seq % 7]}))
        self.seq += 1

    def read(self):
        try:
            seq = json.loads(self.outputs.recv_multipart()[1])["seq"]
        except zmq.Again:
            return
        assert self.seen < 0 or seq == self.seen + 1, "a gap"
        self.seen = seq

    def check(self, count=50):
        """Nothing missing from the last check to now."""
        for _ in range(count):
            self.send()
        while self.seen < self.seq - 1:
            before = self.seen
            self.read()
            assert self.seen > before, "not served"


def tcp(endpoint):
    host, port = endpoint[6:].rsplit(":", 1)
    return net.create_connection((host, int(port)))


def drain(connection):
    """What has arrived so far, up to its end."""
    connection.setblocking(False)
    got = b""
    try:
        while chunk := connection.recv(65536):
            got += chunk
    except (BlockingIOError, ConnectionError):
        pass
    return got


def test_keygen_makes_a_pair_and_never_overwrites(tmp_path):
    out = good("keygen", "-o", tmp_path / "a").decode().split()
    assert out == [f"{tmp_path}/a.secret", f"{tmp_path}/a.public"]
    assert stat.S_IMODE((tmp_path / "a.secret").stat().st_mode) == 0o600
    assert zmq.curve_public(read_key(tmp_path / "a.secret")) == read_key(tmp_path / "a.public")
    before = (tmp_path / "a.secret").read_text()
    for path in ("a.secret", "b.public"):
        (tmp_path / path).touch()
        done = xst("keygen", "-o", tmp_path / path.split(".")[0])
        assert done.returncode == 1 and b"expected to write a new file, got one that is there" in done.stderr
    assert (tmp_path / "a.secret").read_text() == before
    assert not (tmp_path / "b.secret").exists()


@pytest.mark.parametrize("address", ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://[::]:*"])
@pytest.mark.parametrize("what", ["publish", "pull", "snapshot"])
def test_no_network_without_keys(model, address, what, tmp_path):
    text = config(model, more=f', snapshot: "{address}"') if what == "snapshot" else config(model, **{what: address})
    (tmp_path / "x.yaml").write_text(text)
    done = subprocess.run([BIN / "xstd", "--config", tmp_path / "x.yaml"], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert b"expected a loopback address" in done.stderr and b"needs curve" in done.stderr, done.stderr


def test_files_of_keys_that_are_none(model, keys, tmp_path):
    secrets = [read_key(keys / f"{name}.secret").decode() for name in ("daemon", "clients/one")]

    def refused(*words):
        for args in ([], ["--check-config"]):
            refused_by(args, words)

    def refused_by(args, words):
        done = subprocess.run([BIN / "xstd", "--config", tmp_path / "x.yaml", *args], capture_output=True,
                              timeout=PATIENCE_S)
        text = done.stderr.decode()
        assert done.returncode == 1 and "expected" in text and "got" in text, text
        for word in words:
            assert word in text, text
        assert not any(secret in text for secret in secrets)

    (tmp_path / "x.yaml").write_text(config(model, keys=keys))
    secret = keys / "daemon.secret"
    for mode in (0o640, 0o604, 0o660):
        secret.chmod(mode)
        refused("daemon.secret", "chmod 600")
    secret.chmod(0o600)
    good_key = secret.read_text()
    for text, word in (("", "one key"), (good_key + good_key, "one key"), ("# x\nshort\n", "daemon.secret:2"),
                       (good_key.replace("\n", "x\n"), "other text")):
        secret.write_text(text)
        refused("daemon.secret", word)
    secret.write_text(good_key)
    (keys / "clients/one.public").write_text("junk")
    refused("one.public:1")
    secret.unlink()
    refused("daemon.secret", "No such file")
    os.mkfifo(secret, 0o600)
    refused("daemon.secret", "no file")


def test_known_keys_are_served_and_no_others(model, keys, context, tmp_path):
    with Xstd(config(model, "tcp://0.0.0.0:*", keys=keys, more=', snapshot: "tcp://127.0.0.1:*", heartbeat_s: 0.05')) as daemon:
        daemon.endpoints["publish"] = daemon.endpoints["publish"].replace("0.0.0.0", "127.0.0.1")
        client = Client(context, daemon, trio(keys, "clients/one"))
        bad = {"stranger": trio(keys, "stranger"), "plain": None, "wrong server key": trio(keys, "clients/two", "stranger")}
        sockets = {}
        for name, own in bad.items():
            sockets[name] = subscriber(context, daemon.endpoints["publish"], b"", own)
            req = context.socket(zmq.REQ)
            req.linger = 0
            if own:
                req.curve_serverkey, req.curve_publickey, req.curve_secretkey = own
            req.connect(daemon.endpoints["snapshot"])
            req.send(b"", zmq.DONTWAIT)
            sockets[name + ", snapshot"] = req
        plain = context.socket(zmq.PUSH)
        plain.linger = 0
        plain.connect(daemon.endpoints["s"])
        for _ in range(20):
            try:
                plain.send(b'{"x": [9, 9, 9]}', zmq.DONTWAIT)
            except zmq.Again:
                pass
            client.check(20)
            time.sleep(0.02)
        for name, socket in sockets.items():
            assert not socket.poll(0), name
        # A second known client, and the tools.
        two = subscriber(context, daemon.endpoints["publish"], b"s/", trio(keys, "clients/two"))
        args = ["--server-key", keys / "daemon.public", "--secret", keys / "clients/two.secret"]
        (tmp_path / "d.csv").write_text("a,b,c\n" + "1,2,3\n" * 5)
        watch = subprocess.Popen([BIN / "xst", "watch", daemon.endpoints["publish"], *args], stdout=subprocess.PIPE)
        end = time.monotonic() + PATIENCE_S
        while not two.poll(50):
            assert time.monotonic() < end
            client.check(1)
        os.set_blocking(watch.stdout.fileno(), False)
        while b"s/ t=" not in (watch.stdout.read() or b""):
            assert time.monotonic() < end
            client.check(1)
            time.sleep(0.02)
        watch.terminate()
        watch.wait(PATIENCE_S)
        assert good("replay", tmp_path / "d.csv", "--to", daemon.endpoints["s"], "--fast", *args).startswith(b"sent 5 ")
        assert xst("watch", daemon.endpoints["publish"], *args[:2]).returncode == 2
        daemon.stop()
        assert daemon.summary()["streams"][0]["malformed"] == 0
        refusals = [line for line in daemon.err.split("\n") if "refused" in line]
        assert len(refusals) == 1, daemon.err  # one a minute at most
        stranger = read_key(keys / "stranger.public").decode()
        assert stranger[:8] + "… from 127.0.0.1" in refusals[0] and stranger not in daemon.err
        for secret in ("daemon", "clients/one", "stranger"):
            assert read_key(keys / f"{secret}.secret").decode() not in daemon.err


def test_a_source_knows_its_publisher(model, keys, context, tmp_path):
    own = read_key(keys / "clients/one.public"), read_key(keys / "clients/one.secret")
    publish = context.socket(zmq.PUB)
    publish.linger, publish.curve_server = 0, True
    publish.curve_publickey, publish.curve_secretkey = own
    port = publish.bind_to_random_port("tcp://127.0.0.1")
    text = f"""
publish: {{endpoint: "ipc://{tmp_path}/pub", heartbeat_s: 0.05}}
curve: {{secret: {keys}/daemon.secret, clients: {keys}/clients}}
streams:
  - {{name: right, model: {model}, source: {{type: sub, endpoint: "tcp://127.0.0.1:{port}", server_key: {keys}/clients/one.public}}}}
  - {{name: wrong, model: {model}, source: {{type: sub, endpoint: "tcp://127.0.0.1:{port}", server_key: {keys}/clients/two.public}}}}
  - {{name: none, model: {model}, source: {{type: sub, endpoint: "tcp://127.0.0.1:{port}"}}}}
"""
    with Xstd(text) as daemon:
        outputs = subscriber(context, daemon.endpoints["publish"])  # ipc is left to the file system
        outputs.rcvtimeo = 20
        topics, end = [], time.monotonic() + PATIENCE_S
        while topics.count(b"right/") < 50:
            assert time.monotonic() < end
            publish.send(b'{"x": [1, 2, 3]}')
            try:
                topics.append(outputs.recv_multipart()[0])
            except zmq.Again:
                pass
        assert set(topics) <= {b"right/", b"_xstd/"}


def greeting(mechanism):
    """A ZMTP 3.1 greeting of a client."""
    return b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + mechanism.ljust(20, b"\0") + b"\0" + bytes(31)


def subscription(topic):
    return b"\x02" + struct.pack(">Q", len(topic) + 1) + b"\x01" + topic


def subscribe_everything():
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
    return bytes([4, len(ready)]) + ready + b"\x00\x01\x01"


def test_no_byte_of_a_record_to_who_is_not_authenticated(model, keys, context):
    with Xstd(config(model, keys=keys, more=', snapshot: "tcp://127.0.0.1:*"')) as daemon:
        client = Client(context, daemon, trio(keys, "clients/one"))
        first_words = [b"", greeting(b"NULL"), greeting(b"NULL") + subscribe_everything(), greeting(b"CURVE"),
                       greeting(b"CURVE") + subscribe_everything(), greeting(b"PLAIN"), b"GET / HTTP/1.1\r\n\r\n"]
        peers = []
        for name in ("publish", "snapshot", "s"):
            for words in first_words:
                peers.append(tcp(daemon.endpoints[name]))
                peers[-1].sendall(words)
        heard = [b""] * len(peers)
        for _ in range(30):
            client.check(50)
            heard = [got + drain(peer) for got, peer in zip(heard, peers)]
        for got in heard:
            # The greeting (64 bytes) and the refusal of a handshake at most.
            assert len(got) <= 64 + 64 and SECRET_WORD not in got, got
        assert any(len(got) >= 64 and b"CURVE" in got for got in heard)


@pytest.mark.parametrize("curve", [False, True])
def test_half_open_connections_and_random_bytes(model, keys, context, curve):
    rng = random.Random(1)
    with Xstd(config(model, keys=keys if curve else None)) as daemon:
        client = Client(context, daemon, trio(keys, "clients/one") if curve else None)
        client.check()
        silent = [tcp(daemon.endpoints[("publish", "s")[i % 2]]) for i in range(200)]
        before = daemon.rss_mb()
        for round in range(200):
            with tcp(daemon.endpoints[("publish", "s")[round % 2]]) as peer:
                junk = rng.randbytes(rng.choice([1, 9, 63, 64, 100, 3000, 70000]))
                if round % 3 == 1:
                    junk = greeting(b"NULL") + junk
                if round % 3 == 2:  # a frame that claims to be huge
                    junk = greeting(b"NULL") + subscribe_everything() + b"\x02" + struct.pack(">Q", 1 << 62) + junk[:100]
                try:
                    peer.sendall(junk)
                except ConnectionError:
                    pass
            if round % 10 == 0:
                client.check(10)
        client.check()
        daemon.assert_grew_less(before, 64)
        # The silent ones are let go of.
        end = time.monotonic() + PATIENCE_S
        for peer in silent:
            peer.settimeout(max(end - time.monotonic(), 0.1))
            while peer.recv(1024):
                pass
            peer.close()
        client.check()
        assert daemon.stop() == 0


def test_huge_and_many_subscriptions(model, context):
    with Xstd(config(model)) as daemon:
        client = Client(context, daemon)
        client.check()
        before = daemon.rss_mb()
        rng = random.Random(2)
        # By hand: libzmq's own client dies of a topic of 1 MiB.
        for size in (600, 65_530, 65_536, 1 << 20):
            with tcp(daemon.endpoints["publish"]) as peer:
                try:
                    peer.sendall(greeting(b"NULL") + subscribe_everything() + subscription(rng.randbytes(size)))
                    while peer.recv(65536):  # until it is shut out
                        client.check(1)
                except ConnectionError:
                    pass
            client.check()
        daemon.assert_grew_less(before, 16)
        many = context.socket(zmq.SUB)
        many.linger = 0
        many.sndhwm = 0
        many.connect(daemon.endpoints["publish"])
        for i in range(5000):
            many.subscribe(rng.randbytes(100))
            if i % 500 == 0:
                client.check(10)
        client.check()
        daemon.assert_grew_less(before, 128)
        for _ in range(1000):  # and as many that end at once
            many.subscribe(b"s/")
            many.unsubscribe(b"s/")
        client.check()
        many.close()
        client.check()
        assert daemon.stop() == 0


def test_a_peer_that_talks_to_the_publisher(model, context):
    """Messages up the wrong way are read and thrown away."""
    with Xstd(config(model)) as daemon:
        client = Client(context, daemon)
        up = context.socket(zmq.XSUB)
        up.linger = 0
        up.connect(daemon.endpoints["publish"])
        before = daemon.rss_mb()
        for i in range(20_000):
            try:
                up.send(b"\x02" + bytes(400), zmq.DONTWAIT)
            except zmq.Again:
                time.sleep(0.001)
            if i % 1000 == 0:
                client.check(5)
        client.check()
        daemon.assert_grew_less(before, 64)


SLEEPER = """
import sys, time, zmq
s = zmq.Context().socket(zmq.SUB)
s.rcvhwm = 10
s.subscribe("")
s.connect(sys.argv[1])
print(s.recv_multipart()[0].decode(), flush=True)
while True:
    last = s.recv_multipart()
    print(last[1].decode(), flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_stopped_and_a_slow_subscriber(model, context):
    text = config(model).replace("source:", "on_full: drop_oldest, queue: 4096, source:")
    with Xstd(text) as daemon:
        client = Client(context, daemon)
        others = []
        for pause in (0, 0.5):
            other = subprocess.Popen([sys.executable, "-c", SLEEPER, daemon.endpoints["publish"], str(pause)],
                                     stdout=subprocess.PIPE)
            others.append(other)
            os.set_blocking(other.stdout.fileno(), False)
            end = time.monotonic() + PATIENCE_S
            while not other.stdout.read():
                assert time.monotonic() < end
                client.check(1)
                time.sleep(0.01)
        stopped, slow = others
        stopped.send_signal(signal.SIGSTOP)
        client.check(500)
        before = daemon.rss_mb()
        for _ in range(60):
            client.check(500)  # 30,000 records: far more than the buffers hold
        daemon.assert_grew_less(before, 64)
        stopped.send_signal(signal.SIGCONT)
        # It sees by seq what it has missed.
        text, end = b"", time.monotonic() + PATIENCE_S
        while b'"seq": %d' % (client.seq - 1) not in text:
            assert time.monotonic() < end
            client.check(1)
            time.sleep(0.01)
            text += stopped.stdout.read() or b""
        seqs = [json.loads(line)["seq"] for line in text.split(b"\n")[1:-1] if line.startswith(b"{") and line.endswith(b"}")]
        assert seqs == sorted(seqs) and seqs[-1] - seqs[0] >= len(seqs), "no gap"
        for other in others:
            other.kill()
            other.wait()
        assert daemon.stop() == 0
        assert daemon.summary()["streams"][0]["dropped"] == 0
