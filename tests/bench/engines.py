#!/usr/bin/env python3
"""engines.py --engine nats|flink: what an engine adds to the step, by the samples between two writes of the state.

Alone with tests/python/venv for NATS, tests/engines/flink_venv for Flink. All figures are processor time, so that
other programs on the machine move them little: of the bare step_chunk in this process, of the owner of the
streams, of the server. step_share is the part of the whole that the bare step would have taken: below a half
the engine is the limit. streams_100hz: how many sensors of 100 samples/s one core carries when its chunks fill, as here,
where a backlog lies ready; mean_chunk: how far they did.
"""

import argparse
import asyncio
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/engines"), str(ROOT / "apps/engines")]
import contract  # noqa: E402
import streams  # noqa: E402

SENSORS = 4


def cpu_s(*pids):
    """Processor seconds that processes have used, all their threads."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def bare_s(model, rows=2000):
    """Processor seconds of one sample in step_chunk alone, the median of some tries."""
    stream = contract.open(model)
    x = np.random.default_rng(1).standard_normal((rows // 8, stream.input_width), np.float32)
    took = []
    for _ in range(9):
        begin = time.process_time()
        stream.step_chunk(x)
        took.append((time.process_time() - begin) / len(x))
    return float(np.median(took[1:]))


def report(engine, model, chunk, per_message, samples, bare, owner, server, wall, **more):
    each = (owner + server) / samples
    print(json.dumps({
        "engine": engine, "model": model, "chunk": chunk, "samples_per_message": per_message, "samples": samples,
        "step_us": round(1e6 * bare, 1), "owner_us": round(1e6 * owner / samples, 1),
        "server_us": round(1e6 * server / samples, 1), "step_share": round(bare / each, 3),
        "samples_per_core_s": round(1 / each), "streams_100hz": int(0.01 / each),
        "wall_samples_s": round(samples / wall), **more}), flush=True)


async def nats_case(nats, nats_kills, folder, model, chunk, per_message, samples):
    """Everything lies ready before the owner starts: it never waits for a chunk to fill."""
    width, names = contract.open(model).input_width, [f"s{i}" for i in range(SENSORS)]
    random_, messages = np.random.default_rng(2), samples // per_message // SENSORS
    with nats_kills.Server(tempfile.mkdtemp(dir=folder)) as server:
        connection = await nats.connect(server.url)
        js = connection.jetstream(timeout=streams.PATIENCE_S)
        await js.add_stream(name="xst_in", subjects=["xst.in.*"])
        for i in range(messages):
            for name in names:
                x = random_.standard_normal((per_message, width), np.float32)
                await js.publish_async(f"xst.in.{name}", x.tobytes())
            if i % 100 == 0:
                await js.publish_async_completed()
        await js.publish_async_completed()
        owner = nats_kills.Owner(server, model, names, chunk, wait=2)  # full chunks on a busy machine too
        await owner.ready()
        begin, before, bare = time.monotonic(), cpu_s(owner.process.pid), bare_s(model)
        while (await js.stream_info("xst_out")).state.messages < messages * SENSORS:
            await asyncio.sleep(0.05)
        wall, own = time.monotonic() - begin, cpu_s(owner.process.pid) - before
        report("nats", model.parent.name, chunk, per_message, messages * SENSORS * per_message,
               (bare + bare_s(model)) / 2, own, cpu_s(server.process.pid), wall)
        owner.kill()
        await connection.close()


def nats_cases(folder, models, chunks):
    import nats
    import nats_kills
    for model, samples in models:
        for chunk in chunks:
            asyncio.run(nats_case(nats, nats_kills, folder, model, chunk, 1, samples // (4 if chunk == 1 else 1)))
        for per_message in (16, 64):
            asyncio.run(nats_case(nats, nats_kills, folder, model, 16, per_message, 4 * samples))


def flink_cases(folder, models, chunks):
    import flink_kills
    with flink_kills.Cluster(folder, managers=1) as cluster:
        manager = cluster.managers[0].pid
        for model, samples in models:
            width, random_ = contract.open(model).input_width, np.random.default_rng(2)
            inputs = folder / f"{model.parent.name}-in"
            inputs.mkdir()
            for name in (f"s{i}" for i in range(SENSORS)):
                with open(inputs / f"{name}.csv", "w") as f:
                    for i in range(samples // SENSORS):
                        f.write(f"{name},{i},{','.join(map(str, random_.standard_normal(width, np.float32)))}\n")
            for chunk in chunks:
                job = cluster.submit("--model", model, "--input", inputs, "--output",
                                     folder / f"{model.parent.name}-{chunk}", "--chunk", chunk, "--wait-ms", 5000)
                streams.wait(lambda job=job: cluster.records(job) >= samples * 0.1, "records")
                begin, first, bare = time.monotonic(), cluster.records(job), bare_s(model)
                before = cluster.chunks(job)
                workers = flink_kills.workers(manager)
                own, server = cpu_s(*workers), cpu_s(manager)
                streams.wait(lambda job=job: cluster.records(job) >= samples * 0.8, "records")
                own, server = cpu_s(*workers) - own, cpu_s(manager) - server
                wall, done = time.monotonic() - begin, cluster.records(job) - first
                report("flink", model.parent.name, chunk, 1, done, (bare + bare_s(model)) / 2, own, server, wall,
                       mean_chunk=round(done / max(1, cluster.chunks(job) - before), 1))
                streams.wait(lambda job=job: cluster.finished(job), "the end of the job")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["nats", "flink"], required=True)
    parser.add_argument("--samples", type=int, help="of a run; fewer for the larger model")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 16, 64, 256])
    args = parser.parse_args()
    samples = args.samples or {"nats": 20000, "flink": 80000}[args.engine]
    with tempfile.TemporaryDirectory(prefix="xst-engines-") as scratch:
        models = []
        for case, count in (("stream/forecaster", samples), ("block_stack/readme_config", samples // 4)):
            where = pathlib.Path(scratch, case.rpartition("/")[2])
            where.mkdir()
            models.append((streams.pack(where, case), count))
        {"nats": nats_cases, "flink": flink_cases}[args.engine](pathlib.Path(scratch), models, args.chunks)
