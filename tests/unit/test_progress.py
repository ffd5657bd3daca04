"""Progress of parts of a work, as progress of the whole."""

import pytest

from framewise.core.progress import between, named, part_of, silent


def told(make, *shares):
    """The progress of the whole that parts tell, which make(progress) gives."""
    seen = []
    part = make(lambda share, detail: seen.append((share, detail)))
    for share in shares:
        part(share, "a")
    return seen


def test_the_second_of_four_parts_goes_from_a_quarter_to_a_half():
    assert told(lambda whole: part_of(whole, 1, 4), 0.0, 0.5, 1.0) == [(0.25, "a"), (0.375, "a"), (0.5, "a")]


@pytest.mark.parametrize("total", range(1, 100))
def test_the_last_part_ends_with_the_whole(total):
    assert told(lambda whole: part_of(whole, total - 1, total), 1.0) == [(1.0, "a")]


def test_parts_of_parts():
    assert told(lambda whole: between(part_of(whole, 1, 2), 0.5, 1.0), 0.0, 1.0) == [(0.75, "a"), (1.0, "a")]


def test_what_tells_its_share_alone_is_named():
    assert told(lambda whole: lambda share, _: named(whole, "sound")(share), 0.5) == [(0.5, "sound")]


def test_progress_that_nobody_watches_takes_both():
    silent(0.5)
    silent(0.5, "sound")
