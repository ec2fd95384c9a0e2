#!/usr/bin/env python3
"""Prints what xstd publishes (JSON) and every gap in seq: subscribe.py [ENDPOINT [SERVER.public MY.secret]]"""
import json
import sys
import zmq

def key(path):  # a file of `xst keygen`
    return next(line for line in open(path).read().split("\n") if line and not line.startswith("# ")).encode()

socket = zmq.Context.instance().socket(zmq.SUB)
if len(sys.argv) == 4:
    socket.curve_serverkey, socket.curve_secretkey = key(sys.argv[2]), key(sys.argv[3])
    socket.curve_publickey = zmq.curve_public(socket.curve_secretkey)
socket.subscribe("")  # or "NAME/": one stream
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9872")
last = {}
while True:
    topic, record = (frame.decode() for frame in socket.recv_multipart())
    record = json.loads(record)
    if "y" in record:  # not an alarm or a heartbeat
        epoch, seq = last.get(topic, (None, 0))
        if epoch == record["epoch"] and record["seq"] > seq + 1:
            print(f"{topic} lost {record['seq'] - seq - 1} records")
        last[topic] = record["epoch"], record["seq"]
    print(topic, record, flush=True)
