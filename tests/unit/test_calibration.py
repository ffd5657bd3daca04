"""Scores of regions made probabilities."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.errors import ModelError
from framewise.learning.calibration import OFFSET_SPREAD, SLOPE_SPREAD, RegionCalibration

judged = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60)


def fitted(regions):
    return RegionCalibration.fit([s for s, _ in regions], [r for _, r in regions])


def log_odds(p):
    return math.log(p / (1 - p))


def test_without_regions_scores_stay_what_they_are():
    np.testing.assert_allclose(fitted([]).apply([0.1, 0.5, 0.9]), [0.1, 0.5, 0.9])


def test_probabilities_by_hand():
    # log odds of 0.8: log 4; twice that less log 2: log 8
    assert RegionCalibration(2.0, -math.log(2)).apply(0.8) == pytest.approx(8 / 9)


def test_scores_of_zero_and_one_become_probabilities_between():
    low, high = RegionCalibration().apply([0.0, 1.0])

    assert 0 < low < 0.01
    assert 0.99 < high < 1


def test_many_regions_of_a_known_map_give_it_back():
    random = np.random.default_rng(1)
    scores = random.beta(2, 2, 20_000)
    true = RegionCalibration(0.5, -1.0)

    found = RegionCalibration.fit(scores, random.random(20_000) < true.apply(scores))

    assert found.slope == pytest.approx(0.5, abs=0.1)
    assert found.offset == pytest.approx(-1.0, abs=0.1)


def test_scores_that_say_the_opposite_are_levelled_and_not_turned():
    found = fitted([(0.6, True), (0.95, False)] * 50)

    assert found.slope == 0
    np.testing.assert_allclose(found.apply([0.1, 0.9]), [0.5, 0.5], atol=0.01)


def test_five_right_regions_do_not_make_certain():
    assert 0.9 < fitted([(0.9, True)] * 5).apply(0.9) < 0.99


def test_five_wrong_regions_take_much_of_the_confidence():
    assert fitted([(0.9, False)] * 5).apply(0.9) < 0.4


def test_fresh_regions_of_an_overconfident_model_are_told_their_chances():
    # Scores say 80 %, 40 % are right. From 30 regions on, the error that remains is that of counting 30.
    random = np.random.default_rng(2)
    errors = []
    for _ in range(100):
        scores = random.uniform(0.6, 0.99, 30)
        found = RegionCalibration.fit(scores, random.random(30) < 0.4)
        errors.append(abs(float(found.apply(random.uniform(0.6, 0.99, 1000)).mean()) - 0.4))

    assert np.mean(errors) < 0.1


def test_a_map_is_kept_as_json():
    found = fitted([(0.9, True), (0.7, False), (0.8, True)])

    assert RegionCalibration.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"slope": 1.0},
        {"slope": -0.1, "offset": 0},
        {"slope": math.inf, "offset": 0},
        {"slope": None, "offset": 0},
        None,
        [1],
    ],
)
def test_what_is_no_map_is_refused(written):
    with pytest.raises(ModelError, match="slope >= 0"):
        RegionCalibration.from_json(written)


@settings(deadline=None)
@given(judged, st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_the_order_of_regions_is_never_turned(regions, scores):
    probabilities = fitted(regions).apply(sorted(scores))

    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@settings(deadline=None)
@given(judged)
def test_no_other_map_is_more_probable(regions):
    def surprise(slope, offset):
        prior = ((slope - 1) / SLOPE_SPREAD) ** 2 / 2 + (offset / OFFSET_SPREAD) ** 2 / 2
        odds = [slope * log_odds(min(max(s, 1e-3), 1 - 1e-3)) + offset for s, _ in regions]
        return prior + sum(np.logaddexp(0, -o if right else o) for o, (_, right) in zip(odds, regions, strict=True))

    found = fitted(regions)

    least = surprise(found.slope, found.offset)
    for slope, offset in (
        (0.01, 0),
        (-0.01, 0),
        (0, 0.01),
        (0, -0.01),
        (0.01, 0.02),
        (0.01, -0.02),
        (-0.01, 0.02),
        (-0.01, -0.02),
    ):
        if found.slope + slope >= 0:
            assert least <= surprise(found.slope + slope, found.offset + offset)
