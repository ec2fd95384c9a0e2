"""The figure of the peers' figures is a small, well-formed picture that shows every one of them."""

import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent


def test_shows_every_peer(tmp_path):
    figures = json.loads((HERE / "cpu.json").read_text())
    subprocess.run([sys.executable, HERE / "figure.py", HERE / "cpu.json", "-o", tmp_path / "cpu.svg"], check=True)
    picture = (tmp_path / "cpu.svg").read_text()
    assert picture == (HERE / "cpu.svg").read_text() and len(picture) < 100_000
    words = [node.text for node in xml.fromstring(picture).iter() if node.text]
    for peer in figures["peers"]:
        assert peer["name"] in words, peer["name"]
