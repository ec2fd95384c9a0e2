"""A kill of each kind in a real Flink cluster; `kills.py --engine flink` for many kills."""

import shutil

import pytest

if not shutil.which("java"):
    pytest.skip("no java", allow_module_level=True)
import flink_kills  # noqa: E402


def test_killed_owners_lose_and_double_nothing(tmp_path):
    done = flink_kills.run(tmp_path, kills=2, seed=4, rows=15000)
    assert done["kills"] == 2 and done["task_managers"] == 1 and done["outputs"] > 0
