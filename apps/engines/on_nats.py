"""on_nats.py MODEL SENSOR…: owns these sensors' streams on NATS JetStream until other owners take them.

Stream xst_in, subjects xst.in.SENSOR: messages of float32 rows, any number in each. Stream xst_out,
subjects xst.out.SENSOR: for each its output rows, under the id (Nats-Msg-Id) SENSOR.SEQUENCE of the input.
Bucket xst_state: for each sensor arch_hash, the last sequence stepped, the snapshot.
Exactly once: a chunk's outputs are acknowledged, then the state that includes them is written if it still has this
owner's revision. The next owner steps what the state has not again: the same bits and ids, dropped by JetStream.
"""

import argparse
import asyncio
import contextlib
import sys
import time

import contract
import nats
import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError

TIMEOUT_S, IDLE_S = 60, 5  # for an answer of the server; without a message
ERRORS = RuntimeError, nats.errors.Error, TimeoutError, OSError, contract.xst.Error


async def claim(js, bucket, sensor, stream, gap):
    try:
        entry = await bucket.get(sensor)
    except KeyNotFoundError as none:  # a deleted one has a revision
        return 0, none.entry.revision if none.entry else 0  # of the last input stepped, of the state
    if entry.value[:32] != stream.arch_hash().encode():
        raise RuntimeError(f"state: expected architecture {stream.arch_hash()}, got {entry.value[:32]}")
    stream.load(entry.value[40:])
    last, held = int.from_bytes(entry.value[32:40], "little"), (await js.stream_info("xst_in")).state.last_seq
    there = gap and last <= held
    with contextlib.suppress(NotFoundError):  # inputs go in their order: behind one that is there none is gone
        there = there or (await js.get_msg("xst_in", last)).subject == f"xst.in.{sensor}"
    if not there:
        raise RuntimeError(f"inputs: expected the last one stepped, {last} (xst_in has {held}), got none: see --gap")
    with contextlib.suppress(KeyWrongLastSequenceError):  # written as it is: an older owner has an old revision then
        return last, await bucket.update(sensor, entry.value, last=entry.revision)
    return await claim(js, bucket, sensor, stream, gap)  # it wrote in between


async def own(js, model, sensor, chunk, wait, gap):
    try:
        stream, bucket = contract.open(model), await js.key_value("xst_state")
        last, revision = await claim(js, bucket, sensor, stream, gap)
        messages = await js.subscribe(f"xst.in.{sensor}", config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=last + 1, ack_policy=AckPolicy.NONE,
            inactive_threshold=TIMEOUT_S, flow_control=True, idle_heartbeat=5))
        taken, width, head = 0, stream.input_width, stream.arch_hash().encode()
        while True:
            batch, acknowledged, end = [], [], time.monotonic() + IDLE_S
            while len(batch) < chunk and (left := end - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    batch.append(await messages.next_msg(timeout=left))
                    end = end if batch[1:] else time.monotonic() + wait
                if not batch:  # an error if the server has dropped the consumer, as of an owner that slept
                    end, _ = time.monotonic() + IDLE_S, await messages.consumer_info()
            taken += len(batch)
            if batch[-1].metadata.sequence.consumer != taken:
                raise RuntimeError(f"inputs: expected message {taken} of its subject, got a gap: start again")
            for message in batch:
                last, data, header = message.metadata.sequence.stream, message.data, {}
                if len(data) % (4 * width):  # nothing of it is stepped, the stream goes on
                    header["Xst-Error"], data = f"expected rows of {width} float32, got {len(data)} bytes", b""
                y = stream.step_chunk(np.frombuffer(data, "<f4").reshape(-1, width))
                header["Nats-Msg-Id"] = f"{sensor}.{last}"
                acknowledged.append(await js.publish_async(f"xst.out.{sensor}", y.tobytes(), headers=header))
            await asyncio.wait_for(asyncio.gather(*acknowledged), TIMEOUT_S)
            revision = await bucket.update(sensor, head + last.to_bytes(8, "little") + stream.save(), last=revision)
    except ERRORS as error:  # the others go on
        text = (f"state: expected revision {revision}, got another: a new owner has it" if isinstance(
            error, KeyWrongLastSequenceError) else str(error) or repr(error))
        print(f"on_nats: error: {sensor}: {text}", file=sys.stderr, flush=True)


async def main(model, sensors, server, **options):
    js = (await nats.connect(server, allow_reconnect=False)).jetstream(timeout=TIMEOUT_S)  # else outputs may swap
    await asyncio.gather(js.add_stream(name="xst_in", subjects=["xst.in.*"]), js.add_stream(
        name="xst_out", subjects=["xst.out.*"]), js.create_key_value(bucket="xst_state"), return_exceptions=True)
    print("ready", flush=True)
    await asyncio.gather(*(own(js, model, sensor, **options) for sensor in sensors))
    sys.exit(1)  # with the last sensor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("sensors", nargs="+", metavar="SENSOR")
    parser.add_argument("--server", default="nats://127.0.0.1:4222")
    parser.add_argument("--chunk", type=int, default=64, help="messages for which the state is written once")
    parser.add_argument("--wait", type=float, default=0.1, help="seconds for a chunk to fill from its first message")
    parser.add_argument("--gap", action="store_true", help="go on where inputs behind the state may be gone")
    try:
        asyncio.run(main(**vars(parser.parse_args())))
    except ERRORS as error:
        sys.exit(f"on_nats: error: {str(error) or repr(error)}")
