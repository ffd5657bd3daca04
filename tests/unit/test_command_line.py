"""The command line's parsers and what commands print, in this process."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from framewise.commands.cli import framewise_parser, main
from framewise.commands.flags import Parser
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.job_state import TITLES, JobStates

MAX_HELP_LINES = 40
LONG_HELP = {"serve", "work"}  # a flag for every setting
DOCUMENTS = Path(__file__).parents[2]


def commands(parser: Parser | None = None, before: str = "") -> Iterator[tuple[str, Parser]]:
    """Every command by its name, with its parser; groups of commands too."""
    for name, child in (parser or framewise_parser()).names.items():
        yield before + name, child
        yield from commands(child, f"{before}{name} ") if child.names else ()


def only_commands() -> list[str]:
    return [name for name, parser in commands() if not parser.names]


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_fits_a_screen_with_an_example_that_parses_and_where_to_read_on(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_of(name, capsys)
    assert name in LONG_HELP or len(shown.splitlines()) <= MAX_HELP_LINES
    assert max(len(line) for line in shown.splitlines()) <= 80
    (more,) = re.findall(r"^more: (.*)$", shown, flags=re.MULTILINE)
    for place in more.split("; "):
        document, _, heading = place.partition(", ")
        assert not heading or re.search(rf"^#+ {heading}$", (DOCUMENTS / document).read_text(), flags=re.MULTILINE)
        assert (DOCUMENTS / document).exists()
    if name in only_commands():
        (example,) = re.findall(r"^example:\n  framewise (.*)$", shown, flags=re.MULTILINE)
        words = shlex.split(example.partition(" > ")[0])
        assert " ".join(words).startswith(name)
        framewise_parser().parse_args(words)


def test_help_of_all_commands_fits_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MAX_HELP_LINES
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", only_commands())
def test_help_shows_the_default_of_every_flag_that_has_one(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = help_of(name, capsys)
    parser = dict(commands())[name]
    defaults = {a.option_strings[0]: a.default for a in parser._actions if a.option_strings and a.nargs != 0}
    for flag, default in defaults.items():
        if default:
            (text,) = re.findall(rf"^  {flag} .*(?:\n {{20}}.*)*", shown, flags=re.MULTILINE)
            assert f"(default: {default})" in text


@pytest.mark.parametrize(
    ("words", "meant"),
    [("trian", "train"), ("version", "versions"), ("rollback 12 v3", "roll-back"), ("sync estimat", "estimate")],
)
def test_a_mistyped_command_suggests_one(words, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


def test_what_resembles_no_command_is_told_where_all_are(capsys):
    with pytest.raises(SystemExit):
        main(["xyzzy"])
    assert "there is no command 'xyzzy'; framewise --help lists all" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["sync", "series"])
def test_a_group_of_commands_alone_prints_its_help(group, capsys):
    assert main([group]) == 0
    assert f"usage: framewise {group} " in capsys.readouterr().out


def test_no_secret_is_a_flag():
    flags = {flag for _, parser in commands() for action in parser._actions for flag in action.option_strings}
    assert not [flag for flag in flags if re.search("pass|token|key|queue-url", flag)]


def test_bash_completes_commands_and_flags_by_the_script(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    completing = "source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _shtab_framewise; echo ${COMPREPLY[@]}"
    for words, expected in ((["framewise", "ver"], "versions"), (["framewise", "train", "--proj"], "--project")):
        line = completing % (script, " ".join(words), len(words) - 1)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, check=True)
        assert done.stdout.split() == [expected]


def test_shells_complete_names_of_files_where_a_path_is_expected(capsys):
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert re.search(r"--config\[.*_files", script)


# Jobs.


@pytest.fixture
def states(tmp_path, monkeypatch):
    """Jobs of a service's database, which the command reads."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return JobStates(Database(tmp_path / DATABASE_NAME))


def test_jobs_are_listed_by_words_unfinished_ones_first(states, capsys):
    failed = states.begin("extract", "7.1", "a.mp4", "worker")
    states.finish(failed.id, "worker", "a.mp4: no such file")
    running = states.begin("train", "7.1", "all", "worker")
    states.report(running.id, 0.62, "epoch 240")
    states.warn(running.id, "task 5 is left out")
    states.add("refine", "8.1", "all", {})
    assert main(["jobs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["JOB", "WORK", "PROJECT", "TASK", "STATE", "SINCE", "(UTC)"]
    assert [line.split()[1] for line in lines[1:4]] == ["validating", "training", "extracting"]
    assert "running 62 %" in lines[2]
    assert lines[2].endswith("epoch 240")
    assert lines[5:] == [
        "1 running, 1 waiting, 0 scheduled",
        "job 2, warning: task 5 is left out",
        "job 1, error: a.mp4: no such file",
    ]


def test_jobs_as_json_are_what_the_service_answers(states, capsys):
    states.add("train", "7.1", "all", {})
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == states.overview()


def test_no_jobs_are_told_as_none(states, capsys):
    assert main(["jobs"]) == 0
    assert capsys.readouterr().out == "0 running, 0 waiting, 0 scheduled\n"


def test_no_versions_as_json_are_an_empty_list(states, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_ROOT", str(tmp_path))
    assert main(["versions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"versions": [], "details": []}


def test_every_kind_of_job_that_is_documented_has_words():
    watching = (DOCUMENTS / "docs" / "operations.md").read_text().partition("## Monitoring")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", watching, flags=re.MULTILINE)
    assert set(documented) == set(TITLES)
