"""Progress is passed on at most once in a while, and its last step always."""

import time

from framewise.core.progress import Pace, Throttled


def test_a_pace_is_due_at_most_once_in_its_seconds() -> None:
    slow, quick = Pace(60), Pace(0.01)
    assert [slow.is_due(), slow.is_due()] == [True, False]
    assert quick.is_due()
    time.sleep(0.02)
    assert quick.is_due()


def test_a_pace_that_begins_later_or_again_is_not_due_at_once() -> None:
    assert not Pace(60, at_once=False).is_due()
    pace = Pace(60)
    pace.restart()
    assert not pace.is_due()


def test_progress_in_between_is_left_out_and_the_last_is_told_with_flush() -> None:
    told: list[tuple[float, str]] = []
    progress = Throttled(lambda share, detail: told.append((share, detail)), 60)
    for step in range(5):
        progress(step / 4, f"step {step}")
    assert told == [(0.0, "step 0")]
    progress.flush()
    progress.flush()
    assert told == [(0.0, "step 0"), (1.0, "step 4")]
