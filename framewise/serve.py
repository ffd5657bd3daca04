"""``framewise serve``: the web processes and a worker, started and stopped together."""

import logging
import os
import signal
import sys
import time
from dataclasses import replace

from framewise.core.errors import BackboneError
from framewise.features.backbone import SHIPPED_NAME, Backbones
from framewise.foundation import check_folders, configure_logging, open_database, open_queue
from framewise.processes import start_child, stop_children
from framewise.settings import OFFICIAL_DEFAULT_BACKBONE, Settings

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 120  # above the longest that Label Studio waits for a prediction, 100 s
RESTART_SECONDS = 1.0
CHECK_SECONDS = 0.2


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. A worker that dies is started again; when the web server ends, all ends."""
    configure_logging(settings.log_level)
    check_folders(settings)
    settings = with_default_backbone(settings)
    open_queue(settings, open_database(settings))  # made here, before several processes would at once
    _warn_of_open_doors(settings)
    env = {**os.environ, **settings.to_env()}
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: stopping.append(n))
    web = start_child(web_command(settings), env)
    worker = start_child([sys.executable, "-m", "framewise", "work"], env)
    logger.info("framewise listens on http://%s:%d", settings.host, settings.port)
    try:
        while not stopping and web.poll() is None:
            if worker.poll() is not None:
                logger.error("the worker ended with code %d; starting another", worker.returncode)
                time.sleep(RESTART_SECONDS)
                worker = start_child([sys.executable, "-m", "framewise", "work"], env)
            time.sleep(CHECK_SECONDS)
    finally:
        stop_children([web, worker])
    return 0 if stopping else web.returncode or 1


def web_command(settings: Settings) -> list[str]:
    """The gunicorn command line of these settings."""
    return [
        sys.executable, "-m", "gunicorn",
        "--bind", f"{settings.host}:{settings.port}",
        "--workers", str(settings.workers),
        "--worker-class", "framewise.server.gunicorn_worker.PatientWorker",
        "--threads", str(settings.threads),
        "--timeout", str(REQUEST_TIMEOUT_SECONDS),
        "--no-control-socket",  # it would be one file in the home folder for all servers of a user
        "--log-level", settings.log_level.lower(),
        "framewise.server.wsgi:app",
    ]  # fmt: skip


def with_default_backbone(settings: Settings) -> Settings:
    """The settings, with the default backbone fetched; with the one that ships where that is not possible.

    Decided once, before anything is served: features of two backbones do not mix.
    """
    backbones = Backbones(settings.model_root, settings.data_dir)
    try:
        backbones.fetch_official(settings.model_path)
        return settings
    except BackboneError as error:
        if settings.model_path != OFFICIAL_DEFAULT_BACKBONE:
            raise  # somebody chose it
        logger.warning(
            "%s. Until then %r is used: it needs no download, but knows far less of real pictures", error, SHIPPED_NAME
        )
        return replace(settings, model_path=SHIPPED_NAME)


def _warn_of_open_doors(settings: Settings) -> None:
    if not settings.basic_auth_user:
        logger.warning("no BASIC_AUTH_USER: anyone who can reach %s:%d can use this backend", settings.host, settings.port)
    elif not settings.webhook_token:
        logger.warning("no WEBHOOK_TOKEN: webhooks, which carry no basic auth, will be refused; see docs/connecting.md")
    if not (settings.label_studio_url and settings.label_studio_api_key):
        logger.warning("no LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: uploaded files cannot be fetched; see docs/connecting.md")
