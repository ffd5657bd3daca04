"""Lines of the log: what strangers send cannot look like one."""

import logging

import pytest

from framewise.foundation import configure_logging


def test_a_message_stays_on_its_line_and_a_traceback_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        configure_logging("INFO")
        told = "task\r\n2026-01-01 00:00:00,000 ERROR 1 framewise: forged\x1b[2J\u2028end, but Ж stays"
        logging.getLogger("framewise.test").error("project %s", told)
        try:
            raise ValueError("of\nseveral lines")
        except ValueError:
            logging.getLogger("framewise.test").exception("internal error")
    finally:
        logging.basicConfig(level=level, handlers=handlers, force=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(r"project task\r\n2026-01-01 00:00:00,000 ERROR 1 framewise: forged\x1b[2J\u2028end, but Ж stays")
    assert lines[1].endswith("internal error")
    assert lines[2].startswith("Traceback")
