"""on_nats.py MODEL SENSOR…: owns these sensors' streams on NATS JetStream until another owner takes them.

Stream xst_in, subjects xst.in.SENSOR: messages of float32 rows, any number in each. Stream xst_out,
subjects xst.out.SENSOR: for each its output rows, under the id (Nats-Msg-Id) SENSOR.SEQUENCE of the input.
Bucket xst_state: for each sensor arch_hash, the last sequence stepped, the snapshot.

Exactly once: a chunk's outputs are published and acknowledged, then the state that includes them is written
if the bucket still has the owner's revision. Killed in between, the next owner steps the chunk again from the
state before: the same bits and ids, dropped by JetStream in its duplicate window and by a reader who goes by the
sequence. An owner begins by writing what it read, so an older one that wakes up holds a stale revision: its
write is refused, it stops, and what it had published is what the new owner publishes.
"""

import argparse
import asyncio
import contextlib
import sys
import time

import contract
import nats.errors
import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError

TIMEOUT_S = 60  # for an answer of the server


async def write(bucket, sensor, stream, last, revision):
    value = stream.arch_hash().encode() + last.to_bytes(8, "little") + stream.save()
    try:
        return await bucket.update(sensor, value, last=revision)
    except KeyWrongLastSequenceError:
        raise RuntimeError(f"{sensor}: state: expected revision {revision}, got another: a new owner has it") from None


async def read(bucket, sensor, stream):
    try:
        entry = await bucket.get(sensor)
    except KeyNotFoundError:
        return 0, 0  # the last sequence that is in the state, the state's revision
    if entry.value[:32] != stream.arch_hash().encode():
        raise RuntimeError(f"{sensor}: state: expected architecture {stream.arch_hash()}, got {entry.value[:32]}")
    stream.load(entry.value[40:])
    return int.from_bytes(entry.value[32:40], "little"), entry.revision


async def own(js, model, sensor, chunk, wait):
    stream, bucket = contract.open(model), await js.key_value("xst_state")
    last, revision = await read(bucket, sensor, stream)
    revision = await write(bucket, sensor, stream, last, revision)
    messages = await js.subscribe(f"xst.in.{sensor}", config=ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=last + 1, ack_policy=AckPolicy.NONE,
        inactive_threshold=TIMEOUT_S, flow_control=True, idle_heartbeat=5))
    taken, width = 0, stream.input_width
    while True:
        batch, end = [], time.monotonic() + wait
        with contextlib.suppress(TimeoutError):
            while len(batch) < chunk and (left := end - time.monotonic()) > 0:
                batch.append(await messages.next_msg(timeout=left))
        if not batch:
            await messages.consumer_info()  # an error if the server has dropped it, as of an owner that slept
            continue
        taken += len(batch)
        if batch[-1].metadata.sequence.consumer != taken:
            raise RuntimeError(f"{sensor}: expected message {taken} of its subject, got a gap: start again")
        acknowledged = []
        for message in batch:
            last, data = message.metadata.sequence.stream, message.data
            header = {"Nats-Msg-Id": f"{sensor}.{last}"}
            if len(data) % (4 * width):  # nothing of it is stepped, the stream goes on
                header["Xst-Error"], data = f"expected rows of {width} float32, got {len(data)} bytes", b""
            y = stream.step_chunk(np.frombuffer(data, "<f4").reshape(-1, width))
            acknowledged.append(await js.publish_async(f"xst.out.{sensor}", y.tobytes(), headers=header))
        await asyncio.wait_for(asyncio.gather(*acknowledged), TIMEOUT_S)
        revision = await write(bucket, sensor, stream, last, revision)


async def main(model, sensors, server, chunk, wait):
    js = (await nats.connect(server)).jetstream(timeout=TIMEOUT_S)
    for made in (js.add_stream(name="xst_in", subjects=["xst.in.*"]),
                 js.add_stream(name="xst_out", subjects=["xst.out.*"]), js.create_key_value(bucket="xst_state")):
        with contextlib.suppress(BadRequestError):  # it is there, with settings of its own
            await made
    print("ready", flush=True)
    await asyncio.gather(*(own(js, model, sensor, chunk, wait) for sensor in sensors))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("sensors", nargs="+", metavar="SENSOR")
    parser.add_argument("--server", default="nats://127.0.0.1:4222")
    parser.add_argument("--chunk", type=int, default=64, help="messages for which the state is written once")
    parser.add_argument("--wait", type=float, default=0.1, help="seconds for a chunk to fill")
    try:
        asyncio.run(main(**vars(parser.parse_args())))
    except (RuntimeError, nats.errors.Error, TimeoutError, OSError, contract.xst.Error) as error:
        sys.exit(f"on_nats: error: {str(error) or repr(error)}")
