#!/usr/bin/env python3
"""acked_client.py DATA.csv ENDPOINT: sends a recording to an acked source of xstd and loses nothing.

The file: a header line, then rows of numbers; a first column named t is the time in seconds. Start
it again at any time, xstd says where to go on; it ends when every row is on xstd's disk.
"""
import csv
import json
import sys

import zmq

WINDOW, TIMEOUT_MS = 256, 1000  # rows on their way; without an answer they are sent again


def send(rows, endpoint):
    """rows: dicts {"x": [values], "t": seconds}, t optional; row N is sent as seq N."""
    while True:
        with zmq.Context.instance().socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(endpoint)
            socket.send(b"")  # where to go on?
            sent = None
            while socket.poll(TIMEOUT_MS):
                answer = json.loads(socket.recv())
                if "error" in answer:
                    raise ValueError(answer["error"])
                acked = -1 if answer["acked"] is None else answer["acked"]
                if acked >= len(rows) - 1:
                    return
                sent = acked if sent is None else max(sent, acked)
                while sent < min(acked + WINDOW, len(rows) - 1):
                    sent += 1
                    socket.send_json({"seq": sent, **rows[sent]})


if __name__ == "__main__":
    with open(sys.argv[1], newline="") as f:
        names, *table = csv.reader(f)
    table = [[float(v) if v else None for v in row] for row in table]
    timed = names[0] == "t"
    send([{"t": r[0], "x": r[1:]} if timed else {"x": r} for r in table], sys.argv[2])
