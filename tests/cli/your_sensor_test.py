"""A fresh user's first minutes: the commands of "Your own sensor", word for word but for the ports."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from pages import blocks, file_name, sections
from xst_tool import BIN
from xstd_tool import PATIENCE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def plots(script, folder):
    """Runs the commands until the last one shows predictions; then Ctrl-C."""
    process = subprocess.Popen(["bash", "-c", "trap : INT\n" + script], cwd=folder, stdout=subprocess.PIPE, text=False,
                               start_new_session=True)
    os.set_blocking(process.stdout.fileno(), False)
    text, end = b"", time.monotonic() + PATIENCE_S
    try:
        while not re.search(rb"mine/ t=.* next=-?\d.*in ecg=", text):
            assert time.monotonic() < end, text
            time.sleep(0.05)
            text += process.stdout.read() or b""
    finally:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_from_a_sensor_to_a_plot(tmp_path):
    ports = {"9871": str(free_port()), "9872": str(free_port()), "9873": str(free_port())}
    (tmp_path / "apps").symlink_to(ROOT / "apps")
    (tmp_path / "build/release").mkdir(parents=True)
    (tmp_path / "build/release/bin").symlink_to(BIN)
    text = re.sub("987[123]", lambda port: ports[port[0]], sections((ROOT / "README.md").read_text())["Your own sensor"])
    scripts = []
    for language, body in blocks(text):
        if language == "sh":
            scripts.append(body)
        else:
            (tmp_path / file_name(body)).write_text(body)
    assert len(scripts) == 2
    python = (tmp_path / "sensor.py").read_text().splitlines()
    assert len(python) <= 10
    for script in scripts:
        plots(script.replace("python3 ", "/usr/bin/python3 "), tmp_path)
