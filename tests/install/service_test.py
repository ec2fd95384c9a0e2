"""The systemd unit: what systemd itself thinks of it."""

import pathlib
import re
import shutil
import subprocess

import pytest

PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "apps/packaging"
UNIT = PACKAGING / "xstd.service"
REPOSITORY = PACKAGING.parents[1]

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


@needs_analyze
def test_exposure_is_at_most_1_5():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
                          capture_output=True, text=True, timeout=60)
    level = re.search(r"Overall exposure level for xstd.service: ([\d.]+)", done.stdout)
    assert level and float(level[1]) <= 1.5, done.stdout


@needs_analyze
def test_the_unit_and_its_drop_in_are_well_formed(tmp_path):
    text = UNIT.read_text().replace("/usr/bin/xstd", "/bin/true")
    (tmp_path / "xstd.service").write_text(text)
    drop_in = tmp_path / "xstd.service.d"
    drop_in.mkdir()
    (drop_in / "realtime.conf").write_text(
        re.sub(r"^#(?=[A-Z]\w+=)", "", (PACKAGING / "realtime.conf").read_text(), flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / "xstd.service"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "xstd" not in done.stderr, done.stderr


def test_a_stop_has_the_time_that_the_daemon_takes():
    def seconds(file, pattern):
        return int(re.search(pattern, (REPOSITORY / "apps/xstd" / file).read_text())[1])
    takes = seconds("feed.h", r"kLongestDrain\{(\d+)\}") + seconds("daemon.cc", r"kFinalState\((\d+)\)")
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)[1])
    assert stop >= takes + 10
