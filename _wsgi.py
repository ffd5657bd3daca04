"""Server at the usual place for such backends: ``app`` for gunicorn, and a program for ``label-studio-ml start``.

``framewise serve`` starts the same ``app`` with its worker. As the main program, this file serves the class of ``model.py`` in
label-studio-ml's own server: ``label-studio-ml start .`` runs it that way, with its arguments.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framewise.core.errors import FramewiseError
from framewise.foundation import configure_logging
from framewise.settings import Settings

if __name__ != "__main__":
    from framewise.server.wsgi import app as app

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def main(arguments: Sequence[str]) -> int:
    """Serve the hosted class until the process is stopped; returns 1 if label-studio-ml is missing or a setting is wrong."""
    options = _parser().parse_args(arguments)
    given = {"LOG_LEVEL": options.log_level, "MODEL_ROOT": options.model_dir and str(_below_here(options.model_dir))}
    os.environ.update({name: value for name, value in given.items() if value})
    try:
        settings = Settings.from_env(os.environ)
        configure_logging(settings.log_level)
        return _serve(options, settings)
    except FramewiseError as error:
        print(error, file=sys.stderr)
        return 1


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    from model import MISSING_HOST, NewModel, NoHost

    if issubclass(NewModel, NoHost):
        raise FramewiseError(MISSING_HOST)
    from label_studio_ml.api import init_app

    if options.check:
        print(f"making a {NewModel.__name__}", flush=True)
        NewModel(**dict(options.kwargs))
    app = init_app(NewModel, basic_auth_user=options.basic_auth_user, basic_auth_pass=options.basic_auth_pass)
    host, port = options.host or settings.host, options.port or settings.port
    logging.getLogger(__name__).info("%s in label-studio-ml's server on http://%s:%d", NewModel.__name__, host, port)
    app.run(host=host, port=port, debug=options.debug)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Parser of the arguments passed on by label-studio-ml; framewise's settings are the defaults."""
    parser = argparse.ArgumentParser(description="framewise inside label-studio-ml's server", allow_abbrev=False)
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("-p", "--port", type=int, help="port to listen on")
    parser.add_argument("-d", "--debug", action="store_true", help="run Flask in its debug mode")
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="minimum level of log lines")
    parser.add_argument("--model-dir", metavar="FOLDER", help="MODEL_ROOT, relative to this file's folder")
    parser.add_argument("--check", action="store_true", help="create an object of the class before serving")
    parser.add_argument(
        "--kwargs",
        "--with",
        nargs="+",
        type=_argument,
        default=[],
        metavar="KEY=VALUE",
        help="arguments of the object for --check",
    )
    for name in ("user", "pass"):
        variable = f"ML_SERVER_BASIC_AUTH_{name.upper()}"
        parser.add_argument(f"--basic-auth-{name}", default=os.environ.get(variable), help=f"instead of {variable}")
    return parser


def _argument(text: str) -> tuple[str, Any]:
    """Name and value of "key=value"; numbers and truth values are converted."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text!r}")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _below_here(folder: str) -> Path:
    return Path(__file__).resolve().parent / folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
