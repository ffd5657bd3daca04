"""The ``framewise`` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

from framewise import __version__
from framewise.core.errors import FramewiseError
from framewise.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; errors of input are one line, not a traceback."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except FramewiseError as error:
        print(f"framewise: {error}", file=sys.stderr)
        return 2


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

    demo = commands.add_parser("demo", help="a real Label Studio with a project that framewise learns and fills in")
    demo.add_argument("--label-studio", required=True, help="path of the label-studio program")
    demo.add_argument("--folder", required=True, help="where the demo keeps its files; made if it is not there")
    demo.add_argument("--exit", action="store_true", help="end after the printout; fail if the predictions are bad")
    demo.set_defaults(run=_demo)
    return parser


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
    from framewise.assembly import configure_logging
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


def _demo(args: argparse.Namespace) -> int:
    from framewise.demo.run import run_demo

    return run_demo(args.label_studio, args.folder, exit_after=args.exit)
