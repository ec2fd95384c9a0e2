"""A few kills of each lossless source, both at once; `kills.py` for many."""

import concurrent.futures

import kills


def test_a_killed_daemon_loses_nothing():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(kills.run, 10, source, seed=8, most_in_a_round=10, longest_s=2)
                for source in ("acked", "file")]
    for one in both:
        total = one.result()
        assert total["kills"] == 10 and total["outputs"] > 0
