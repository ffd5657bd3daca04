"""The ``framewise`` command: its parser, and exit codes and errors of all commands."""

import difflib
import os
import select
import sys
from collections.abc import Sequence

from framewise import __version__
from framewise.commands import (
    backbone,
    bench,
    cache,
    check,
    completion,
    demo,
    evaluate,
    extract,
    forget,
    jobs,
    migrate,
    predict,
    roll_back,
    series_align,
    serve,
    sync_apply,
    sync_estimate,
    sync_evaluate,
    sync_labels,
    train,
    unpin,
    versions,
    work,
)
from framewise.commands.flags import Parser, setting_flags
from framewise.core.errors import FramewiseError

INTERRUPTED, OUTPUT_CLOSED = 130, 141  # 128 + SIGINT, 128 + SIGPIPE: a shell's exit codes for these signals

# In the order of the help. Each module has add_parser(commands) and run(args), and does slow imports only when it runs.
COMMANDS = (
    serve, work, jobs, versions, roll_back, unpin, forget, cache, check, backbone, train, evaluate, predict, extract, migrate
)  # fmt: skip
SYNC_COMMANDS = (sync_estimate, sync_apply, sync_labels, sync_evaluate)
SERIES_COMMANDS = (series_align,)
OTHER_COMMANDS = (bench, demo, completion)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Input errors are printed as one line, without a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(words)
        finally:
            print(end="", flush=True)  # flushed here, where a closed output can still be handled
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return OUTPUT_CLOSED


def _run(words: Sequence[str]) -> int:
    parser = framewise_parser()
    command = _command_of(parser, words)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        command.error(_why_unknown(unknown))
    try:
        return int(args.run(args) or 0)
    except FramewiseError as error:
        print(f"framewise: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("framewise: interrupted", file=sys.stderr)
        return INTERRUPTED


def framewise_parser() -> Parser:
    """Parser of all commands."""
    parser = Parser(
        prog="framewise",
        description="A Label Studio ML backend that learns and fills in intervals on video\ntimelines, time series and sound.",
        epilog="`framewise COMMAND --help` shows flags, defaults and an example.\nmore: README.md and docs/",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_commands()
    for module in COMMANDS:
        module.add_parser(commands)
    sync = commands.add("sync", "synchronize recordings of one scene, and their labels", more="docs/sync.md").add_commands()
    for module in SYNC_COMMANDS:
        module.add_parser(sync)
    about = "synchronize a sensor's file with a video"
    series = commands.add("series", about, more="docs/series-align.md").add_commands()
    for module in SERIES_COMMANDS:
        module.add_parser(series)
    for module in OTHER_COMMANDS:
        module.add_parser(commands)
    return parser


def _command_of(parser: Parser, words: Sequence[str]) -> Parser:
    """Parser of the typed command. Exits with a suggestion if there is no such command."""
    for word in words:
        if word.startswith("-") or not parser.names:
            break
        if word not in parser.names:
            near = difflib.get_close_matches(word, parser.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"{parser.prog} --help lists all"
            parser.error(f"there is no command {word!r}; {hint}")
        parser = parser.names[word]
    return parser


def _why_unknown(unknown: Sequence[str]) -> str:
    """Error message for unknown arguments. For a setting, it names the environment variable."""
    settings = setting_flags()
    for argument in unknown:
        if variable := settings.get(argument.partition("=")[0]):
            return f"{argument.partition('=')[0]} is not a flag of this command; set the environment variable {variable}"
    return f"unrecognized arguments: {' '.join(unknown)}"


def _output_is_closed() -> bool:
    """True if the standard output is closed; discards the rest of it."""
    polled = select.poll()
    polled.register(sys.stdout.fileno(), select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in polled.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
