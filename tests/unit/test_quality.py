"""The reported quality of out-of-fold predictions."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.learning.quality import mean_f1_difference, mean_f1_intervals, measure, reliability, t_quantile


def columns(*labels):
    """Each label as a text, on where it is not a dot: (T, L)."""
    return np.array([[c != "." for c in label] for label in labels], dtype=np.uint8).T


def quality_of(truth, found, labels, scores=None, taught=None, weak=False, **more):
    scores = [f.astype(float) for f in found] if scores is None else scores
    told = [np.ones(len(labels), dtype=bool)] * len(truth) if taught is None else taught
    known = [np.tile(of_labels, (len(t), 1)) for t, of_labels in zip(truth, told, strict=True)]
    return measure(truth, scores, found, labels, "leave one video out", weak, known, **more)


def frame_counts(f1s, size=100):
    """Counts (V, 1, 1, 3) of videos with one label and these frame F1s, of ``size`` true frames each."""
    hits = np.round(np.asarray(f1s) * size)
    return np.stack([hits, size - hits, size - hits], axis=-1).reshape(-1, 1, 1, 3)


def test_scores_of_two_labels_in_two_videos_by_hand():
    truth = [columns("xxxx....", "xx......"), columns("..xxxx..", "........")]
    found = [columns("xx......", "xx..xx.."), columns("..xxxx..", "........")]

    quality = quality_of(truth, found, ["Run", "Sit"])

    # Run: 6 of 8 frames, none too many; segments: IoU 2 / 4 and 1.
    # Sit: 2 frames right, 2 too many; 1 segment right, 1 too many.
    run, sit = quality.labels["Run"], quality.labels["Sit"]
    assert [run[k] for k in ("f1", "f1@10", "f1@25", "f1@50")] == pytest.approx([12 / 14, 1, 1, 1])
    assert [sit[k] for k in ("f1", "f1@10", "f1@25", "f1@50")] == pytest.approx([4 / 6, 2 / 3, 2 / 3, 2 / 3])
    assert (run["true_segments"], run["predicted_segments"], run["true_videos"]) == (2, 2, 2)
    assert (sit["true_segments"], sit["predicted_segments"], sit["true_videos"]) == (1, 2, 1)
    assert (run["precision"], run["recall"]) == (1, 6 / 8)
    assert (sit["precision"], sit["recall"]) == (2 / 4, 1)
    # Run: 6 of 6 at score 1, the other 2 with all 16 frames at score 0. Sit: 2 of 4 at score 1.
    assert run["average_precision"] == pytest.approx(6 / 8 * 1 + 2 / 8 * 8 / 16)
    assert sit["average_precision"] == pytest.approx(2 / 4)
    assert quality.mean["f1"] == pytest.approx((12 / 14 + 4 / 6) / 2)
    assert quality.mean["f1@50"] == pytest.approx((1 + 2 / 3) / 2)
    assert quality.videos == 2


def test_the_mean_leaves_out_labels_that_do_not_occur():
    quality = quality_of([columns("xx..", "....", "....")] * 3, [columns("xx..", "x...", "....")] * 3, ["Run", "Sit", "Fly"])

    assert quality.mean["f1"] == 1.0
    assert quality.labels["Sit"]["f1"] == 0.0
    assert math.isnan(quality.labels["Fly"]["f1"])
    assert math.isnan(quality.labels["Sit"]["average_precision"])


def test_a_label_held_out_at_once_has_no_scores_and_is_no_part_of_the_mean():
    truth, found = [columns("xx..", "xx.."), columns("xx..", "....")] * 2, [columns("xx..", "....")] * 4

    quality = quality_of(truth, found, ["Run", "Sit"], unmeasured={1})

    assert quality.mean["f1"] == 1.0
    assert quality.interval == quality_of([t[:, :1] for t in truth], [f[:, :1] for f in found], ["Run"]).interval
    sit = quality.labels["Sit"]
    assert all(math.isnan(sit[name]) for name in ("f1", "f1@50", "average_precision", "precision", "recall"))
    assert (sit["true_segments"], sit["true_videos"]) == (2, 2)
    assert math.isnan(quality_of(truth, found, ["Run", "Sit"], unmeasured={0, 1}).mean["f1"])


def test_a_label_counts_in_those_videos_only_that_tell_of_it():
    # Sit was added to the config after the second video: what is found there is neither right nor wrong.
    truth = [columns("xx..", "xx.."), columns("xx..", "....")]
    found = [columns("xx..", "xx.."), columns("xx..", "xxxx")]

    quality = quality_of(truth, found, ["Run", "Sit"], taught=[[True, True], [True, False]])

    assert quality.labels["Sit"] == {
        "f1": 1.0,
        "f1@10": 1.0,
        "f1@25": 1.0,
        "f1@50": 1.0,
        "average_precision": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "true_segments": 1,
        "predicted_segments": 1,
        "true_videos": 1,
    }


def test_a_label_that_no_video_tells_of_has_no_scores():
    quality = quality_of([columns("xx..", "xx..")], [columns("xx..", "xx..")], ["Run", "Sit"], taught=[[True, False]])

    assert all(math.isnan(quality.labels["Sit"][k]) for k in ("f1", "f1@50", "average_precision"))


def test_json_has_nothing_that_json_has_not():
    quality = quality_of(
        [columns("xx..", "....")] * 3, [columns("x...", "....")] * 3, ["Run", "Sit"], regions=[(0.91, True), (0.93, False)]
    )

    written = json.loads(json.dumps(quality.to_json(), allow_nan=False))

    assert set(written) == {"method", "weak", "videos", "mean", "interval", "labels", "reliability"}
    assert written["method"] == "leave one video out"
    assert written["weak"] is False
    assert written["videos"] == 3
    assert written["mean"] == {"f1": 0.6667, "f1@10": 1.0, "f1@25": 1.0, "f1@50": 1.0, "average_precision": 0.75}
    assert set(written["interval"]) == {"f1", "f1@50"}
    assert all(low <= high for low, high in written["interval"].values())
    assert written["labels"]["Sit"] == {
        "f1": None,
        "f1@10": None,
        "f1@25": None,
        "f1@50": None,
        "average_precision": None,
        "precision": None,
        "recall": None,
        "true_segments": 0,
        "predicted_segments": 0,
        "true_videos": 0,
    }
    assert written["reliability"] == [[0.92, 0.5, 2]]


def test_no_video_at_all_has_no_scores():
    written = quality_of([], [], ["Run"]).to_json()

    assert written["videos"] == 0
    assert set(written["mean"].values()) == {None}
    assert written["interval"] == {"f1": [None, None], "f1@50": [None, None]}


@pytest.mark.parametrize(("number", "weak"), [(2, False), (1, False), (3, True)])
def test_blocks_in_time_and_two_videos_have_no_interval(number, weak):
    quality = quality_of([columns("xx..")] * number, [columns("x...")] * number, ["Run"], weak=weak)

    assert quality.to_json()["interval"] == {"f1": [None, None], "f1@50": [None, None]}


def test_tasks_with_one_file_are_one_video_in_the_interval():
    truth, found = [columns("xxxx")] * 3, [columns("xx.."), columns("xxx."), columns("xxxx")]
    once = quality_of(truth, found, ["Run"])
    twice = quality_of(truth * 2, found * 2, ["Run"], groups=["a", "b", "c"] * 2)

    assert twice.videos == 3
    assert twice.interval == once.interval


def test_a_video_without_predictions_is_refused():
    with pytest.raises(ValueError, match="zip"):
        quality_of([columns("xx..")] * 2, [columns("xx..")], ["Run"])


def test_an_interval_by_hand():
    # Three videos of one label and 1000 frames each, F1 0.1, 0.5, 0.9. Pooled: 0.5; variance between them 0.16, which
    # resampling gives but for its own noise. Prior variance: 0.25 * 0.5 * 0.5 = 0.0625. Variance: (2 * 0.0625 + 2 * 0.16) / 4 =
    # 0.11125. t of 95 % at 4 degrees: 2.132. Half: 2.132 * sqrt(0.11125 / 3) = 0.4106.
    ((low, high),) = mean_f1_intervals(frame_counts([0.1, 0.5, 0.9], 1000))

    assert low == pytest.approx(0.5 - 0.4106, abs=0.02)
    assert high == pytest.approx(0.5 + 0.4106, abs=0.02)


def test_the_upper_end_allows_for_what_a_version_learns_more_than_what_was_scored():
    # As above. Of a learner that learned from a quarter of the rows half of the error may go: 0.5 + 0.25 + 0.4106 is above 1.
    # Of one that learned from .81 of them a tenth: 0.5 + 0.05 + 0.4106.
    ((low, high),) = mean_f1_intervals(frame_counts([0.1, 0.5, 0.9], 1000), learned=0.81)

    assert low == pytest.approx(0.5 - 0.4106, abs=0.02)
    assert high == pytest.approx(0.55 + 0.4106, abs=0.02)
    assert mean_f1_intervals(frame_counts([0.1, 0.5, 0.9], 1000), learned=0.25)[0][1] == 1


def test_videos_that_are_all_perfect_do_not_make_certain():
    # Three: p = (3 + 1) / 5, prior variance 0.25 * 0.8 * 0.2 = 0.04, variance (2 * 0.04 + 2 * 0) / 4 = 0.02,
    # half: 2.132 * sqrt(0.02 / 3) = 0.1741
    lows = [mean_f1_intervals(frame_counts([1.0] * number))[0][0] for number in (3, 10, 100)]

    assert lows[0] == pytest.approx(1 - 0.1741, abs=0.001)
    assert lows == sorted(lows)
    assert lows[2] < 1


def test_more_videos_make_the_interval_narrower():
    random = np.random.default_rng(0)
    f1s = random.beta(6, 3, 100)
    widths = [high - low for number in (3, 10, 100) for low, high in mean_f1_intervals(frame_counts(f1s[:number]))]

    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("videos", [3, 5, 10])
def test_intervals_hold_the_true_score_in_four_cases_of_five(videos):
    random = np.random.default_rng(videos)
    for mean, concentration in ((0.6, 5), (0.8, 6), (0.92, 10)):
        held = 0
        for _ in range(200):
            f1s = random.beta(mean * concentration, (1 - mean) * concentration, videos)
            ((low, high),) = mean_f1_intervals(frame_counts(f1s, 1000))
            held += low <= mean <= high
        assert held >= 0.8 * 200


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 12), st.integers(1, 3), st.integers(0, 2**32), st.sampled_from([1, 3, 50]))
def test_intervals_hold_the_score_itself_and_stay_within_zero_and_one(videos, labels, seed, most):
    counts = np.random.default_rng(seed).integers(0, most, (videos, labels, 2, 3)).astype(float)
    counts[0, 0, :, 0] += 1  # at least one label occurs
    tp, fp, fn = np.moveaxis(counts.sum(axis=0), -1, 0)
    f1 = np.where(tp + fn > 0, 2 * tp / np.maximum(2 * tp + fp + fn, 1), np.nan)

    for (low, high), score in zip(mean_f1_intervals(counts), np.nanmean(f1, axis=0), strict=True):
        assert 0 <= low <= score + 1e-12
        assert score - 1e-12 <= high <= 1


def test_the_interval_of_a_difference_by_hand():
    # Three videos, each worse by 0.2: what is resampled always differs by 0.2. F1 0.4 and 0.6, of which (3 * 0.4 + 1) / 5 =
    # 0.44 and 0.56 are left: prior variance 0.25 * (0.44 * 0.56 + 0.56 * 0.44) = 0.1232, variance 2 * 0.1232 / 4 = 0.0616.
    # t of 97.5 % at 4 degrees: 2.776. Half: 2.776 * sqrt(0.0616 / 3) = 0.3978.
    ((low, high),) = mean_f1_difference(frame_counts([0.1, 0.5, 0.6]), frame_counts([0.3, 0.7, 0.8]))

    assert low == pytest.approx(-0.2 - 0.3978, abs=0.004)
    assert high == pytest.approx(-0.2 + 0.3978, abs=0.004)


@pytest.mark.parametrize(("videos", "seen"), [(3, 0.3), (5, 0.6), (10, 0.9)])
def test_of_two_learners_as_good_as_each_other_none_is_called_worse_and_much_worse_ones_are(videos, seen):
    random = np.random.default_rng(videos)

    def is_worse(drop):
        hard = random.beta(6, 2, videos)  # videos differ more than learners do
        now, then = (np.clip(hard + random.normal(0, 0.08, videos) - less, 0, 1) for less in (drop, 0))
        # Three segments a video, or so.
        counts = [frame_counts(random.binomial(3, chance) / 3, 3) for chance in (now, then)]
        return mean_f1_difference(*counts)[0][1] < 0

    assert sum(is_worse(0) for _ in range(200)) <= 0.05 * 200
    assert sum(is_worse(0.5) for _ in range(200)) >= seen * 200


# Table of Student's t for 95 %: e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
@pytest.mark.parametrize(("degrees", "quantile"), [(2, 2.920), (4, 2.132), (6, 1.943), (11, 1.796), (30, 1.697), (100, 1.660)])
def test_t_quantiles_are_those_of_the_table(degrees, quantile):
    assert t_quantile(0.95, degrees) == pytest.approx(quantile, rel=0.015 if degrees < 4 else 0.001)


def test_reliability_by_hand():
    regions = [(0.1, False), (0.3, True), (0.39, False), (0.4, True), (1.0, True), (0.9, False), (0.8, True)]

    points = reliability(regions)

    assert [count for _, _, count in points] == [1, 2, 1, 3]
    np.testing.assert_allclose([p[:2] for p in points], [(0.1, 0), (0.345, 0.5), (0.4, 1), (0.9, 2 / 3)])


def test_reliability_of_no_regions_is_empty():
    assert reliability([]) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_reliability_counts_every_region_once(regions):
    points = reliability(regions)

    assert sum(count for _, _, count in points) == len(regions)
    assert sum(share * count for _, share, count in points) == pytest.approx(sum(right for _, right in regions))
    assert [score for score, _, _ in points] == sorted(score for score, _, _ in points)
