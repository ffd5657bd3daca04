"""Any labeling config that is accepted can train, and predict, on tasks that it describes."""

import itertools
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framewise.assembly import Assembly
from framewise.core.errors import ConfigError
from framewise.core.progress import silent
from framewise.labeling_config import read_labeling_config
from framewise.settings import Settings
from tests.audio_help import sound
from tests.messages import Project
from tests.series_help import FORMAT, record
from tests.videos import colour_pictures, write_video

TASKS = 2
TAGS = {"video": ("TimelineLabels", "Video"), "sound": ("Labels", "Audio"), "series": ("TimeSeriesLabels", "TimeSeries")}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]), min_size=1, max_size=8)
names = st.sampled_from(["l", "a b", "../x", "a/b", ".", "é", "a" * 300, "'\"", "v{{i}}", "$name", "%s", "<b>"]) | texts
spellings = st.sampled_from([str, str, str.lower, str.upper])
parameters = st.fixed_dictionaries(
    {"model_trainable": st.sampled_from(["true", "true", "true", "false"])},
    optional={
        "model_unmarked": st.sampled_from(["off", "after_last", "unknown"]),
        "model_marks": st.sampled_from(["intervals", "points"]),
        "model_group": st.sampled_from(["$who", "$below.who", "$nobody"]),
        "model_score_threshold": st.sampled_from(["0", "0.3", "1"]),
        "model_skip": st.sampled_from(["false", "false", "true"]),
    },
)
of_video = st.fixed_dictionaries(
    {},
    optional={
        "model_crop": st.sampled_from(["center", "fit", "squash"]),
        "model_classifier_hidden_size": st.sampled_from(["1", "9"]),
        "model_classifier_sequence_size": st.sampled_from(["2", "16", "4096"]),
    },
)
lstm = {"model_classifier_type": "lstm", "model_classifier_epochs": "2"}


def field(form, name, start):
    """An attribute's text for a field called by ``name``, and a task's data for a value that begins with ``start``."""
    return {
        "plain": (f"${name}", lambda value: {name: value}),
        "path": (f"$below.{name}", lambda value: {"below": {name: value}}),
        "list": (f"${name}[1].url", lambda value: {name: ["", {"url": value}]}),
        "dotted": (f"$x.{name}", lambda value: {f"x.{name}": value}),
        "text": (f"{start}${name}", lambda value: {name: str(value).removeprefix(start)}),
    }[form]


def tag(name, attributes, children=""):
    return f"<{name} {' '.join(f'{k}={quoteattr(v)}' for k, v in attributes.items() if v is not None)}>{children}</{name}>"


@st.composite
def labels_of(draw):
    """Label tags, and which names are learned and which are not."""
    found = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    hidden = found[1:] if len(found) > 1 and draw(st.booleans()) else []
    tags = [tag(draw(spellings)("Label"), {draw(st.sampled_from(["value", "alias"])): name,
            "model_role": "unreviewed" if name in hidden else None}) for name in found]  # fmt: skip
    return "".join(tags), [name for name in found if name not in hidden], hidden


@st.composite
def media(draw, number, files):
    """A control on a medium: its XML, and the data and regions of tasks (of the task's number)."""
    kind = draw(st.sampled_from(sorted(TAGS)))
    control, medium = (draw(spellings)(name) for name in TAGS[kind])
    medium = draw(st.sampled_from([medium, "AudioPlus"])) if kind == "sound" else medium
    from_name, to_name = draw(names), f"m{number}"
    given = draw(parameters) | (draw(of_video) | draw(st.sampled_from([{}, {}, lstm])) if kind == "video" else {})
    labels, learned, hidden = draw(labels_of())
    folder = str(files[kind][0].parent) + "/"
    value, data = field(draw(st.sampled_from(["plain", "path", "list", "dotted", "text"])), f"f{number}", folder)
    attributes = {"name": to_name, "value": value, "sync": draw(st.sampled_from([None, None, "all"]))}
    inside, of_times = "", draw(st.sampled_from(["number", "date", "index"]))
    sources = [str(path) for path in files[kind]]
    if kind == "video":
        rate, rate_data = field(draw(st.sampled_from(["plain", "path", "list", "dotted"])), f"rate{number}", "")
        attributes["frameRate"] = draw(st.sampled_from([None, "25", "0.04", "12.5", rate]))
    if kind == "series":
        inside = "".join(tag(draw(spellings)("Channel"), {"column": name}) for name in draw(st.permutations("XyZ")))
        attributes["timeColumn"] = None if of_times == "index" else "Time"
        attributes["timeFormat"] = FORMAT if of_times == "date" else None
        how = draw(st.sampled_from(["url", "inline", "whole"]))
        sources = [str(files[f"series {of_times}"][i]) for i in range(TASKS)]
        if how != "url":
            attributes["valueType"], sources = "json", [RECORDINGS[i].to_json(of_times) for i in range(TASKS)]
            value, data = field("plain", f"f{number}", "")
            attributes["value"] = value if how == "inline" else None
            data = data if how == "inline" else lambda value: value

    def task_data(place):
        more = rate_data(25) if kind == "video" else {}
        return [data(sources[place]), more]

    def regions(place):
        base = {"from_name": from_name, "to_name": to_name, "type": TAGS[kind][0].lower(), "origin": "manual"}
        marked = [learned[:1], hidden[:1]]
        spans = [(3, 6), (9, 10)] if kind == "video" else [(0.4, 1.3), (2.0, 2.5)]
        if kind == "series":
            times = RECORDINGS[place].times(of_times)
            spans = [(times[50], times[90]), (times[150], times[160])]
        for names, (start, end) in zip(marked, spans, strict=True):
            span = {"ranges": [{"start": start, "end": end}]} if kind == "video" else {"start": start, "end": end}
            if names:
                yield {"id": f"{number}-{start}", **base, "value": {**span, TAGS[kind][0].lower(): names}}

    xml = tag(control, {"name": from_name, "toName": to_name, **given}, labels) + tag(medium, attributes, inside)
    return xml, task_data, regions


RECORDINGS = [record(number, seconds=8) for number in range(TASKS)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return {
        "video": [write_video(folder / f"{i}.mp4", colour_pictures(20, seed=i)) for i in range(TASKS)],
        "sound": [sound(i, seconds=4).write(folder / f"{i}.wav") for i in range(TASKS)],
        "series": [folder / "0.csv"],
        **{
            f"series {kind}": [r.write_csv(folder / f"{kind}{i}.csv", kind) for i, r in enumerate(RECORDINGS)]
            for kind in ("number", "date", "index")
        },
    }


@pytest.fixture(scope="module")
def assembly(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("assembly")
    roots = (files["series"][0].parent,)
    below = {name: folder / name for name in ("model_root", "cache_dir", "data_dir")}
    return Assembly(Settings(**below, local_files_roots=roots, model_path="efficientnet-lite0"))


def merged(parts):
    """One task's data of the parts that its media need."""
    found = {}
    for key, value in itertools.chain.from_iterable(part.items() for part in parts):
        found[key] = {**found.get(key, {}), **value} if key == "below" else value
    return found


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_accepted_trains_and_predicts(assembly, files, data):
    made = [data.draw(media(number, files)) for number in range(data.draw(st.integers(1, 3)))]
    project = Project(f"<View>{''.join(xml for xml, *_ in made)}</View>")
    try:
        assembly.backend.setup(project.key, project.config)
    except ConfigError:
        return
    tasks = []
    for place in range(TASKS):
        parts = itertools.chain.from_iterable(task_data(place) for _, task_data, _ in made)
        tasks.append({"id": place + 1, "data": merged([*parts, {"who": place}]), "annotations": [], "predictions": []})
        result = list(itertools.chain.from_iterable(regions(place) for *_, regions in made))
        assembly.backend.on_event(project.annotation_event(tasks[-1], result))
    notes = assembly.backend.train_now(project.key, silent)
    assert not [note for note in notes if "left out of the training" in note]
    answers = assembly.backend.predict(project.key, project.config, tasks)
    learns = any(control.trainable for control in read_labeling_config(project.config))
    assert [bool(answer) for answer in answers] == [learns] * TASKS
