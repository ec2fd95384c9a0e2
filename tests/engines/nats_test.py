"""A few kills, a zombie, and what the adapter refuses, on a real nats-server; `kills.py` for many kills."""

import asyncio
import os
import shutil
import signal
import sys
import time

import nats
import numpy as np
import pytest

import nats_kills
import streams

pytestmark = pytest.mark.skipif(not shutil.which("nats-server"), reason="nats-server is missing")


def test_killed_owners_lose_and_double_nothing(tmp_path):
    done = nats_kills.run(tmp_path, kills=8, seed=3)
    assert done["kills"] == 8 and done["outputs"] > 0


@pytest.fixture
def server(tmp_path):
    with nats_kills.Server(tmp_path) as running:
        yield running


def with_owner(test):
    """Runs test(model, js, sensors, start, owners) with an owner of sensor a; every owner is ended after it."""
    def wrapped(server, tmp_path):
        async def body():
            model, owners = streams.pack(tmp_path), []
            connection = await nats.connect(server.url)
            js = connection.jetstream(timeout=streams.PATIENCE_S)

            async def start(**options):
                owners.append(nats_kills.Owner(server, options.pop("model", model), ["a"], **options))
                await owners[-1].ready()
                return owners[-1]

            try:
                await start()
                await test(model, js, nats_kills.Sensors(js, ["a"], 5), start, owners)
            finally:
                for owner in owners:
                    owner.kill()
                await connection.close()
        asyncio.run(body())
    wrapped.__doc__ = test.__doc__
    return wrapped


@with_owner
async def test_a_zombie_is_refused_and_stops(model, js, sensors, start, owners):
    """An owner that was stopped, and goes on when another has its stream."""
    for _ in range(200):
        await sensors.send("a")
    await nats_kills.settle(js, sensors)
    zombie = owners[0].process
    zombie.send_signal(signal.SIGSTOP)
    for _ in range(200):
        await sensors.send("a")
    await start()
    await nats_kills.settle(js, sensors)
    zombie.send_signal(signal.SIGCONT)
    begin = time.monotonic()
    while zombie.poll() is None:  # it reads on and steps from its old state
        assert time.monotonic() < begin + streams.PATIENCE_S, "the zombie goes on"
        await sensors.send("a")
        await asyncio.sleep(0.01)
    assert zombie.returncode == 1
    assert "on_nats: error: a: state: expected revision" in owners[0].said()
    assert owners[0].said().endswith("a new owner has it\n")
    await nats_kills.settle(js, sensors)
    assert owners[1].process.poll() is None
    outputs, again = await nats_kills.check(js, sensors, model)
    assert outputs == len(sensors.sent["a"])


@with_owner
async def test_a_bad_message_is_named_and_passed_over(model, js, sensors, start, owners):
    await sensors.send("a")
    bad = await js.publish("xst.in.a", b"12345")
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    reader = await js.pull_subscribe("xst.out.a", durable="reader")
    messages = await reader.fetch(3, timeout=streams.PATIENCE_S)
    assert [m.headers.get("Xst-Error") for m in messages] == [None, "expected rows of 1 float32, got 5 bytes", None]
    assert messages[1].headers["Nats-Msg-Id"] == f"a.{bad.seq}" and not messages[1].data
    x = list(sensors.sent["a"].values())
    assert messages[0].data + messages[2].data == streams.uninterrupted(model, np.concatenate(x)).tobytes()


@with_owner
async def test_the_readme_s_client(model, js, sensors, start, owners):
    text = (streams.ROOT / "apps/engines/README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0].replace("bed1", "a")
    assert "nats.connect()" in code
    url = js._nc.connected_url.geturl()
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", code.replace("connect()", f"connect('{url}')"),
                                                  stdout=asyncio.subprocess.PIPE)
    said, _ = await client.communicate()
    assert client.returncode == 0 and said.startswith(b"a.1 [["), owners[0].said()


@with_owner
async def test_a_state_of_another_architecture_is_refused(model, js, sensors, start, owners):
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    os.mkdir(model.parent / "other")
    other = await start(model=streams.pack(model.parent / "other", "stream/classifier"))
    assert await other.end() == 1 and "a: state: expected architecture" in other.said()
    await sensors.send("a")  # the owner goes on
    await nats_kills.settle(js, sensors)
