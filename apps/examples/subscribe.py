#!/usr/bin/env python3
"""Prints what xstd publishes as JSON, and every gap in seq: subscribe.py [ENDPOINT [SERVER.public MY.secret]]"""
import json, sys, zmq  # noqa: E401

def key(path):  # a file of `xst keygen`
    return next(line for line in open(path).read().split("\n") if line and line[0] != "#").encode()

socket, last = zmq.Context.instance().socket(zmq.SUB), {}
if len(sys.argv) == 4:
    socket.curve_serverkey, secret = key(sys.argv[2]), key(sys.argv[3])
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_public(secret), secret
socket.subscribe("")  # or "NAME/": one stream
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:9872")
while True:
    topic, record = socket.recv_string(), json.loads(socket.recv())
    if "y" in record:  # neither an alarm nor a heartbeat
        epoch, seq = last.get(topic, (None, 0))
        if epoch == record["epoch"] and record["seq"] > seq + 1:
            print(topic, "lost", record["seq"] - seq - 1, "records")
        last[topic] = record["epoch"], record["seq"]
    print(topic, record, flush=True)
