"""Safetensors files of float32, without the package of that name."""

import json
import struct

import numpy as np


def read_safetensors(path):
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    assert all(t["dtype"] == "F32" for t in header.values())
    return {name: np.frombuffer(data[8 + size:], np.float32, count=int(np.prod(t["shape"])),
                                offset=t["data_offsets"][0]).reshape(t["shape"]) for name, t in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))
