"""The ``framewise`` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from framewise import __version__
from framewise.core.arguments import above_zero
from framewise.core.errors import FramewiseError
from framewise.settings import Settings
from framewise.sync.align_command import add_parsers as add_series
from framewise.sync.command import add_parsers as add_sync

PROJECT_HELP = "Label Studio's number of the project, or <number>.<time of creation> as /versions shows it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; errors of input are one line, not a traceback."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except FramewiseError as error:
        print(f"framewise: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("framewise: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="framewise", description="A Label Studio ML backend for labels in time.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the web server and a worker")
    _add_settings(serve)
    serve.set_defaults(run=_serve)

    work = commands.add_parser("work", help="run a worker alone")
    _add_settings(work)
    work.set_defaults(run=_work)

    backbone = commands.add_parser("backbone", help="fetch an official backbone into the models folder")
    backbone.add_argument("name", nargs="?", help="such as yolov8n-cls.pt; the default backbone if left out")
    _add_settings(backbone)
    backbone.set_defaults(run=_backbone)

    versions = commands.add_parser("versions", help="list the trained versions, how good they are, and which are in use")
    versions.add_argument("project", nargs="?", metavar="PROJECT", help=f"{PROJECT_HELP}; all if left out")
    _add_settings(versions)
    versions.set_defaults(run=_versions)

    roll_back = commands.add_parser("roll-back", help="predict with an earlier version, and stay with it")
    roll_back.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    roll_back.add_argument("version", metavar="VERSION", help="its name, or as much of it as v3")
    _add_settings(roll_back)
    roll_back.set_defaults(run=_roll_back)

    unpin = commands.add_parser("unpin", help="predict with the newest version again")
    unpin.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    _add_settings(unpin)
    unpin.set_defaults(run=_unpin)

    forget = commands.add_parser("forget", help="remove all that is known of a project, and its models")
    forget.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    forget.add_argument("--yes", action="store_true", help="do not ask")
    _add_settings(forget)
    forget.set_defaults(run=_forget)

    cache = commands.add_parser("cache", help="show what the cache of features holds, or remove some of it")
    what = cache.add_mutually_exclusive_group()
    what.add_argument("--clean", action="store_true", help="remove what nobody will ask for any more")
    what.add_argument("--shrink", metavar="SIZE", help="remove what was used longest ago until no more than this is left: 10GB")
    what.add_argument("--clear", action="store_true", help="remove everything that is not in use")
    cache.add_argument("--yes", action="store_true", help="do not ask")
    _add_settings(cache)
    cache.set_defaults(run=_cache)

    train = commands.add_parser("train", help="learn from an export of Label Studio, and publish the version")
    _add_files(train, "EXPORT.json", "Label Studio's Export > JSON", "not needed for a known project")
    train.add_argument("--project", metavar="PROJECT", help=f"a known one: {PROJECT_HELP}; a new one if left out")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="how good a training on an export is on videos that it did not learn from")
    _add_files(evaluate, "EXPORT.json", "Label Studio's Export > JSON", required=True)
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the scores there, too")
    evaluate.add_argument("--picture", type=Path, metavar="FILE.png", help="draw how often regions of a score are right")
    evaluate.set_defaults(run=_evaluate)

    predict = commands.add_parser("predict", help="write predictions of tasks, to be imported into Label Studio")
    _add_files(predict, "TASKS.json", "an export, or a list of {'data': ...}", "the project's own if left out")
    predict.add_argument("--project", metavar="PROJECT", help=f"whose version predicts: {PROJECT_HELP}")
    predict.add_argument("--version", dest="model_version", metavar="VERSION", help="as much of it as v3; the one in use")
    predict.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    predict.set_defaults(run=_predict)

    extract = commands.add_parser("extract", help="extract many videos ahead, by all processors or by a cluster")
    videos = "a folder of videos, or Label Studio's Export > JSON or a list of {'data': ...}; the project's own if left out"
    extract.add_argument("source", type=Path, nargs="?", metavar="FOLDER|TASKS.json", help=videos)
    about = "which field of the tasks, which backbone and crop; not needed for a folder or a known project"
    extract.add_argument("--config", type=Path, metavar="FILE.xml", help=f"the labeling config: {about}")
    extract.add_argument("--project", metavar="PROJECT", help=f"a known one: {PROJECT_HELP}")
    extract.add_argument("--jobs", type=_jobs, metavar="N", help="processes; as many as there are processors if left out")
    extract.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler, tcp://host:8786: its workers extract instead")
    _add_settings(extract)
    extract.set_defaults(run=_extract)

    bench = commands.add_parser(
        "bench", help="how fast features are made on this machine, beside the usual way and its ceilings"
    )
    bench.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help="a rendered clip of 1280x720 if left out")
    bench.add_argument("--rounds", type=int, default=5, metavar="N", help="how often all sides take turns; 5")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    bench.add_argument("--picture", type=Path, metavar="FILE.png", help="draw them")
    _add_settings(bench)
    bench.set_defaults(run=_bench)

    _add_migrate(commands)
    add_sync(commands)
    add_series(commands)

    demo = commands.add_parser("demo", help="a real Label Studio with a project that framewise learns and fills in")
    demo.add_argument("--label-studio", required=True, help="path of the label-studio program")
    demo.add_argument("--folder", required=True, help="where the demo keeps its files; made if it is not there")
    demo.add_argument("--exit", action="store_true", help="end after the printout; fail if the predictions are bad")
    demo.set_defaults(run=_demo)
    return parser


def _add_migrate(commands: Any) -> None:
    parser = commands.add_parser(
        "migrate", help="bring a project of Label Studio 1.4.1 with video beside a series to today's tags"
    )
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.xml", help="the old labeling config")
    parser.add_argument("--media-folder", type=Path, metavar="FOLDER", help="where the videos and series of the tasks are")
    parser.add_argument("--durations", type=Path, metavar="FILE.json", help='{"address": seconds} of media that are not there')
    parser.add_argument("--frame-rate", type=above_zero, metavar="N", help="pictures a second, where no file tells it")
    parser.add_argument("--series-address", metavar="ADDRESS", help="what the new tasks say before names of rewritten series")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="a new folder, for --write")
    parser.add_argument(
        "--write", action="store_true", help="write the new config and tasks; without, only say what they would be"
    )
    parser.set_defaults(run=_migrate)


def _add_files(parser: argparse.ArgumentParser, name: str, what: str, config: str = "", required: bool = False) -> None:
    parser.add_argument("tasks", type=Path, metavar=name, help=what)
    about = "the labeling config: Label Studio's Settings > Labeling Interface > Code"
    parser.add_argument("--config", type=Path, required=required, metavar="FILE.xml", help=f"{about}; {config}".rstrip("; "))
    _add_settings(parser)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1024, found {text!r}")
    return int(text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting; the environment variable is the default."""
    group = parser.add_argument_group("settings", "each is also an environment variable: --model-root is MODEL_ROOT")
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        group.add_argument(flag, dest=f"setting_{item.name}", metavar="VALUE", help=item.metadata["help"].replace("%", "%%"))


def _settings(args: argparse.Namespace) -> Settings:
    given = {item.name: getattr(args, f"setting_{item.name}") for item in fields(Settings)}
    return Settings.from_env(os.environ, {name: value for name, value in given.items() if value is not None})


# Commands import what they need when they run: `framewise --help` should not wait for torch.


def _serve(args: argparse.Namespace) -> int:
    from framewise.serve import serve

    return serve(_settings(args))


def _work(args: argparse.Namespace) -> None:
    from framewise.foundation import configure_logging
    from framewise.serve import with_default_backbone
    from framewise.worker import work

    settings = _settings(args)
    configure_logging(settings.log_level)
    work(with_default_backbone(settings))


def _backbone(args: argparse.Namespace) -> None:
    from framewise.features.backbone import Backbones

    settings = _settings(args)
    file = Backbones(settings.model_root, settings.data_dir).fetch_official(args.name or settings.model_path)
    print(f"{file.path}  sha256 {file.content}")


def _versions(args: argparse.Namespace) -> None:
    from framewise.manage import show_versions

    show_versions(_settings(args), args.project)


def _roll_back(args: argparse.Namespace) -> None:
    from framewise.manage import roll_back

    roll_back(_settings(args), args.project, args.version)


def _unpin(args: argparse.Namespace) -> None:
    from framewise.manage import unpin

    unpin(_settings(args), args.project)


def _forget(args: argparse.Namespace) -> int:
    from framewise.manage import forget

    return forget(_settings(args), args.project, args.yes)


def _cache(args: argparse.Namespace) -> int:
    from framewise.manage import cache

    return cache(_settings(args), args.clean, args.shrink, args.clear, args.yes)


def _train(args: argparse.Namespace) -> int:
    from framewise.offline import train

    return train(_offline_settings(args, "ERROR"), args.tasks, args.config, args.project)  # warnings are in its answer


def _evaluate(args: argparse.Namespace) -> int:
    from framewise.offline import evaluate

    return evaluate(_offline_settings(args, "WARNING"), args.tasks, args.config, args.json, args.picture)


def _predict(args: argparse.Namespace) -> int:
    from framewise.offline import predict

    settings = _offline_settings(args, "WARNING")
    return predict(settings, args.tasks, args.config, args.project, args.model_version, args.output)


def _extract(args: argparse.Namespace) -> int:
    from framewise.bulk.command import extract

    settings = _offline_settings(args, "ERROR")
    return extract(settings, args.source, args.config, args.project, args.jobs, args.dask)


def _offline_settings(args: argparse.Namespace, log_level: str) -> Settings:
    """Settings of a command that somebody watches: the log is of no use where it only tells how far things are."""
    from framewise.foundation import check_folders, configure_logging
    from framewise.processes import allow_open_files
    from framewise.serve import with_default_backbone

    allow_open_files()
    settings = _settings(args)
    configure_logging(log_level)
    check_folders(settings)
    return with_default_backbone(settings)


def _bench(args: argparse.Namespace) -> int:
    from framewise.bench import bench

    return bench(_offline_settings(args, "WARNING"), args.video, max(1, args.rounds), args.json, args.picture)


def _migrate(args: argparse.Namespace) -> int:
    from framewise.migrate import migrate

    return migrate(
        args.tasks,
        args.config,
        args.media_folder,
        args.durations,
        args.frame_rate,
        args.series_address,
        args.output,
        args.write,
    )


def _demo(args: argparse.Namespace) -> int:
    from framewise.demo.run import run_demo

    return run_demo(args.label_studio, args.folder, exit_after=args.exit)
