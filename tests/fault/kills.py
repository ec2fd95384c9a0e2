#!/usr/bin/python3
"""kills.py --kills N --source acked|file [--seed S]: kill -9 at random points, and what a subscriber saw.

Rounds of one recording each: xstd with a state_dir is killed and started again with the same command
until the recording is through, while one subscriber stays. The first occurrence of each (epoch, seq)
must equal `xst run` on the same inputs bit for bit, duplicates must be identical, no seq missing.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import zmq

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("XST_BIN_DIR", ROOT / "build/release/bin"))
sys.path.insert(0, str(ROOT / "apps/examples"))
import acked_client  # noqa: E402

RATE = 100
PATIENCE_S = 120  # with a recording that does not get on; never what is measured


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Subscriber:
    """Stays connected, or tries again, from the first start to the end of a round."""

    def __init__(self, context, endpoint, slow):
        self.payloads, self._stop, self._slow = [], False, slow
        self._socket = context.socket(zmq.SUB)
        if slow:  # so that what is published waits in xstd
            self._socket.rcvhwm = 10
        self._socket.subscribe(b"ecg/")
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while not self._stop:
            if self._socket.poll(50):
                _, payload = self._socket.recv_multipart()
                self.payloads.append(payload)
                if self._slow and len(self.payloads) % 250 == 0:  # 10,000 a second at most
                    time.sleep(0.025)
        self._socket.close()

    def seen(self):
        return len({json.loads(p)["seq"] for p in list(self.payloads)})

    def end(self):
        self._stop = True
        self._thread.join()


def keep_sending(context, rows, endpoint, random_, stop):
    """A client that keeps its socket: what was on its way to a killed xstd is lost, what follows is not."""
    window, acked, sent = random_.choice([1, 7, 300] if len(rows) < 4000 else [300]), -1, -1
    with context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.sndtimeo = 100
        client.connect(endpoint)
        while acked < len(rows) - 1 and not stop.is_set():
            try:
                while sent < min(acked + window, len(rows) - 1):
                    client.send_json({"seq": sent + 1, **rows[sent + 1]})
                    sent += 1
            except zmq.Again:
                pass
            if not client.poll(300):
                sent = acked
                continue
            answer = json.loads(client.recv())
            if answer["acked"] is not None:
                acked = max(acked, answer["acked"])


class Round:
    def __init__(self, folder, source, random_, slow_readers):
        self.random, self.source, self.folder = random_, source, folder
        self.context = zmq.Context()
        slow = random_.random() < slow_readers
        self.n = random_.randrange(500, 4000) if not slow else 20000
        rng = np.random.default_rng(random_.randrange(1 << 30))
        self.x = np.cumsum(rng.standard_normal(self.n) * 0.1).astype(np.float32)[:, None]
        self.x[rng.random(self.n) < 0.01] = np.nan
        self.timed = random_.random() < 0.7 or source == "file"
        np.save(folder / "x.npy", self.x)
        subprocess.run([BIN / "xst", "run", folder.parent / "m.xst", "--input", folder / "x.npy", "--output",
                        folder / "y.npy"], check=True, capture_output=True)
        self.want = np.load(folder / "y.npy")
        values = [None if np.isnan(v) else float(v) for v in self.x[:, 0]]
        self.rows = [{"x": [v], **({"t": i / RATE} if self.timed else {})} for i, v in enumerate(values)]
        publish, take = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        if source == "file":
            text = "".join(f"{i / RATE!r},{'' if v is None else repr(v)}\n" for i, v in enumerate(values))
            (folder / "x.csv").write_text("t,ecg\n" + text)
            what = f"{{type: replay, file: x.csv, speed: {0 if slow else random_.choice([0, 5, 20])}}}"
        else:
            what = f'{{type: acked, endpoint: "{take}"}}'
        (folder / "d.yaml").write_text(
            f'publish: {{endpoint: "{publish}"}}\nstate_dir: state\n'
            f"streams: [{{name: ecg, model: ../m.xst, source: {what}}}]\n")
        self.command = [BIN / "xstd", "--config", folder / "d.yaml"]
        if random_.random() < 0.3:
            self.command += ["--snapshot-every", "0.05"]
        self.subscriber = Subscriber(self.context, publish, slow)
        self.stop, self.client = threading.Event(), None
        if source == "acked":
            own = random_.random() < 0.5
            self.client = threading.Thread(
                daemon=True, target=acked_client.send if own else keep_sending,
                args=(self.rows, take) if own else (self.context, self.rows, take, random_, self.stop))
            self.client.start()

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.begin = log.tell()
            self.daemon = subprocess.Popen(self.command, stderr=log)
            return self.daemon

    def ready(self):
        return b"ready " in (self.folder / "log").read_bytes()[self.begin:]

    def kills(self, most, longest_s):
        """Kills until the recording is through, `most` times at most; returns how often."""
        done = 0
        while done < most:
            daemon = self.start()
            time.sleep(self.random.choice([self.random.uniform(0, 0.2), self.random.uniform(0.3, 1.2),
                                           self.random.uniform(0.5, longest_s)]))
            stopped = self.random.random() < 0.1
            if stopped:  # killed in the middle of a clean stop
                daemon.send_signal(signal.SIGTERM)
                time.sleep(self.random.uniform(0, 1.2))
            daemon.kill()
            status = daemon.wait()
            if status == 0 and not stopped:
                return done  # the recording has been played
            if status == 0:
                continue
            assert status in (-signal.SIGKILL, -signal.SIGTERM), (self.folder / "log").read_text()
            done += status == -signal.SIGKILL
            if self.source == "acked" and self.through() and self.random.random() < 0.3:
                return done
        return done

    def through(self):
        return self.subscriber.seen() == self.n

    def settle(self, quiet_s, done):
        """Waits until `done`, or nothing has come for so long."""
        seen, last = -1, time.monotonic()
        while not done() and time.monotonic() < last + quiet_s:
            if len(self.subscriber.payloads) > seen:
                seen, last = len(self.subscriber.payloads), time.monotonic()
            time.sleep(0.1)

    def finish(self):
        daemon = self.start()
        if self.client:
            self.settle(PATIENCE_S, lambda: self.ready() and not self.client.is_alive() and self.through())
            daemon.send_signal(signal.SIGTERM)
        status = daemon.wait(10 * PATIENCE_S)
        assert status == 0, (self.folder / "log").read_text()
        self.settle(2, self.through)
        self.end()

    def end(self):
        self.daemon.kill()
        self.daemon.wait()
        self.stop.set()
        self.subscriber.end()

    def check(self):
        """How many outputs were seen, how many more than once. Raises AssertionError."""
        first, epochs, again = {}, set(), 0
        for payload in self.subscriber.payloads:
            m = json.loads(payload)
            epochs.add(m["epoch"])
            values = m["timestamp"], m["y"], m["x"]
            seq = m["seq"]
            if seq in first:
                again += 1
                assert first[seq] == values, f"seq {seq}: expected {first[seq]} again, got {values}"
                continue
            first[seq] = values
            assert self.source == "acked" or not m["quality"] & 16, payload
            y = np.array([np.nan if v is None else v for v in m["y"].values()], np.float32)
            assert np.array_equal(y, self.want[seq], equal_nan=True), f"seq {seq}: expected {self.want[seq]}, got {y}"
            x = np.float32(np.nan if m["x"]["ecg"] is None else m["x"]["ecg"])
            assert np.array_equal(x, self.x[seq, 0], equal_nan=True), f"seq {seq}: {x}"
            assert not self.timed or m["timestamp"] == seq / RATE, payload
        missing = sorted(set(range(self.n)) - set(first))
        assert not missing, f"expected every seq below {self.n}, got none for {missing[:20]} ({len(missing)})"
        assert len(first) == self.n and len(epochs) == 1, epochs
        return len(first), again


def run(kills, source, seed, most_in_a_round=25, longest_s=5, slow_readers=0.25, say=lambda text: None):
    random_ = random.Random(seed)
    total = {"source": source, "seed": seed, "kills": 0, "rounds": 0, "outputs": 0, "seen_again": 0}
    begin = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="xst-kills-"))
    subprocess.run([BIN / "xst", "pack", ROOT / "tests/vectors/stream/forecaster", "-o", folder / "m.xst"],
                   check=True, capture_output=True)
    while total["kills"] < kills:
        (folder / "round").mkdir()
        one = Round(folder / "round", source, random_, slow_readers)
        try:
            total["kills"] += one.kills(min(kills - total["kills"], random_.randint(1, most_in_a_round)),
                                       longest_s)
            one.finish()
            outputs, again = one.check()
        except BaseException:
            one.end()
            print(f"what it left is in {folder}", file=sys.stderr)
            raise
        total["rounds"] += 1
        total["outputs"] += outputs
        total["seen_again"] += again
        shutil.rmtree(folder / "round")
        say(json.dumps(total))
    shutil.rmtree(folder)
    total["seconds"] = round(time.monotonic() - begin)
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--source", choices=["acked", "file"], required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(run(args.kills, args.source, args.seed, say=lambda t: print(t, file=sys.stderr, flush=True))))
