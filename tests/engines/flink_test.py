"""A kill of each kind in a real Flink cluster; `kills.py --engine flink` for many kills. And when chunks are cut."""

import shutil
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

if not shutil.which("java"):
    pytest.exit("skipped: java is missing", returncode=77)  # what CTest shows as skipped
import flink_kills  # noqa: E402
import streams  # noqa: E402

sys.path.insert(0, str(flink_kills.ADAPTERS))
import on_flink  # noqa: E402


def test_killed_owners_lose_and_double_nothing(tmp_path):
    done = flink_kills.run(tmp_path, kills=2, seed=4, rows=15000)
    assert done["kills"] == 2 and done["task_managers"] == 1 and done["outputs"] > 0


class State:
    """Keyed state of one key, a value or a list."""

    def __init__(self, empty):
        self.held = self.empty = empty

    def value(self):
        return self.held

    get = value

    def update(self, value):
        self.held = value

    def add(self, value):
        self.held = [*self.held, value]

    def clear(self):
        self.held = self.empty


def test_the_timer_of_a_full_chunk_cuts_no_later_one(tmp_path):
    model, now, timers = streams.pack(tmp_path), [1000], []
    service = SimpleNamespace(current_processing_time=lambda: now[0], register_processing_time_timer=timers.append,
                              register_event_time_timer=mock.Mock())
    context = SimpleNamespace(timer_service=lambda: service, get_current_key=lambda: "a")
    state, waiting = State(None), State([])
    x = streams.samples(np.random.default_rng(1), 9)
    rows = [("a", str(i), row.tobytes()) for i, row in enumerate(x)]

    def opened():
        operator = on_flink.StepChunks(str(model), chunk=4, wait_ms=100)
        operator.open(SimpleNamespace(get_state=lambda _: state, get_list_state=lambda _: waiting,
                                      get_metrics_group=mock.MagicMock()))
        return operator

    def sent(operator, some):
        return [y for row in some for y in operator.process_element(row, context)]

    operator = opened()
    out = sent(operator, rows[:4])
    assert len(out) == 4 and timers == [1100]
    now[0] = 1090
    assert sent(operator, rows[4:6]) == [] and timers == [1100, 1190]
    assert list(operator.on_timer(1100, context)) == []  # of the chunk that was full
    out += operator.on_timer(1190, context)
    assert len(out) == 6
    now[0] = 1200
    assert sent(operator, rows[6:8]) == []
    operator = opened()  # after a restart, with the state and the timers that were
    out += operator.on_timer(timers[-1], context)
    assert len(out) == 8
    assert sent(operator, rows[8:]) == []
    out += operator.on_timer(2**63 - 1, context)  # the end of the input
    assert b"".join(y for _, _, y in out) == streams.uninterrupted(model, x).tobytes()
    assert [sequence for _, sequence, _ in out] == [str(i) for i in range(9)]
