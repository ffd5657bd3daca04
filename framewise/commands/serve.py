"""``framewise serve``: web processes and a worker, started and stopped together."""

import argparse
import errno
import logging
import os
import signal
import socket
import sys
import time

from framewise.commands.flags import Commands, add_settings, settings_of, working_settings
from framewise.core.errors import SettingsError
from framewise.processes import framewise_command, start_child, stop_children
from framewise.settings import Settings

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 120  # longer than Label Studio waits for a prediction, 100 s
RESTART_SECONDS = 1.0
CHECK_SECONDS = 0.2


def add_parser(commands: Commands) -> None:
    example = "framewise serve --host 0.0.0.0 --port 9091"
    parser = commands.add("serve", "run the web server and a worker", example, "README.md, Run it; docs/operations.md")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. A dead worker is restarted; when the web server ends, everything ends."""
    from framewise.foundation import open_database, open_queue

    check_address(settings_of(args))  # before a backbone is downloaded
    settings = working_settings(args)
    open_queue(settings, open_database(settings))  # created here, before several processes would at once
    _warn_of_open_doors(settings)
    env = {**os.environ, **settings.to_env()}
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: stopping.append(n))
    web = start_child(web_command(settings), env)
    worker = start_child(framewise_command("work"), env)
    logger.info("framewise listens on http://%s:%d", settings.host, settings.port)
    try:
        while not stopping and web.poll() is None:
            if worker.poll() is not None:
                logger.error("the worker ended with code %d; starting another", worker.returncode)
                time.sleep(RESTART_SECONDS)
                worker = start_child(framewise_command("work"), env)
            time.sleep(CHECK_SECONDS)
    finally:
        stop_children([web, worker])
    return 0 if stopping else web.returncode or 1


def web_command(settings: Settings) -> list[str]:
    """Gunicorn command line for these settings."""
    return [
        sys.executable, "-m", "gunicorn",
        "--config", "python:framewise.server.gunicorn_config",
        "--bind", f"{settings.host}:{settings.port}",
        "--workers", str(settings.workers),
        "--no-sendfile",  # it would wait for slow clients without limit
        "--timeout", str(REQUEST_TIMEOUT_SECONDS),
        "--no-control-socket",  # it would be a file in the home folder, shared by all servers of a user
        "--log-level", settings.log_level.lower(),
        "framewise.server.wsgi:app",
    ]  # fmt: skip


def check_address(settings: Settings) -> None:
    """Raise SettingsError for an address on which nothing can listen now: gunicorn would retry again and again."""
    host, port = settings.host, settings.port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like gunicorn: a port just released counts as free
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} of {host} is in use by another program; choose another with --port or PORT"
        elif error.errno == errno.EACCES:
            why = f"port {port} may not be used by this user; choose one above 1023 with --port or PORT"
        else:
            why = f"nothing can listen on {host}: {error.strerror}; choose an address of this machine with --host or HOST"
        raise SettingsError(why) from None


def _warn_of_open_doors(settings: Settings) -> None:
    if not settings.basic_auth_user:
        logger.warning("no BASIC_AUTH_USER: anyone who can reach %s:%d can use this backend", settings.host, settings.port)
    elif not settings.webhook_token:
        logger.warning("no WEBHOOK_TOKEN: webhooks, which carry no basic auth, will be refused; see docs/connecting.md")
    if not (settings.label_studio_url and settings.label_studio_api_key):
        logger.warning("no LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: uploaded files cannot be fetched; see docs/connecting.md")
