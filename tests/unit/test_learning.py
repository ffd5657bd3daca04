"""The network over time: its shapes, its chunks, what counts in training, when that stops, and its files."""

import copy
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from framewise.core.errors import ModelError
from framewise.core.metrics import frame_f1
from framewise.core.progress import silent
from framewise.learning import training
from framewise.learning.networks import BaseNN, MultiLabelLSTM
from framewise.learning.training import Goal, chunk_rows, gather

NEVER = Goal(epochs=1, f1_threshold=2.0, accuracy_threshold=2.0)  # thresholds that no score reaches


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(**hyperparameters):
    return MultiLabelLSTM(**{"input_size": 6, "output_size": 2, "hidden_size": 8, "sequence_size": 8, **hyperparameters})


def random_video(num_rows=50, seed=0, input_size=6, labels=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_rows, input_size)).astype(np.float32), (rng.random((num_rows, labels)) < 0.5).astype(np.uint8)


def fit_still(network, features, labels, rows, goal=NEVER, learning_rate=0.0):
    """One fit with plain gradient descent; at rate 0 the network stays as it is."""
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    return training.fit(network, torch.tensor(features), torch.tensor(labels), rows, optimizer, goal, 32, silent)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adam_is_that_of_pytorch_bit_for_bit(weight_decay):
    theirs, x, y = small(), *(torch.tensor(part) for part in random_video())
    ours = copy.deepcopy(theirs)
    rows = chunk_rows([len(x)], 8, 2)
    for network, optimizer in (
        (ours, training.Adam(ours.parameters(), 0.01, weight_decay)),
        (theirs, torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=weight_decay, fused=True)),
    ):
        training.fit(network, x, y.float(), rows, optimizer, replace(NEVER, epochs=5), 3, silent)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(own, other)


# Chunks.


@pytest.mark.parametrize(
    ("lengths", "size", "overlap", "expected"),
    [
        ([4], 4, 2, [[0, 1, 2, 3]]),
        ([5], 4, 2, [[0, 1, 2, 3], [2, 3, 4, -1]]),
        ([8], 4, 2, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]),
        ([5], 4, 1, [[0, 1, 2, 3], [4, -1, -1, -1]]),
        ([1], 3, 2, [[0, -1, -1]]),
        ([5, 3], 4, 2, [[0, 1, 2, 3], [2, 3, 4, -1], [5, 6, 7, -1]]),
        ([0, 2], 2, 2, [[0, 1]]),
    ],
)
def test_chunks_by_hand(lengths, size, overlap, expected):
    assert chunk_rows(lengths, size, overlap).tolist() == expected


def test_no_row_gives_no_chunk():
    assert tuple(chunk_rows([0], 4, 2).shape) == (0, 4)


@pytest.mark.parametrize("size", [2, 3, 5, 16])
@pytest.mark.parametrize("length", [1, 2, 7, 16, 17, 40])
def test_every_row_is_in_a_chunk(length, size):
    assert sorted(set(chunk_rows([length], size, 2).flatten().tolist()) - {-1}) == list(range(length))


def test_padded_rows_are_zeros():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert gather(values, torch.tensor([[1, 0, -1]])).tolist() == [[[3, 4], [1, 2], [0, 0]]]


def test_a_sequence_becomes_overlapping_chunks():
    sequence = np.arange(10, dtype=np.float32).reshape(5, 2)
    labels = np.array([[1], [0], [1], [0], [1]])
    chunks, targets = small(input_size=2, output_size=1, sequence_size=4).preprocess_sequence(sequence, labels, overlap=2)
    assert chunks.tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7]], [[4, 5], [6, 7], [8, 9], [0, 0]]]
    assert targets.squeeze(-1).tolist() == [[1, 0, 1, 0], [1, 0, 1, 0]]


# Shapes.


@pytest.mark.parametrize("num_layers", [1, 2])
def test_logits_have_a_row_for_each_row_and_a_column_for_each_label(num_layers):
    logits = small(output_size=3, num_layers=num_layers)(torch.zeros(5, 8, 6))
    assert tuple(logits.shape) == (5, 8, 3)


def test_the_layers_are_those_that_are_documented():
    network = MultiLabelLSTM(1280, 2)
    assert (network.fc_input.in_features, network.fc_input.out_features) == (1280, 128)
    assert network.layer_norm.normalized_shape == (128,)
    assert (network.lstm.hidden_size, network.lstm.num_layers, network.lstm.bidirectional) == (32, 1, True)
    assert (network.fc.in_features, network.fc.out_features) == (64, 2)


@pytest.mark.parametrize("num_rows", [1, 7, 8, 9, 50])
def test_scores_have_a_row_for_each_frame_and_are_shares(num_rows):
    scores = small().predict(random_video(num_rows)[0])
    assert tuple(scores.shape) == (num_rows, 2)
    assert float(scores.min()) >= 0
    assert float(scores.max()) <= 1


def test_scores_are_the_mean_over_the_chunks_that_hold_a_row():
    network = small(sequence_size=4).eval()
    features = torch.tensor(random_video(6)[0])
    with torch.inference_mode():
        first, second = torch.sigmoid(network(features[:4][None]))[0], torch.sigmoid(network(features[2:][None]))[0]
    expected = torch.stack([first[0], first[1], (first[2] + second[0]) / 2, (first[3] + second[1]) / 2, second[2], second[3]])
    torch.testing.assert_close(network.predict(features.numpy()), expected, atol=1e-6, rtol=0)


def test_a_row_knows_of_the_rows_after_it_in_its_chunk():
    features, _ = random_video(8)
    changed = features.copy()
    changed[7] += 5
    network = small()
    assert not torch.allclose(network.predict(features)[0], network.predict(changed)[0], atol=1e-6)


def test_chunks_that_share_rows_are_computed_as_if_each_was_alone():
    network = small(sequence_size=4).eval()
    features = torch.tensor(random_video(9)[0])
    rows = chunk_rows([6, 3], 4, 2)[[2, 0, 1]]  # the second video's last row is padded
    shared, alone = training.logits_of(network, features, rows), network(gather(features, rows))
    torch.testing.assert_close(shared, alone, atol=1e-6, rtol=0)
    gradients = []
    for logits in (shared, alone):
        network.zero_grad()
        logits[rows >= 0].square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


def test_dropout_leaves_out_its_share_in_training_alone_and_keeps_the_mean():
    torch.manual_seed(0)
    network, x = small(dropout_rate=0.3), torch.ones(100, 1000)
    dropped = network.train()._dropped(x)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(network.eval()._dropped(x), x)
    assert torch.equal(small(dropout_rate=0.0).train()._dropped(x), x)
    assert not small(dropout_rate=1.0).train()._dropped(x).any()


# What counts in training.


def test_the_loss_is_the_mean_over_the_real_rows():
    network = small(dropout_rate=0.0)
    features, labels = random_video(5)
    labels = labels.astype(np.float32)
    padded = np.zeros((1, 8, 6), dtype=np.float32)
    padded[0, :5] = features
    with torch.no_grad():
        logits = network(torch.tensor(padded))[0, :5].double().numpy()
    shares = 1 / (1 + np.exp(-logits))
    expected_loss = -np.mean(labels * np.log(shares) + (1 - labels) * np.log(1 - shares))
    expected_accuracy = np.mean((shares >= 0.5) == (labels == 1))
    result = fit_still(network, features, labels, chunk_rows([5], 8, 2))
    assert result.loss == pytest.approx(expected_loss, abs=1e-5)
    assert result.accuracy == pytest.approx(expected_accuracy)
    assert result.f1 == pytest.approx(np.mean(frame_f1(labels, shares >= 0.5)))


def test_padding_changes_neither_the_scores_nor_what_is_learned():
    # A network without memory, to which a padded row can do nothing but count.
    features, labels = random_video(6)
    labels = labels.astype(np.float32)
    results, weights = [], []
    for size in (6, 32):
        linear = nn.Linear(6, 2)
        nn.init.constant_(linear.weight, 0.1)
        nn.init.constant_(linear.bias, 0.5)  # a padded row would be found as on
        results.append(fit_still(linear, features, labels, chunk_rows([6], size, 1), learning_rate=0.1))
        weights.append(linear.weight.detach())
    assert results[0].loss == pytest.approx(results[1].loss, abs=1e-6)
    assert (results[0].f1, results[0].accuracy) == (results[1].f1, results[1].accuracy)
    torch.testing.assert_close(weights[0], weights[1])


class Constant(nn.Module):
    """Finds the same in every row: label 0 if ``first``, label 1 if ``second``."""

    def __init__(self, first, second):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0 if on else -1.0 for on in (first, second)]))

    def forward(self, x):
        return self.logits.expand(*x.shape[:2], 2)


@pytest.mark.parametrize("finds_the_other", [True, False])
def test_a_label_that_does_not_occur_does_not_count_in_f1(finds_the_other):
    labels = np.array([[1, 0]] * 4 + [[0, 0]] * 4, dtype=np.float32)
    result = fit_still(Constant(True, finds_the_other), np.zeros((8, 6), np.float32), labels, chunk_rows([8], 8, 1))
    # label 0: 4 hits, 4 false: 8 / 12
    assert result.f1 == pytest.approx(2 / 3)


def test_where_no_label_occurs_only_the_accuracy_ends_the_training():
    nothing = np.zeros((8, 2), dtype=np.float32)
    rows = chunk_rows([8], 8, 1)
    by_f1 = fit_still(Constant(True, False), np.zeros((8, 6), np.float32), nothing, rows, Goal(3, 0.0, 2.0))
    assert math.isnan(by_f1.f1)
    assert by_f1.epochs == 3
    by_accuracy = fit_still(Constant(False, False), np.zeros((8, 6), np.float32), nothing, rows, Goal(3, 0.0, 1.0))
    assert (by_accuracy.epochs, by_accuracy.accuracy) == (1, 1.0)


@pytest.mark.parametrize(
    ("f1_threshold", "accuracy_threshold", "epochs"),
    [(0.0, 2.0, 1), (2.0, 0.0, 1), (2.0, 2.0, 7), (0.66, 2.0, 1), (0.67, 2.0, 7)],
)
def test_training_stops_at_either_threshold(f1_threshold, accuracy_threshold, epochs):
    labels = np.array([[1, 0]] * 4 + [[0, 0]] * 4, dtype=np.float32)  # F1 2 / 3, accuracy 12 / 16
    goal = Goal(7, f1_threshold, accuracy_threshold)
    result = fit_still(Constant(True, False), np.zeros((8, 6), np.float32), labels, chunk_rows([8], 8, 1), goal)
    assert result.epochs == epochs
    assert result.accuracy == pytest.approx(12 / 16)


def test_progress_is_told_after_every_epoch():
    told = []
    features, labels = random_video()
    small().fit_videos(
        [(features, labels)], epochs=4, f1_threshold=1, accuracy_threshold=1, progress=lambda share, _: told.append(share)
    )
    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("num_features", "num_labels", "num_rows"), [(5, 2, 50), (6, 3, 50), (6, 2, 49)])
def test_videos_of_another_shape_are_refused(num_features, num_labels, num_rows):
    features, _ = random_video(50, input_size=num_features)
    _, labels = random_video(num_rows, labels=num_labels)
    with pytest.raises(ModelError, match=r"expected features \(T, 6\) and labels \(T, 2\)"):
        small().partial_fit(features, labels)


def made_up_video(seed, num_rows=400):
    """Two labels: on while feature 0 is high, and on in the first 5 rows of every such run, which one row cannot tell."""
    rng = np.random.default_rng(seed)
    on = np.zeros(num_rows, dtype=bool)
    start = 0
    while (start := start + int(rng.integers(10, 25))) < num_rows:
        stop = start + int(rng.integers(10, 25))
        on[start:stop], start = True, stop
    begun = np.array([on[i] and not on[max(i - 5, 0) : i].all() for i in range(num_rows)])
    features = rng.normal(size=(num_rows, 6)).astype(np.float32) * 0.3
    features[:, 0] += np.where(on, 1.0, -1.0)
    return features, np.stack([on, begun], axis=1).astype(np.uint8)


def test_it_learns_and_predicts_a_video_that_it_has_not_seen():
    network = small(sequence_size=16, hidden_size=32)
    result = network.fit_videos([made_up_video(1), made_up_video(2)], epochs=300, f1_threshold=0.96)
    features, labels = made_up_video(3)
    found = network.predict(features).numpy() >= 0.5
    assert frame_f1(labels, found).min() > 0.85
    assert result.epochs < 300
    assert result.f1 >= 0.96


def test_the_same_videos_give_the_same_network():
    scores = []
    for other_use_of_chance in (0, 1):
        torch.manual_seed(other_use_of_chance)
        network = small()
        network.partial_fit(*random_video(), epochs=5)
        scores.append(network.predict(random_video(seed=1)[0]))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-6, rtol=0)


def test_training_leaves_the_chance_of_others_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    small().partial_fit(*random_video(), epochs=2)
    assert torch.equal(torch.rand(3), expected)


# Files.


@pytest.fixture
def saved(tmp_path):
    """A trained network and the folder that it was saved to."""
    network = small(num_layers=2)
    network.set_label_map({"Rain": 1, "Wind": 0})
    network.partial_fit(*random_video(), epochs=2)
    network.save(tmp_path / "model")
    return network, tmp_path / "model"


def test_a_loaded_network_gives_the_same_scores(saved):
    network, folder = saved
    loaded = BaseNN.load(folder)
    features, _ = random_video(seed=3)
    assert torch.equal(loaded.predict(features), network.predict(features))
    assert loaded.get_label_map() == {"Rain": 1, "Wind": 0}
    assert isinstance(loaded, MultiLabelLSTM)
    assert loaded.matches(network)


def test_the_files_are_safetensors_and_json(saved):
    _, folder = saved
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "network.json"}
    assert json.loads((folder / "network.json").read_text())["class"] == "MultiLabelLSTM"
    # safetensors: a little-endian length, then that many bytes of JSON
    content = (folder / "weights.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["fc.weight"]["shape"] == [2, 16]


def spoil(name, change):
    def spoil_folder(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil_folder


@pytest.mark.parametrize(
    "damage",
    [
        spoil("weights.safetensors", lambda content: content[: len(content) // 2]),
        spoil("weights.safetensors", lambda content: b""),
        spoil("weights.safetensors", lambda content: b"\x80\x04garbage" * 10),
        spoil("network.json", lambda content: content[:-10]),
        spoil("network.json", lambda content: b"[]"),
        spoil("network.json", lambda content: b"null"),
        spoil("network.json", lambda content: b"\xff\xfe"),
        spoil("network.json", lambda content: content.replace(b"MultiLabelLSTM", b"Unheard")),
        spoil("network.json", lambda content: content.replace(b'"hidden_size": 8', b'"hidden_size": 9')),
        spoil("network.json", lambda content: content.replace(b'"hidden_size"', b'"unheard_of"')),
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: (folder / "network.json").unlink(),
    ],
)
def test_a_damaged_model_is_refused_with_its_folder(saved, damage):
    _, folder = saved
    damage(folder)
    with pytest.raises(ModelError) as caught:
        BaseNN.load(folder)
    assert str(caught.value).startswith(f"model {folder}: expected network.json and weights.safetensors")


def test_a_folder_that_is_not_there_has_no_cached_model(tmp_path):
    assert BaseNN.load_cached_model(tmp_path / "none") is None


def test_a_cached_model_is_loaded_once(saved):
    _, folder = saved
    first = BaseNN.load_cached_model(folder)
    assert first is not None
    assert BaseNN.load_cached_model(folder) is first


def test_a_cached_model_is_loaded_again_when_its_files_change(saved):
    _, folder = saved
    features, _ = random_video(seed=3)
    first = BaseNN.load_cached_model(folder)
    other = small()
    other.partial_fit(*random_video(seed=9), epochs=2)
    other.save(folder)
    later = (folder / "network.json").stat().st_mtime_ns + 1_000_000_000  # two saves may fall into one tick of the file system
    os.utime(folder / "network.json", ns=(later, later))
    second = BaseNN.load_cached_model(folder)
    assert second is not first
    assert torch.equal(second.predict(features), other.predict(features))
    assert not torch.equal(second.predict(features), first.predict(features))


def test_a_cached_model_whose_folder_was_removed_is_gone(saved):
    _, folder = saved
    assert BaseNN.load_cached_model(folder) is not None
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert BaseNN.load_cached_model(folder) is None


@pytest.mark.parametrize(
    "change", [{"hidden_size": 9}, {"num_layers": 2}, {"sequence_size": 9}, {"output_size": 3}, {"input_size": 7}]
)
def test_training_cannot_go_on_from_another_shape(change):
    assert small().matches(small())
    assert not small().matches(small(**change))


def test_training_cannot_go_on_from_other_labels():
    other = small()
    other.set_label_map({"Rain": 0, "Wind": 1})
    assert not small().matches(other)
