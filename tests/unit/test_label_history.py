"""Present names of labels: renames, and what is none."""

import pytest

from framewise.core.label_history import names_now, renamed_result, renames
from tests.messages import region


def labels(*names, control="tl", **attributes):
    return {control: [(name, attributes.get(name, {})) for name in names]}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (labels("Walk", "Run"), labels("Stroll", "Run"), {"Walk": "Stroll"}),
        (labels("Walk", "Run"), labels("Stroll", "Jog"), {"Walk": "Stroll", "Run": "Jog"}),
        (labels("Walk", "Run"), labels("Walk", "Run"), {}),
        (labels("Walk", "Run"), labels("Run", "Walk"), {}),
        (labels("Walk", "Run"), labels("Run", "Sit"), {}),
        (labels("Walk", "Run"), labels("Stroll", "Run", "Sit"), {}),
        (labels("Walk", "Run"), labels("Stroll"), {}),
        (labels("Walk", Walk={"hotkey": "w"}), labels("Stroll", Stroll={"hotkey": "w"}), {"Walk": "Stroll"}),
        (labels("Walk", Walk={"hotkey": "w"}), labels("Stroll", Stroll={"hotkey": "s"}), {}),
    ],
    ids=["one", "two", "none", "exchanged", "moved", "one added", "one removed", "same attributes", "other attributes"],
)
def test_a_rename_is_another_name_in_the_same_place_and_nothing_else(before, after, found):
    assert renames(before, after) == {"tl": found}


def test_a_label_of_another_control_is_no_rename():
    assert renames(labels("Walk", control="a"), labels("Stroll", control="b")) == {}


def test_renames_follow_one_another():
    history = [labels("Walk"), labels("Stroll"), labels("Amble")]
    assert names_now(history, 0) == {"tl": {"Walk": "Amble", "Stroll": "Amble", "Amble": "Amble"}}


def test_a_rename_that_is_undone_leaves_what_was_drawn_meanwhile_with_the_old_name():
    history = [labels("Walk", "Run"), labels("Stroll", "Run"), labels("Walk", "Run")]
    for at in range(3):
        assert names_now(history, at)["tl"] == {"Walk": "Walk", "Stroll": "Walk", "Run": "Run"}


def test_a_name_that_was_given_to_a_new_label_means_what_it_meant_when_it_was_drawn():
    """Walk became Stroll; later another label was added and called Walk."""
    history = [labels("Walk"), labels("Stroll"), labels("Stroll", "Walk")]
    assert [names_now(history, at)["tl"]["Walk"] for at in range(3)] == ["Stroll", "Stroll", "Walk"]


def test_a_removed_label_that_comes_back_is_the_same():
    history = [labels("Walk", "Run"), labels("Run"), labels("Walk", "Run")]
    assert names_now(history, 0)["tl"] == {"Walk": "Walk", "Run": "Run"}


def test_only_labels_of_regions_of_the_control_are_renamed():
    names = {"tl": {"Walk": "Stroll"}}
    strange = [None, {}, {"from_name": "tl"}, {"from_name": ["tl"], "value": {"timelinelabels": ["Walk"]}},
               {"from_name": "tl", "value": {"timelinelabels": "Walk"}}]  # fmt: skip
    others = [{"from_name": "c", "value": {"choices": ["Walk"]}}, region("Walk", (1, 2), control="other")]
    result = [region(["Walk", "Run"], (1, 2), id="a"), *strange, *others]

    renamed = renamed_result(result, names)

    assert renamed[0] == region(["Stroll", "Run"], (1, 2), id="a")
    assert renamed[1:] == result[1:]
