"""A few kills, a zombie, and what the adapter refuses, on a real nats-server; `kills.py` for many kills."""

import asyncio
import os
import signal
import sys
import time

import nats
import numpy as np
import pytest

import nats_kills
import streams

if not nats_kills.NATS_SERVER:
    pytest.exit("skipped: nats-server is missing", returncode=77)  # what CTest shows as skipped


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
                options = {"model": model, "sensors": ["a"]} | options
                owners.append(nats_kills.Owner(server, **options))
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


@with_owner
async def test_an_owner_of_several_goes_on_with_those_it_has(model, js, sensors, start, owners):
    both = nats_kills.Sensors(js, ["b", "c"], 6)

    async def send_until(done):
        begin = time.monotonic()
        while not done():  # a write of its state tells an owner
            assert time.monotonic() < begin + streams.PATIENCE_S
            for name in both.names:
                await both.send(name)
            await asyncio.sleep(0.05)

    several = await start(sensors=["b", "c"])
    await both.send("b")
    await both.send("c")
    await nats_kills.settle(js, both)
    await start(sensors=["b"])
    await send_until(lambda: "b: state: expected revision" in several.said())
    await nats_kills.settle(js, both)  # of c it is the only owner
    assert several.process.poll() is None and "c: " not in several.said()
    await start(sensors=["c"])
    await send_until(lambda: several.process.poll() is not None)
    assert several.process.returncode == 1 and "c: state: expected revision" in several.said()
    await nats_kills.settle(js, both)
    await nats_kills.check(js, both, model)


@with_owner
async def test_a_deleted_state_begins_again(model, js, sensors, start, owners):
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    owners[0].kill()
    await (await js.key_value("xst_state")).delete("a")
    await start()
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    assert owners[1].process.poll() is None
    await nats_kills.check(js, sensors, model)


@with_owner
async def test_inputs_that_are_gone_are_refused(model, js, sensors, start, owners):
    """Purged behind the state; --gap goes on with those that are there."""
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    owners[0].kill()
    stepped = dict(sensors.sent["a"])
    for _ in range(3):
        await sensors.send("a")
    *gone, kept = list(sensors.sent["a"])
    await js.purge_stream("xst_in", seq=kept)
    refused = await start()
    assert await refused.end() == 1
    assert f"a: inputs: expected the last one stepped, {gone[0]} (xst_in has {kept}), got none" in refused.said()
    sensors.sent["a"] = stepped | {kept: sensors.sent["a"][kept]}
    await start(gap=True)
    await nats_kills.settle(js, sensors)
    await nats_kills.check(js, sensors, model)


@with_owner
async def test_inputs_of_another_sensor_may_be_gone(model, js, sensors, start, owners):
    """The last input that was stepped is there: none behind it is gone."""
    other = nats_kills.Sensors(js, ["b"], 6)
    await other.send("b")
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    owners[0].kill()
    await other.send("b")
    await js.purge_stream("xst_in", subject="xst.in.b")
    await sensors.send("a")
    await start()
    await nats_kills.settle(js, sensors)
    await nats_kills.check(js, sensors, model)


@with_owner
async def test_another_input_stream_is_refused(model, js, sensors, start, owners):
    await sensors.send("a")
    await sensors.send("a")
    await nats_kills.settle(js, sensors)
    owners[0].kill()
    await js.delete_stream("xst_in")
    for gap in (False, True):  # its sequences say nothing
        refused = await start(gap=gap)
        await sensors.send("a")
        assert await refused.end() == 1
        assert "a: inputs: expected the last one stepped, 2 (xst_in has " in refused.said()
        await js.delete_stream("xst_in")


def test_an_owner_ends_with_its_server(tmp_path):
    model = streams.pack(tmp_path)
    with nats_kills.Server(tmp_path) as server:
        owner = nats_kills.Owner(server, model, ["a", "b"])
        asyncio.run(owner.ready())
        server.process.kill()
        assert asyncio.run(owner.end()) == 1
        assert "on_nats: error: " in owner.said()
        owner.kill()
