"""Owners of streams on a real nats-server, killed in mid-run; what the output stream then holds against `xst run`."""

import asyncio
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import nats
import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

import streams

NATS_SERVER = shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin")  # where Debian has it
OWNER = streams.ROOT / "apps/engines/on_nats.py"


class Server:
    """nats-server with JetStream on a port of its choice; a context manager."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def __enter__(self):
        with open(self.folder / "server.log", "wb") as log:
            self.process = subprocess.Popen(
                [NATS_SERVER, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", self.folder / "jetstream",
                 "--ports_file_dir", self.folder], stderr=log)
        ports = self.folder / f"nats-server_{self.process.pid}.ports"
        streams.wait(lambda: ports.exists() and ports.read_text().endswith("}"), "the server's ports")
        self.url = json.loads(ports.read_text())["nats"][0]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Owner:
    def __init__(self, server, model, sensors, chunk=64, wait=0.05, gap=False):
        self.log = tempfile.NamedTemporaryFile("a+", dir=server.folder, prefix="owner-", delete=False)  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, OWNER, model, *sensors, "--server", server.url, "--chunk", str(chunk),
             "--wait", str(wait), *["--gap"] * gap], stdout=subprocess.PIPE, stderr=self.log, text=True)

    async def ready(self):
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line == "ready\n", self.said()

    def said(self):
        return pathlib.Path(self.log.name).read_text()

    async def end(self):
        """Its exit status, awaited."""
        return await asyncio.to_thread(self.process.wait, streams.PATIENCE_S)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Sensors:
    """Publishes random messages of random size for every sensor and keeps what it sent."""

    def __init__(self, js, names, seed):
        self.js, self.names, self.random = js, names, np.random.default_rng(seed)
        self.sent = {name: {} for name in names}  # by sequence
        self.stopped = False

    async def send(self, name):
        x = streams.samples(self.random, int(self.random.integers(1, 9)))
        ack = await self.js.publish(f"xst.in.{name}", x.tobytes())
        self.sent[name][ack.seq] = x

    async def keep_sending(self, pause_s):
        while not self.stopped:  # a cancelled wait_for of Python 3.11 may go on
            for name in self.names:
                await self.send(name)
            await asyncio.sleep(pause_s)


async def position(js, name):
    """The last sequence of an input in the outputs and in the state; 0 for none."""
    try:
        out = await js.get_last_msg("xst_out", f"xst.out.{name}")
        stepped = int(out.headers["Nats-Msg-Id"].rpartition(".")[2])
    except NotFoundError:
        return 0, 0
    try:
        state = await (await js.key_value("xst_state")).get(name)
    except NotFoundError:
        return stepped, 0
    return stepped, int.from_bytes(state.value[32:40], "little")


async def settle(js, sensors):
    """Until every sensor's state is where its inputs end."""
    begin = time.monotonic()
    for name in sensors.names:
        while await position(js, name) != (max(sensors.sent[name]),) * 2:
            assert time.monotonic() < begin + streams.PATIENCE_S, f"{name}: {await position(js, name)}"
            await asyncio.sleep(0.05)


async def check(js, sensors, model):
    """Every output against the uninterrupted run. Returns how many there are, and how many twice."""
    total = again = 0
    for name in sensors.names:
        sent = sensors.sent[name]
        want = streams.uninterrupted(model, np.concatenate(list(sent.values())))
        parts = dict(zip(sent, np.split(want, np.cumsum([len(x) for x in sent.values()])[:-1]), strict=True))
        got, last = {}, 0
        reader = await js.pull_subscribe(f"xst.out.{name}", config=ConsumerConfig(ack_policy=AckPolicy.NONE))
        left = (await reader.consumer_info()).num_pending
        while left:
            for message in await reader.fetch(min(left, 1000), timeout=streams.PATIENCE_S):
                left -= 1
                owner, _, sequence = message.headers["Nats-Msg-Id"].rpartition(".")
                assert owner == name and "Xst-Error" not in message.headers
                sequence = int(sequence)
                if sequence in got:
                    again += 1
                    assert got[sequence] == message.data, f"{name}.{sequence}: another output the second time"
                else:
                    assert sequence > last, f"{name}.{sequence}: behind {last}"
                    got[sequence], last = message.data, sequence
        assert list(got) == list(parts), f"{name}: missing {sorted(set(parts) - set(got))[:9]}"
        for sequence, y in parts.items():
            assert got[sequence] == y.tobytes(), f"{name}.{sequence}: expected {y}, got other bits"
        total += len(got)
    return total, again


async def _run(server, model, kills, seed, say):
    random_ = random.Random(seed)
    names = ["a", "b", "c"]
    done = {"engine": "nats", "seed": seed, "kills": 0, "between_outputs_and_state": 0, "before_ready": 0}
    connection = await nats.connect(server.url)
    js = connection.jetstream(timeout=streams.PATIENCE_S)
    await js.add_stream(name="xst_out", subjects=["xst.out.*"], duplicate_window=3600)  # longer than a run
    owner = Owner(server, model, names)
    await owner.ready()  # the streams exist
    seen = asyncio.Queue()
    await connection.subscribe("xst.out.*", cb=seen.put)
    sensors = Sensors(js, names, seed)
    sending = asyncio.create_task(sensors.keep_sending(0.01))
    while done["kills"] < kills:
        if random_.random() < 0.1:  # in its start
            await asyncio.sleep(random_.uniform(0, 0.5))
            done["before_ready"] += 1
        else:
            if done["kills"]:
                await owner.ready()
            while not seen.empty():
                seen.get_nowait()
            for _ in range(random_.randrange(1, 40)):  # right behind one of its outputs
                await asyncio.wait_for(seen.get(), streams.PATIENCE_S)
            await asyncio.sleep(random_.choice([0, 0, random_.uniform(0, 0.1)]))
        assert owner.process.poll() is None, owner.said()
        owner.kill()
        done["kills"] += 1
        places = [await position(js, name) for name in names]
        done["between_outputs_and_state"] += any(out > state for out, state in places)
        say(json.dumps(done))
        owner = Owner(server, model, names, chunk=random_.choice([1, 16, 64, 256]))
    sensors.stopped = True
    await sending
    await settle(js, sensors)
    assert owner.process.poll() is None, owner.said()
    owner.kill()
    done["outputs"], again = await check(js, sensors, model)
    assert again == 0, f"{again} outputs twice"
    await connection.close()
    return done


def run(folder, kills, seed, say=lambda text: None):
    model = streams.pack(folder)
    with Server(folder) as server:
        return asyncio.run(_run(server, model, kills, seed, say))
