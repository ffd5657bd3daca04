"""Refusals as a person reads them: in Label Studio's "Connect Model" dialog, which renders them as HTML."""

import re
from pathlib import Path

import pytest
import yaml

from framewise.demo.backend_server import BackendServer
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi

TIME_SERIES_TEMPLATE = "annotation_templates/time-series-analysis/activity-recognition/config.yml"
IMAGES = '<View><Image name="img" value="$image"/><Choices name="c" toName="img"><Choice value="a"/></Choices></View>'


def video(control: str, label: str = "Walk") -> str:
    return (
        f'<View><TimelineLabels name="tl" toName="v" {control}><Label value="{label}"/></TimelineLabels>'
        '<Video name="v" value="$video"/></View>'
    )


def said(editor: Editor, api: AnnotatorApi, backend: BackendServer, config: str) -> str:
    """Text of the dialog after a project with this labeling config was to be connected: what the backend is quoted with."""
    project = int(api.create_project("dialog", config)["id"])
    page = editor.page
    page.goto(f"{editor.url}/projects/{project}/settings/ml")
    page.locator("button", has_text="Connect Model").first.click()
    page.fill("input[name=title]", "framewise")
    page.fill("input[name=url]", backend.url)
    page.locator("button", has_text="Validate and Save").click()
    message = page.locator(".lsf-error-message__message").last
    message.wait_for()
    quoted = re.search(r"Client Error: (.*) for url: ", message.inner_text(), re.DOTALL)
    assert quoted, message.inner_text()
    return quoted[1]


@pytest.fixture(scope="module")
def time_series_template(label_studio_program: str) -> str:
    """The labeling config of Label Studio's own template, as it is published."""
    (folder,) = Path(label_studio_program).resolve().parents[1].glob("lib/python*/site-packages/label_studio")
    return str(yaml.safe_load((folder / TIME_SERIES_TEMPLATE).read_text(encoding="utf-8"))["config"])


def test_an_image_project_is_told_what_framewise_is_for(editor: Editor, api: AnnotatorApi, backend: BackendServer) -> None:
    assert said(editor, api, backend, IMAGES) == (
        "the labeling config: expected TimelineLabels on Video, Labels on Audio or TimeSeriesLabels on TimeSeries, found only "
        "Choice, Choices, Image, View; connect framewise to a project of videos, sound or time series instead"
    )


def test_the_published_time_series_template_is_told_what_to_add(
    editor: Editor, api: AnnotatorApi, backend: BackendServer, time_series_template: str
) -> None:
    assert "model_trainable" not in time_series_template
    assert said(editor, api, backend, time_series_template) == (
        "TimeSeriesLabels 'label': simple mode is of pictures, and a TimeSeries has none; add model_trainable=\"true\" to the "
        'tag, as in: TimeSeriesLabels name="label" toName="ts" model_trainable="true"'
    )
    written = 'TimeSeriesLabels name="label" toName="ts"'
    mended = time_series_template.replace(written, f'{written} model_trainable="true"')
    project = int(api.create_project("mended", mended)["id"])
    assert api.connect_backend(project, backend.url, "framewise")["readable_state"] == "Connected"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            video('model_trainble="true"'),
            "TimelineLabels 'tl': unknown attribute 'model_trainble'; did you mean 'model_trainable'?",
        ),
        (
            video('model_trainable="true" model_epoch="5"'),
            "TimelineLabels 'tl': unknown attribute 'model_epoch'; did you mean 'model_classifier_epochs'?",
        ),
        (
            video('model_conf="0.4"'),
            "TimelineLabels 'tl': unknown attribute 'model_conf'; did you mean 'model_score_threshold'?",
        ),
        # What a message quotes is the user's own text, in any script and with any sign in it.
        (
            video("", "Ходьба &amp;lt; &lt;b&gt;跑"),
            "TimelineLabels 'tl': simple mode, but none of the labels ['Ходьба &lt; ‹b›跑'] is a class of the backbone; add "
            'model_trainable="true" to the tag, so that it learns from annotations',
        ),
    ],
)
def test_the_message_is_shown_as_it_was_written(
    editor: Editor, api: AnnotatorApi, backend: BackendServer, config: str, message: str
) -> None:
    assert said(editor, api, backend, config) == message
