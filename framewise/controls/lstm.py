"""The network of Label Studio's guide as a learner. Each training continues from the version in use."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framewise.core.converter import get_label_map
from framewise.core.errors import ModelError
from framewise.core.progress import Progress
from framewise.labeling_config import ControlSettings
from framewise.learning.models import load_model
from framewise.learning.networks import MultiLabelLSTM
from framewise.learning.tracks import LabelledVideo, appearance_of


def learn_lstm(
    settings: ControlSettings, videos: Sequence[LabelledVideo], current: Path | None, other_features: str, progress: Progress
) -> tuple[MultiLabelLSTM, dict[str, Any], str]:
    """Train a network on videos. Returns it, the record of its fit, and the reason for starting with a new network, "" if the
    training continued from the version in use.

    current: folder of that version, None if there is none. other_features: description of how the features differ from those
    that it was trained on, "" if they do not.
    """
    appearance = [(appearance_of(v.rows), v.frame_labels) for v in videos]
    parameters = settings.parameters
    network, begun = _network_to_train(settings, appearance[0][0].shape[1], current, other_features)
    result = network.fit_videos(
        appearance,
        epochs=parameters["model_classifier_epochs"],
        f1_threshold=parameters["model_classifier_f1_threshold"],
        accuracy_threshold=parameters["model_classifier_accuracy_threshold"],
        progress=progress,
    )
    return network, {**asdict(result), "measured_on": "the training videos themselves"}, begun


def other_features(learned_from: Mapping[str, Any], front_end: str, identity: Mapping[str, Any]) -> str:
    """Description of the difference between the current backbone and the one that a version was trained with."""
    was = f"{learned_from.get('name')} ({learned_from.get('crop')}, {learned_from.get('profile', 'exact')})"
    return f"the backbone is {front_end} ({identity['crop']}, {identity['profile']}) and was {was}"


def _network_to_train(
    settings: ControlSettings, feature_size: int, current: Path | None, other_features: str
) -> tuple[MultiLabelLSTM, str]:
    """Network in use, or a new one if there is none or it does not fit, with the reason for a new one."""
    parameters = settings.parameters
    network = MultiLabelLSTM(
        feature_size,
        len(settings.labels),
        hidden_size=parameters["model_classifier_hidden_size"],
        num_layers=parameters["model_classifier_num_layers"],
        sequence_size=parameters["model_classifier_sequence_size"],
    )
    network.set_label_map(get_label_map(settings.label_names))
    if current is None:
        return network, ""
    try:
        previous = load_model(current)
    except (ModelError, OSError, ValueError) as error:
        return network, str(error)
    if not isinstance(previous, MultiLabelLSTM):
        return network, "because model_classifier_type is lstm and was auto"
    if not all(bool(parameter.isfinite().all()) for parameter in previous.parameters()):
        return network, "because the weights of the version in use are no numbers"
    reason = _difference(network, previous, other_features)
    return (network, reason) if reason else (previous, "")


def _difference(wanted: MultiLabelLSTM, previous: MultiLabelLSTM, other_features: str) -> str:
    """Reason for not continuing the training from ``previous``, or ""."""
    if wanted.get_label_map() != previous.get_label_map():
        return f"because the labels are {list(wanted.get_label_map())} and were {list(previous.get_label_map())}"
    old, new = previous.hyperparameters(), wanted.hyperparameters()
    changed = [f"{name} is {new[name]} and was {old.get(name)}" for name in new if new[name] != old.get(name)]
    changed += [other_features] if other_features else []
    return "because " + ", ".join(changed) if changed else ""
