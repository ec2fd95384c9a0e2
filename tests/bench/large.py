#!/usr/bin/env python3
"""A synthetic xLSTM Large as a hub checkpoint of random bf16 weights: packed, opened and stepped, with the memory and
the time that took. `--scale 1` is the 7B model, 2 to 14 GB of disk a file; everything is deleted at the end."""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import numpy as np

SEVEN_B = {"embedding_dim": 4096, "num_blocks": 32, "num_heads": 8, "vocab_size": 50304}
FIFTIETH = {"embedding_dim": 1024, "num_blocks": 8, "num_heads": 8, "vocab_size": 16384}
SHARD_BYTES = 5_000_000_000


def width(config, factor):
    return int(config["embedding_dim"] * factor)


def tensors(config):
    """(name, shape) in the order of a hub checkpoint's shards: specification large.md sections 2 and 3."""
    d, heads, vocabulary = config["embedding_dim"], config["num_heads"], config["vocab_size"]
    qk, v, u = width(config, 0.5), d, int((d * 2.667 + 63) // 64 * 64)
    yield "backbone.embeddings.weight", (vocabulary, d)
    for j in range(config["num_blocks"]):
        block = f"backbone.blocks.{j}."
        yield block + "norm_mlstm.weight", (d,)
        for name, rows in (("q", qk), ("k", qk), ("v", v), ("ogate_preact", v), ("igate_preact", heads),
                           ("fgate_preact", heads)):
            yield f"{block}mlstm_layer.{name}.weight", (rows, d)
        for name in ("igate_preact", "fgate_preact"):
            yield f"{block}mlstm_layer.{name}.bias", (heads,)
        yield block + "mlstm_layer.multihead_norm.weight", (v,)
        yield block + "mlstm_layer.out_proj.weight", (d, v)
        yield block + "norm_ffn.weight", (d,)
        yield block + "ffn.proj_up_gate.weight", (u, d)
        yield block + "ffn.proj_up.weight", (u, d)
        yield block + "ffn.proj_down.weight", (d, u)
    yield "backbone.out_norm.weight", (d,)
    yield "lm_head.weight", (vocabulary, d)


def shards(config):
    """Lists of (name, shape) of at most SHARD_BYTES."""
    shard, size = [], 0
    for name, shape in tensors(config):
        length = 2 * int(np.prod(shape))
        if shard and size + length > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append((name, shape))
        size += length
    yield shard


def write_checkpoint(folder, config, seed=1):
    """The folder with config.json, an index and shards; the number of weights."""
    rng = np.random.default_rng(seed)
    # A long stretch of normal numbers, entered at another place for each tensor.
    pool = rng.standard_normal(1 << 24, dtype=np.float32)

    def write(file, shape):
        count = int(np.prod(shape))
        # Norms near 1; matrices so that products stay near 1.
        scale, offset = (0.1, 1.0) if len(shape) == 1 else (shape[1] ** -0.5, 0.0)
        values = (pool * np.float32(scale) + np.float32(offset)).view(np.uint32)
        bf16 = ((values + 0x7FFF + (values >> 16 & 1)) >> 16).astype(np.uint16)
        at = int(rng.integers(len(pool)))
        while count > 0:
            part = bf16[at:at + count]
            file.write(part.tobytes())
            count, at = count - len(part), 0

    parts, index = list(shards(config)), {}
    for i, shard in enumerate(parts):
        name = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        header, offset = {}, 0
        for tensor, shape in shard:
            length = 2 * int(np.prod(shape))
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + length]}
            offset += length
            index[tensor] = name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / name, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, shape in shard:
                write(file, shape)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({"model_type": "xlstm", **config}))
    return sum(int(np.prod(shape)) for _, shape in tensors(config))


def watched(command):
    """Seconds and peak anonymous memory in bytes of a command that must succeed, and its output."""
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = []
        reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
        reader.start()
        while process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            fields = dict(line.split(":", 1) for line in status.splitlines())
            if "RssAnon" in fields:
                peak = max(peak, 1024 * int(fields["RssAnon"].split()[0]))
            time.sleep(0.01)
        reader.join()
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    return time.monotonic() - start, peak, output[0]


def measure(xst, folder, config, dtype, steps):
    """One row: what packing, opening and stepping the model cost."""
    weights = write_checkpoint(folder, config)
    model = folder / f"{dtype}.xst"
    pack_s, pack_peak, _ = watched([xst, "pack", folder, "-o", model, "--dtype", dtype])
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    open_s, _, info = watched([xst, "inspect", model, "--json"])
    _, _, bench = watched([xst, "bench", model, "--steps", str(steps), "--json"])
    bench = json.loads(bench)
    return {"weights": weights, "dtype": dtype, "file_bytes": model.stat().st_size, "pack_s": round(pack_s, 1),
            "pack_peak_bytes": pack_peak, "open_s": round(open_s, 3), "isa": bench["isa"],
            "p50_ms": round(bench["p50_us"] / 1e3, 1), "p99_ms": round(bench["p99_us"] / 1e3, 1),
            "tokens_per_s": round(1e6 / bench["p50_us"], 3),
            "weights_gb_per_s": round(bench["weight_bytes"] / bench["p50_us"] / 1e3, 2),
            "memory_gb_per_s": round((bench["weight_bytes"] + bench["state_bytes"]) / bench["limit_us"] / 1e3, 2),
            "limit_ratio": round(bench["limit_ratio"], 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--xst", default="build/release/bin/xst")
    parser.add_argument("--scale", choices=["1", "1/50"], default="1/50")
    parser.add_argument("--dtype", nargs="+", default=["i8"], choices=["f32", "i16", "bf16", "i8"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", help="where there is room (default: the temporary folder)")
    args = parser.parse_args()
    for dtype in args.dtype:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="xst-large-", dir=args.folder))
        try:
            config = SEVEN_B if args.scale == "1" else FIFTIETH
            print(json.dumps(measure(args.xst, folder, config, dtype, args.steps)), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
