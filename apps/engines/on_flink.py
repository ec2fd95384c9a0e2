"""on_flink.py --model M --input FOLDER --output FOLDER: streams as keyed state of Apache Flink.

Each file of the input folder is a sensor's: lines `sensor,sequence,value,…`. Out come lines
`sensor,sequence,output,…`, without outputs for a line that has not the model's number of values: it is not
stepped. A job with other sources and sinks takes StepChunks as it is.

Exactly once: a sensor's snapshot and the rows that wait for their chunk are keyed state. A checkpoint holds
them with the sources' positions, and the sink commits what it covers. After a kill Flink goes back to it; what
was stepped since was never committed and is the same bits again, wherever chunks then end. Flink fences itself.
"""

import argparse

import numpy as np
from pyflink.common import Encoder, Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import FileSink, FileSource, RollingPolicy, StreamFormat
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor

ROW = Types.TUPLE([Types.STRING(), Types.STRING(), Types.PICKLED_BYTE_ARRAY()])  # sensor, sequence, float32 values


class StepChunks(KeyedProcessFunction):
    """ROWs of inputs, keyed by sensor, to ROWs of outputs; a sensor's state is written once a chunk."""

    def __init__(self, model, chunk, wait_ms):
        self.model, self.chunk, self.wait_ms = model, chunk, wait_ms

    def open(self, runtime_context):
        import contract
        self.stream = contract.open(self.model)
        self.fresh, self.arch_hash = self.stream.save(), self.stream.arch_hash()
        self.state = runtime_context.get_state(ValueStateDescriptor("state", Types.PICKLED_BYTE_ARRAY()))
        self.waiting = runtime_context.get_list_state(ListStateDescriptor("waiting", Types.PICKLED_BYTE_ARRAY()))
        self.chunks = runtime_context.get_metrics_group().counter("chunks")
        self.counts, self.due = {}, {}  # of what waits, and when it is stepped, by sensor

    def process_element(self, value, ctx):
        sensor, sequence, row = value
        if len(row) != 4 * self.stream.input_width:
            yield sensor, sequence, b""
            return
        count = self.counts[sensor] if sensor in self.counts else len(list(self.waiting.get()))  # after a restart
        if count == 0:
            timers = ctx.timer_service()
            timers.register_event_time_timer(2**63 - 1)  # the end of a bounded input
            self.due[sensor] = timers.current_processing_time() + self.wait_ms
            timers.register_processing_time_timer(self.due[sensor])
        self.waiting.add((sequence, row))
        self.counts[sensor] = count + 1
        if count + 1 >= self.chunk:
            yield from self.step(sensor)

    def on_timer(self, timestamp, ctx):
        if timestamp >= self.due.get(sensor := ctx.get_current_key(), 0):  # not of an earlier chunk that was full
            yield from self.step(sensor)

    def step(self, sensor):
        if rows := list(self.waiting.get()):
            arch_hash, state = self.state.value() or (self.arch_hash, self.fresh)
            if arch_hash != self.arch_hash:
                raise ValueError(f"{sensor}: state: expected architecture {self.arch_hash}, got {arch_hash}")
            self.stream.load(state)
            y = self.stream.step_chunk(np.stack([np.frombuffer(row, "<f4") for _, row in rows]))
            self.state.update((self.arch_hash, self.stream.save()))
            self.waiting.clear()
            self.chunks.inc()
            self.counts[sensor] = 0
            yield from ((sensor, sequence, out.tobytes()) for (sequence, _), out in zip(rows, y))


def parsed(line):
    sensor, sequence, values = (line + ",,").split(",", 2)
    try:
        return sensor, sequence, np.array(values[:-2].split(","), "<f4").tobytes()
    except ValueError:
        return sensor, sequence, b""


def main(model, input, output, chunk, wait_ms, checkpoint_ms):  # noqa: A002
    env = StreamExecutionEnvironment.get_execution_environment()
    env.enable_checkpointing(checkpoint_ms)
    source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), input).build()
    sink = FileSink.for_row_format(output, Encoder.simple_string_encoder()).with_rolling_policy(
        RollingPolicy.on_checkpoint_rolling_policy()).build()
    (env.from_source(source, WatermarkStrategy.no_watermarks(), "samples").map(parsed, ROW)
        .key_by(lambda row: row[0], Types.STRING()).process(StepChunks(model, chunk, wait_ms), ROW)
        .map(lambda row: ",".join([*row[:2], *map(str, np.frombuffer(row[2], "<f4"))]), Types.STRING()).sink_to(sink))
    env.execute("xlstm_stream")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "input", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--chunk", type=int, default=64, help="samples for which the state is written once")
    parser.add_argument("--wait-ms", type=int, default=100, help="for a chunk to fill")
    parser.add_argument("--checkpoint-ms", type=int, default=1000)
    main(**vars(parser.parse_args()))
