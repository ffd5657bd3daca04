"""Errors that one task keeps to itself, and their messages."""

import errno
import os

import pytest

from framewise.core.errors import MediaError, MediaUnavailable, ProjectForgotten, StorageFull
from framewise.core.isolation import Failure, Interruption, isolate_errors

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/a")


class OthersWait(Interruption):
    pass


def outcome(error, **rules):
    """Message of a task's failure."""
    told = []
    with isolate_errors(told.append, **rules):
        raise error
    return told


@pytest.mark.parametrize(
    ("error", "text", "is_defect", "is_temporary"),
    [
        (MediaError("a.mp4: no video"), "a.mp4: no video", False, False),
        (MediaUnavailable("a.mp4: too busy"), "a.mp4: too busy", False, True),
        (FileNotFoundError(2, "gone", "a.mp4"), "[Errno 2] gone: 'a.mp4'", False, False),
        (KeyError("x"), "KeyError: 'x'", True, False),
    ],
)
def test_what_is_wrong_with_one_task_is_told(error, text, is_defect, is_temporary):
    (failure,) = outcome(error)

    assert (failure.text, failure.is_defect, failure.is_temporary) == (text, is_defect, is_temporary)


@pytest.mark.parametrize("error", [FULL, StorageFull("no room"), ProjectForgotten("1"), OthersWait(), KeyboardInterrupt()])
def test_what_concerns_all_tasks_is_raised(error):
    with pytest.raises(type(error)):
        outcome(error)


def test_what_concerns_all_can_be_another_choice():
    with pytest.raises(MediaUnavailable):
        outcome(MediaUnavailable("busy"), concerns_all=lambda error: isinstance(error, MediaUnavailable))
    assert [f.text for f in outcome(ProjectForgotten("gone"), concerns_all=lambda error: False)] == ["gone"]


def test_nothing_is_told_where_nothing_goes_wrong():
    told = []
    with isolate_errors(told.append):
        pass
    assert told == []


def test_a_full_disk_is_told_with_the_place_and_the_cure():
    assert Failure(FULL).text == "no room on the disk (No space left on device: /cache/a); make room"
