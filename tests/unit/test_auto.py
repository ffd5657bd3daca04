"""The default learner, on films whose truth is known because they were made up: a label is on where a direction was added."""

import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from framewise.core.errors import ModelError
from framewise.core.metrics import average_precision
from framewise.learning import auto, context, kernel, tracks
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.decisions import Decision
from framewise.learning.evidence import supposed_shares
from framewise.learning.joint import JointRows
from framewise.learning.models import load_model
from framewise.learning.tracks import LabelledVideo, Track
from tests.film_help import LABELS, MOTION, PLAN, Film, all_known, film, labelled, plans, quiet, truth_of

pytestmark = pytest.mark.usefixtures("one_thread")


def quick(videos, labels=LABELS):
    return learn_quickly(videos, labels, None)


@pytest.fixture(scope="module")
def three():
    return [labelled(seed, plan) for seed, plan in enumerate(plans(3))]


@pytest.fixture(scope="module")
def thorough(three):
    return learn_thoroughly(three, LABELS, quiet)


# What is learned.


def test_what_one_video_shows_is_found_in_another():
    other, truth = film(2, [[(1, 4)], [(8, 10.5)]])
    found = quick([labelled(1)]).predict(other) >= 0.5
    assert (found == truth).mean(axis=0).min() > 0.95


def test_the_thorough_learner_finds_what_its_videos_show_in_another(thorough):
    other, truth = film(99, [[(1, 4)], [(8, 10.5)]])
    classifier = thorough.classifier
    assert ((classifier.predict(other) >= 0.5) == truth).mean(axis=0).min() > 0.95


def test_motion_that_changes_by_chance_from_picture_to_picture_counts_less_than_steady_motion():
    """Beside what is seen, noise: it would outweigh it. Where the same numbers move smoothly they keep their weight."""
    rows, truth = film(1)
    noise = np.abs(np.random.default_rng(3).normal(0.02, 0.01, (len(rows), MOTION)))
    flickers = Film(rows.seen, noise)

    def steadiness(video):
        basis = tracks.Basis.fit([video])
        track = basis.tracks(LabelledVideo(video, truth, all_known(truth), 0))[0]
        steadiness = [kernel._Steadiness(), kernel._Steadiness()]
        list(kernel._blocks_of(track, torch.arange(len(track)), steadiness))
        return [float(found.values().mean()) for found in steadiness]

    assert max(steadiness(flickers)) < 0.15
    assert steadiness(rows)[1] > 0.4
    other, other_truth = film(2, [[(1, 4)], [(8, 10.5)]])
    other = Film(other.seen, np.random.default_rng(4).permutation(noise)[: len(other)])
    found = quick([LabelledVideo(flickers, truth, all_known(truth), 0)]).predict(other) >= 0.5
    assert (found == other_truth).mean(axis=0).min() > 0.95


def test_where_labels_have_nothing_to_do_with_what_is_seen_new_videos_get_about_the_prior():
    unrelated = [labelled(seed, plan, shown=False) for seed, plan in enumerate(plans(4))]
    new = [film(seed + 50, plan, shown=False) for seed, plan in enumerate(plans(4, seed=1))]
    shown = [labelled(seed, plan) for seed, plan in enumerate(plans(4))]
    new_shown = [film(seed + 50, plan) for seed, plan in enumerate(plans(4, seed=1))]

    def precision(videos, tested):
        classifier = quick(videos)
        scores = np.concatenate([classifier.predict(rows) for rows, _ in tested])
        truth = np.concatenate([truth for _, truth in tested])
        return [average_precision(truth[:, c], scores[:, c]) for c in range(2)], truth.mean(axis=0)

    found, prior = precision(unrelated, new)
    assert np.abs(found - prior).max() < 0.15
    assert min(precision(shown, new_shown)[0]) > 0.95


def test_the_same_videos_give_the_same_scores(three, thorough):
    other, _ = film(99)
    again = learn_thoroughly(three, LABELS, quiet)
    np.testing.assert_array_equal(again[0].predict(other), thorough[0].predict(other))
    assert again[1].to_json() == thorough[1].to_json()


def test_fewer_rows_give_nearly_the_same_scores():
    """Only rows unlike each other are kept of every kind of evidence, and what the others added is not lost."""
    videos = [labelled(seed, plan) for seed, plan in enumerate(plans(6))]
    basis = tracks.Basis.fit([v.rows for v in videos])
    sample = kernel.Sample([t for v in videos for t in basis.tracks(v)], [torch.zeros(350, dtype=torch.bool)] * 6)
    weights = sample.weights(supposed_shares(sample))
    whole = kernel.KernelRidge.of(sample, weights, kernel.solve(sample, weights, [])[0])
    fewer = whole.with_fewer_rows()
    examples = len(whole.blocks[0].rows)
    assert all(0 < len(block.rows) < 0.9 * examples for block in fewer.blocks)
    assert sum(len(block.rows) for block in fewer.blocks) < 0.6 * len(fewer.blocks) * examples
    unseen = basis.unlabelled(film(77)[0], 2)
    differences = (whole.scores(unseen) - fewer.scores(unseen)).abs()
    assert differences.mean() < 0.01
    assert differences.max() < 0.05
    assert whole.scores(unseen).std() > 0.2


def test_rows_that_are_all_alike_are_one_row():
    same = torch.ones(50, 8)
    assert kernel._diverse_rows(same).tolist() == [0]
    assert kernel._diverse_rows(torch.cat([same, 9 * same]))[:2].tolist() == [0, 50]
    assert kernel._diverse_rows(torch.ones(50, 0)).tolist() == [0]


@pytest.mark.parametrize(("length", "frame_rate", "step"), [(1, 30, 2), (2, 30, 2), (3, 30, 2), (100, 240, 16), (9, 15, 1)])
def test_scores_are_computed_for_every_so_many_rows_and_lie_on_lines_between(length, frame_rate, step, thorough):
    """The first and the last row are always computed."""
    rows, _ = film(3, [[(0, 1)], [(2, 3)]], seconds=8, frame_rate=frame_rate)
    learned = thorough[0].kernel
    track = thorough[0].basis.unlabelled(rows.cut(0, length), 2)
    every = torch.cat([learned._scores(part) for part in kernel._blocks_of(track, torch.arange(length))]).numpy()
    computed = np.unique(np.append(np.arange(0, length, step), length - 1))
    expected = np.stack([np.interp(np.arange(length), computed, every[computed, c]) for c in range(2)], 1)
    np.testing.assert_allclose(learned.scores(track).numpy(), expected, atol=1e-5)


# Nothing tells where in its video a row is.


@pytest.mark.parametrize("frame_rate", [2.0, 25.0, 29.97])
def test_the_closed_form_learner_sees_no_further_than_its_reach(frame_rate):
    rows, _ = film(3, seconds=20, frame_rate=frame_rate)
    classifier = quick([labelled(1, frame_rate=frame_rate)])

    def raw(some):
        return classifier.kernel.scores(classifier.basis.unlabelled(some, 2)).numpy()

    reach = int(1.3 * frame_rate) + 2
    start, stop = round(4 * frame_rate), round(15 * frame_rate)
    inside = raw(rows.cut(start, stop))[reach:-reach]
    np.testing.assert_allclose(inside, raw(rows)[start + reach : stop - reach], atol=1e-5)


def test_cutting_a_videos_far_ends_changes_nothing_in_its_middle(thorough):
    classifier = thorough.classifier
    rows, _ = film(3, seconds=24)
    start, stop, reach = 100, 500, round(25 * (5 + 1.3 + 1))
    whole, part = classifier.predict(rows), classifier.predict(rows.cut(start, stop))
    np.testing.assert_allclose(part[reach:-reach], whole[start + reach : stop - reach], atol=1e-4)


def test_a_video_in_which_nothing_changes_has_the_same_scores_throughout(thorough):
    classifier = thorough.classifier
    still = Film(*(np.tile(numbers, (350, 1)) for numbers in film(3)[0].read(100)))
    scores = classifier.kernel.scores(classifier.basis.unlabelled(still, 2))
    assert np.ptp(scores.numpy(), axis=0).max() < 1e-5


def without_a_picture_before_the_first(rows):
    """As motion is extracted: at the beginning of a video there is no earlier picture to compare with."""
    shares = np.minimum(np.arange(len(rows)) / rows.frame_rate / np.repeat([2 / 30, 8 / 30], MOTION // 2)[:, None], 1).T
    return Film(rows.seen, rows.moves * shares, rows.frame_rate)


@pytest.mark.parametrize("second", [0, 2])
def test_that_a_label_is_always_at_the_same_place_of_a_video_is_not_learned(second):
    """All of a new video gets about the same score if only the place could tell it."""
    videos, plan = [], [[(second, second + 2)], []]
    for seed in range(3):
        rows, truth = film(seed, plan, seconds=6, shown=False)
        videos.append(LabelledVideo(without_a_picture_before_the_first(rows), truth, all_known(truth), seed))
    classifier, *_ = learn_thoroughly(videos, LABELS, quiet)
    on = truth_of(plan, 6, 25)[:, 0]
    differences = []
    for seed in range(50, 98):
        rows = without_a_picture_before_the_first(film(seed, seconds=6, shown=False)[0])
        scores = classifier.kernel.scores(classifier.basis.unlabelled(rows, 2))
        differences.append(float(scores[on, 0].mean() - scores[~on, 0].mean()))
    assert abs(np.mean(differences)) < 0.1, differences


# What an annotation says nothing of.


def test_a_label_learns_nothing_from_a_video_in_which_it_is_not_taught():
    """One of three videos that show it has it annotated. Where the others count as without it, it is not found."""
    none = [[], PLAN[1]]

    def films(told):
        untold = [LabelledVideo(film(s)[0], (y := film(s, none)[1]), all_known(y, (told, True)), s) for s in (2, 3, 4, 5)]
        return [labelled(1), *untold]

    other, truth = film(9)
    left_out, negative = (quick(films(told)).predict(other)[truth[:, 0] == 1, 0] for told in (False, True))
    assert (left_out >= 0.5).mean() > 0.95
    assert (negative >= 0.5).mean() < 0.05


@pytest.mark.parametrize("taught", [True, False])
def test_a_label_that_occurs_nowhere_is_never_on(taught):
    videos = [labelled(seed, [plan[0], []], taught=(True, taught)) for seed, plan in enumerate(plans(3))]
    classifier, quality, *_ = learn_thoroughly(videos, LABELS, quiet)
    scores = classifier.predict(film(9)[0])
    assert scores[:, 1].max() < 0.5
    assert scores[:, 0].max() > 0.5
    assert quality.labels["Run"]["true_segments"] == 0
    assert quick(videos).predict(film(9)[0])[:, 1].max() < 0.5


# Videos of any length and frame rate.


def test_a_long_video_in_windows_is_learned_from_and_scored_as_one_at_once(monkeypatch, three, thorough):
    classifier = thorough.classifier
    rows, _ = film(3)
    at_once, learned_at_once = classifier.predict(rows), quick(three).predict(rows)
    monkeypatch.setattr(context, "WINDOW_ROWS", 37)
    monkeypatch.setattr(kernel, "KERNEL_ROWS", 31)
    monkeypatch.setattr(tracks, "READ_ROWS", 23)
    monkeypatch.setattr(tracks, "MAPPED_BYTES", 1)
    np.testing.assert_allclose(classifier.predict(rows), at_once, atol=1e-4)
    np.testing.assert_allclose(quick(three).predict(rows), learned_at_once, atol=1e-3)


def test_steadiness_in_windows_is_that_of_whole_videos(monkeypatch):
    """By numpy: the correlation of each number with itself 0.3 s (8 rows) later, with the mean and variance of all videos."""
    rng = np.random.default_rng(0)
    videos = [np.abs(rng.normal(0.02, 0.01, (rows, MOTION))).cumsum(0).astype(np.float32) / 50 for rows in (200, 90, 5)]
    labels = torch.zeros(200, 1)
    own = [
        tracks.Track(torch.zeros(len(v), 4), torch.from_numpy(v), 25.0, labels[: len(v)], labels[: len(v)] == 0) for v in videos
    ]
    monkeypatch.setattr(context, "WINDOW_ROWS", 37)
    found = [kernel._Steadiness(), kernel._Steadiness()]
    for track in own:
        list(kernel._blocks_of(track, torch.arange(len(track)), found))
    for steady, numbers in zip(found, (context.cells, context.shape), strict=True):
        moves = [numbers(track).double().numpy() for track in own]
        centred = [m - np.concatenate(moves).mean(0) for m in moves]
        shared = sum((c[:-8] * c[8:]).sum(0) for c in centred if len(c) > 8)
        expected = shared / (192 + 82) / (np.concatenate(centred).var(0) + 1e-9)
        np.testing.assert_allclose(steady.values().numpy(), np.clip(expected, kernel.MIN_STEADY, 1), atol=1e-4)


def test_what_is_mapped_from_a_file_is_kept_and_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tracks, "MAPPED_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mapped = tracks.room(1000, 3)
    if sys.platform == "linux":
        assert f"{tmp_path}/" in Path("/proc/self/maps").read_text()
    mapped[:] = torch.arange(3000.0).view(1000, 3)
    assert mapped.sum().item() == 2999 * 1500
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_a_track_is_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(tracks, "MAPPED_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert tracks.room(10, 3).shape == (10, 3)


def test_the_same_moments_have_about_the_same_scores_at_another_frame_rate(thorough):
    classifier = thorough.classifier
    slow, fast = (classifier.predict(film(3, frame_rate=rate)[0]) for rate in (25.0, 50.0))
    differences = np.abs(fast[::2] - slow)
    assert differences.mean() < 0.03
    assert ((fast[::2] >= 0.5) == (slow >= 0.5)).mean() > 0.98


@pytest.mark.parametrize("num_rows", [1, 2, 3])
def test_a_video_of_a_few_rows_is_learned_from_and_predicted(num_rows, thorough):
    rows, truth = film(1, [[(0, 1)], []], seconds=num_rows / 25)
    few = LabelledVideo(rows, truth, all_known(truth), "few")
    assert np.isfinite(quick([few]).predict(film(2)[0])).all()
    assert np.isfinite(learn_thoroughly([few], LABELS, quiet)[0].predict(rows)).all()
    assert thorough[0].predict(rows).shape == (num_rows, 2)


# Its files.


def test_a_saved_classifier_gives_the_scores_of_the_one_that_was_saved(tmp_path, thorough):
    classifier = thorough.classifier
    classifier.save(tmp_path / "version")
    loaded = load_model(tmp_path / "version")
    other, _ = film(99)
    # What is learned from is stored in half precision.
    np.testing.assert_allclose(loaded.predict(other), classifier.predict(other), atol=0.01)
    assert loaded.get_label_map() == {"Walk": 0, "Run": 1}
    assert loaded.region_scores([0.6, 0.9], [0, 1]) == classifier.region_scores([0.6, 0.9], [0, 1])


def as_earlier_versions_wrote_it(folder):
    """Rewrite the files of a classifier as earlier ones were: with networks over time, and without shares and instants."""
    weights, description = folder / "weights.safetensors", folder / "network.json"
    tensors, told = load_file(weights), json.loads(description.read_text())
    del tensors["shares"], told["instants"]
    for number in range(2):
        for name, size in (("centre", (10,)), ("scale", (10,)), ("recurrent.weight_ih_l0", (32, 10)), ("out.bias", (2,))):
            tensors[f"network.{number}.{name}"] = torch.full(size, 9.0)
    save_file(tensors, weights)
    description.write_text(json.dumps({**told, "networks": 2, "alone": [1], "blend": 0.75}))


def test_a_version_with_networks_over_time_is_read_without_them(tmp_path, thorough):
    folder = tmp_path / "version"
    thorough.classifier.save(folder)
    now, (other, _) = load_model(folder), film(99)
    as_earlier_versions_wrote_it(folder)
    earlier = load_model(folder)
    np.testing.assert_array_equal(earlier.predict(other), now.predict(other))
    assert earlier.predict(other).max() > 0.8
    assert earlier.region_scores([0.6, 0.9], [0, 1]) == now.region_scores([0.6, 0.9], [0, 1])
    assert earlier.instants == {}
    assert earlier.evidence() == {"Walk": "everything alike", "Run": "everything alike"}


def in_sync(seed, names=("camera", "chest")):
    """A film and a sensor beside it, of one recording."""
    rows, truth = film(seed)
    joint = JointRows([rows, film(seed + 100, shown=False)[0]], len(rows), rows.frame_rate, 0, names)
    return LabelledVideo(joint, truth, all_known(truth), seed)


def test_an_earlier_version_of_several_media_numbers_them(tmp_path):
    folder = tmp_path / "version"
    quick([in_sync(1), in_sync(2)]).save(folder)
    now, other = load_model(folder), in_sync(3).rows
    assert now.basis.names == ("camera", "chest")
    told = json.loads((folder / "network.json").read_text())
    del told["names"], told["complete"]
    (folder / "network.json").write_text(json.dumps(told))
    as_earlier_versions_wrote_it(folder)
    earlier = load_model(folder)
    assert earlier.basis.names == ("medium 1", "medium 2")
    assert not earlier.basis.complete
    np.testing.assert_array_equal(earlier.predict(other), now.predict(other))


def test_what_an_earlier_version_was_decided_by_is_kept_by_the_next_quick_one(tmp_path, thorough):
    folder = tmp_path / "version"
    thorough.classifier.save(folder)
    as_earlier_versions_wrote_it(folder)
    added = learn_quickly([labelled(1)], LABELS, load_model(folder))
    assert added.decisions == thorough.classifier.decisions
    other, truth = film(99)
    assert ((added.predict(other) >= 0.5) == truth).mean(axis=0).min() > 0.9


def every_damage(folder):
    """Calls that each damage the files in another way, with the name of what they damage."""
    weights, description = folder / "weights.safetensors", folder / "network.json"
    tensors, told = load_file(weights), json.loads(description.read_text())
    for name in tensors:
        kept = {other: tensor for other, tensor in tensors.items() if other != name}
        yield f"without {name}", lambda kept=kept: save_file(kept, weights)
        yield f"{name} of another size", lambda name=name: save_file({**tensors, name: torch.zeros(3, 5)}, weights)
    for key in told:
        if key != "novelty":  # which earlier versions do not have
            yield f"without {key}", lambda key=key: description.write_text(json.dumps({k: told[k] for k in told if k != key}))
        for wrong in (["x"], "x", {"x": "x"}):
            text = json.dumps({**told, key: wrong})
            yield f"{key} is {wrong}", lambda text=text: description.write_text(text)
    instants = {"2": {"threshold": 0.5, "apart_seconds": 0.2, "seconds": 0.1}}
    yield "a column that no label has", lambda: description.write_text(json.dumps({**told, "instants": instants}))
    spread = told["novelty"][0]["spread"]
    for wrong in ([], [{"spread": spread}], [{"spread": 0, "limit": 1}], [{"spread": spread, "limit": "nan"}]):
        text = json.dumps({**told, "novelty": wrong})
        yield f"novelty is {wrong}", lambda text=text: description.write_text(text)
    chains = told["chains"]
    for wrong in ([], [*chains, *chains], [{"labels": [2], "changes": [[0, 1], [1, 0]]}]):
        yield f"chains are {wrong}", lambda wrong=wrong: description.write_text(json.dumps({**told, "chains": wrong}))
    yield "no JSON", lambda: description.write_text("{")
    yield "a list", lambda: description.write_text("[]")
    yield "half of the weights", lambda: weights.write_bytes(weights.read_bytes()[:-1000])
    yield "no weights", weights.unlink


def test_files_that_are_damaged_are_refused_by_the_name_of_their_folder(tmp_path, thorough):
    folder = tmp_path / "version"
    thorough[0].save(folder)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for told, damage in every_damage(folder):
        for path, content in whole.items():
            path.write_bytes(content)
        damage()
        with pytest.raises(ModelError) as refused:
            pytest.fail(f"{told}: {load_model(folder)}")
        assert str(folder) in str(refused.value), told


# How good it is.


def test_quality_is_of_videos_that_were_not_learned_from(thorough):
    quality = thorough.quality
    told = json.loads(json.dumps(quality.to_json()))
    assert (told["method"], told["weak"], told["videos"]) == ("leave one video out", False, 3)
    assert set(told["mean"]) == {"f1", "f1@10", "f1@25", "f1@50", "average_precision"}
    assert set(told["labels"]) == set(LABELS)
    assert told["labels"]["Walk"]["true_segments"] == 6
    assert min(told["mean"].values()) > 0.8
    low, high = told["interval"]["f1@50"]
    assert 0 <= low <= told["mean"]["f1@50"] <= high <= 1


def test_with_two_videos_quality_is_weak_and_nothing_is_decided_by_it():
    videos = [labelled(1), labelled(2)]
    classifier, quality, *_ = learn_thoroughly(videos, LABELS, quiet)
    assert (quality.method, quality.weak, quality.videos) == ("blocks in time", True, 2)
    assert np.isnan(quality.interval["f1"]).all()
    assert classifier.decisions == learn_quickly(videos, LABELS, None).decisions
    assert classifier.calibration is None


def only_the_first_runs():
    first, *rest = plans(3)
    return [labelled(0, first), *(labelled(seed, [plan[0], []]) for seed, plan in enumerate(rest, 1))]


def test_a_label_of_one_video_alone_is_learned_though_no_fold_can_find_it():
    classifier, quality, *_ = learn_thoroughly(only_the_first_runs(), LABELS, quiet)
    assert math.isnan(quality.labels["Run"]["f1"])
    assert quality.mean["f1"] == quality.labels["Walk"]["f1"] > 0.2
    rows, truth = film(9)
    scores = classifier.predict(rows)
    assert scores[truth[:, 1] == 1, 1].mean() > 0.5 > scores[truth[:, 1] == 0, 1].mean()


def test_a_label_of_one_video_alone_is_decided_as_supposed():
    """Three times there, never found: one that is found where nobody annotated it makes the number of segments look better."""
    truth = truth_of([[(1, 2), (5, 6), (9, 10)]], 14.0, 25.0), np.zeros((350, 1))
    scores = np.zeros((350, 1)), 0.4 * truth[0]
    scores[1][50:] = 0
    nothing, known = torch.zeros(350, 1), torch.ones(350, 1, dtype=torch.bool)
    both = [Track(nothing, nothing, 25.0, torch.from_numpy(on.astype(np.float32)), known) for on in truth]
    supposed = [Decision(0.45)]
    assert auto._decisions(scores, both, supposed, frozenset()) != supposed
    assert auto._decisions(scores, both, supposed, frozenset({0})) == supposed


def test_scores_of_held_out_videos_are_those_that_the_quality_is_of(three, thorough):
    on = [scores >= 0.5 for scores in thorough.held_out]
    truth = [video.frame_labels.astype(bool) for video in three]
    for column, label in enumerate(LABELS):
        hits = sum((t[:, column] & o[:, column]).sum() for t, o in zip(truth, on, strict=True))
        told = thorough.quality.labels[label]
        assert told["precision"] == pytest.approx(hits / sum(o[:, column].sum() for o in on))
        assert told["recall"] == pytest.approx(hits / sum(t[:, column].sum() for t in truth))


def test_what_was_only_supposed_of_a_label_is_supposed_anew_from_all_videos():
    """Nobody runs in the first video."""
    first, second = labelled(1, [[(0, 4)], []]), labelled(2)
    quickly = learn_quickly([first], LABELS, None)
    assert learn_quickly([first, second], LABELS, quickly).decisions == learn_quickly([first, second], LABELS, None).decisions
    assert learn_quickly([first, second], LABELS, quickly).decisions != quickly.decisions


def test_a_label_that_was_known_is_decided_as_before_until_it_is_measured_anew(thorough):
    previous = replace(thorough[0], decisions=[Decision(0.4), Decision(0.6)])
    added = learn_quickly([labelled(1)], ["Run", "Walk"], previous)
    assert added.decisions == [Decision(0.6), Decision(0.4)]
    again = learn_quickly([labelled(1)], ["Run", "Walk"], added)
    assert again.decisions == added.decisions
    new, known = learn_quickly([labelled(1)], ["Jump", "Run"], previous).decisions
    assert (new, known) == (learn_quickly([labelled(1)], ["Jump", "Run"], None).decisions[0], Decision(0.6))
