"""The conversions and the control model under the names and in the places of Label Studio's guide to TimelineLabels."""

from types import SimpleNamespace

import numpy as np
import pytest

from framewise.assembly import Assembly
from framewise.core.errors import ModelError
from framewise.labeling_config import read_labeling_config
from framewise.settings import Settings
from tests.index_clips import make_index_clip
from tests.messages import Project, labeling_config, region, task_of
from timeline_labels import TimelineLabelsModel
from utils.converter import convert_probs_to_timelinelabels, convert_timelinelabels_to_probs

LABEL_MAP = {"Walk": 0, "Run": 1}


def test_convert_probs_to_timelinelabels():
    probs = np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.5], [0.1, 0.7], [0.6, 0.2]])
    regions = convert_probs_to_timelinelabels(probs, LABEL_MAP, score_threshold=0.5)
    found = sorted(
        (r["value"]["timelinelabels"][0], r["value"]["ranges"][0]["start"], r["value"]["ranges"][0]["end"]) for r in regions
    )
    assert found == [("Run", 3, 4), ("Walk", 1, 2), ("Walk", 5, 5)]


def test_convert_timelinelabels_to_probs():
    regions = [
        {"id": "1", "type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 2}], "timelinelabels": ["Walk"]}},
        {"id": "2", "type": "timelinelabels", "value": {"ranges": [{"start": 2, "end": 4}], "timelinelabels": ["Run"]}},
    ]
    labels, used = convert_timelinelabels_to_probs(regions, LABEL_MAP, max_frame=5)
    np.testing.assert_array_equal(labels, [[1, 0], [1, 1], [0, 1], [0, 1], [0, 0]])
    assert used == {"Walk", "Run"}


def test_without_max_frame_the_array_ends_with_the_last_annotated_frame():
    regions = [{"id": "1", "type": "timelinelabels", "value": {"ranges": [{"start": 2, "end": 3}], "timelinelabels": ["Run"]}}]
    labels, used = convert_timelinelabels_to_probs(regions, LABEL_MAP)
    np.testing.assert_array_equal(labels, [[0, 0], [0, 1], [0, 1]])
    assert used == {"Run"}


@pytest.fixture
def clip(tmp_path):
    """A video of 100 frames in a folder that may be read."""
    path = tmp_path / "videos" / "clip.mp4"
    path.parent.mkdir()
    make_index_clip(path, 100, 25, (64, 64))
    return path


@pytest.fixture
def make(tmp_path, models_folder, clip):
    """Makes the guide's class for a labeling config."""
    folders = {"MODEL_ROOT": models_folder, "CACHE_DIR": tmp_path / "cache", "DATA_DIR": tmp_path / "data"}
    environ = {name: str(folder) for name, folder in {**folders, "LOCAL_FILES_ROOTS": clip.parent}.items()}
    parts = Assembly(Settings.from_env({**environ, "MODEL_PATH": "tiny-cls.pt"})).parts

    def create(*labels, **parameters):
        (control,) = read_labeling_config(labeling_config(*labels, **parameters))
        return TimelineLabelsModel.create(control, "1", parts)

    return create


def spans_of(regions):
    return [(r["value"]["ranges"][0]["start"], r["value"]["ranges"][0]["end"]) for r in regions]


def test_it_is_matched_to_timelines_on_videos_alone():
    tags = [("TimelineLabels", "Video"), ("TimelineLabels", "Audio"), ("Choices", "Video")]
    matched = [SimpleNamespace(tag=tag, objects=[SimpleNamespace(tag=media)]) for tag, media in tags]
    assert [TimelineLabelsModel.is_control_matched(control) for control in matched] == [True, False, False]


def test_simple_mode_predicts_by_the_backbone_s_classes(make, clip):
    model = make("person", "boot", model_score_threshold="0.0", frame_rate="$fps")
    assert not model.trainable
    assert model.label_map == {"person": 0, "boot": 1}
    assert spans_of(model.predict_regions(str(clip))) == [(1, 96), (1, 96)]  # 4 s at the editor's 24 frames per second


def test_trainable_mode_learns_from_an_event_and_predicts(make, clip):
    model = make("Early", "Late", model_trainable="true")
    with pytest.raises(ModelError, match="'tl' of project 1 is not trained yet"):
        model.predict_regions(str(clip))
    project, task = Project("", id=1), task_of(1, str(clip))
    event = project.annotation_event(task, [region("Early", (1, 50)), region("Late", (51, 100))])
    assert model.fit("PROJECT_UPDATED", event) is False
    assert model.fit("ANNOTATION_CREATED", event) is True
    regions = model.predict_regions(str(clip))
    assert {label for r in regions for label in r["value"]["timelinelabels"]} <= {"Early", "Late"}
    assert {(r["from_name"], r["to_name"]) for r in regions} == {("tl", "clip")}
    path = model.get_classifier_path()
    assert path.name.startswith("fit-")
    assert (path / "weights.safetensors").is_file()
    assert model.get_classifier_path("2") not in (path, path.parent)
