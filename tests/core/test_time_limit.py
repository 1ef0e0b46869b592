"""What takes too long is stopped, in any thread; what does not is left alone."""

from __future__ import annotations

import threading
import time

import pytest

from consort.core.time_limit import time_limit


def test_what_ends_in_time_is_left_alone() -> None:
    for _ in range(200):
        with time_limit(60):
            found = sum(range(100))
        assert found == 4950
    assert threading.active_count() < 20


def test_its_own_errors_pass() -> None:
    with pytest.raises(KeyError), time_limit(60):
        raise KeyError("own")


def endless(found: list[str]) -> None:
    try:
        with time_limit(0.05):
            while True:
                pass
    except TimeoutError as error:
        found.append(str(error))
    time.sleep(0.05)  # nothing comes after


def test_an_endless_loop_is_stopped_in_any_thread() -> None:
    found: list[str] = []
    threads = [threading.Thread(target=endless, args=(found,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    endless(found)
    for thread in threads:
        thread.join(30)
    assert found == ["took longer than 0.05 s"] * 5


def test_at_the_last_moment_it_is_one_or_the_other() -> None:
    """Ended or stopped, never an exception behind the block."""
    stopped = 0
    for i in range(60):
        try:
            with time_limit(0.003):
                end = time.perf_counter() + 0.00290 + i * 4e-6
                while time.perf_counter() < end:
                    pass
        except TimeoutError:
            stopped += 1
        sum(range(1000))
    assert 0 <= stopped <= 60
