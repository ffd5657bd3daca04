"""The child process of a comparison leaves a state that says why it failed, and a traceback of a defect for the log."""

import json
from pathlib import Path
from typing import Any

import pytest

from framewise.server.sync_page.jobs import DEFECT, FAILED
from framewise.server.sync_page.sessions import JOB, Session, Sessions
from framewise.server.sync_page.work import main

ESTIMATE = {"kind": "estimate", "method": "audio", "max_offset": 20, "minimum_confidence": 0.2, "reference": 1}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Sessions(tmp_path / "sync", 1000, 1, 0).create()


def do(session: Session, job: dict[str, Any]) -> int:
    (session.folder / JOB).write_text(json.dumps(job))
    return main(session.folder)


def test_an_error_of_the_recordings_is_the_state_and_nothing_for_the_log(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    assert do(session, ESTIMATE) == FAILED
    state = session.written_state()
    assert (state["kind"], state["state"]) == ("estimate", "failed")
    assert "expected two recordings or more, found 0" in state["error"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_is_named_in_the_state_and_its_traceback_is_for_the_log(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    assert do(session, {"kind": "nonsense"}) == DEFECT
    assert (session.written_state()["state"], session.written_state()["error"]) == ("failed", "KeyError: 'nonsense'")
    assert "Traceback" in capsys.readouterr().err
