"""The WSGI application for gunicorn, with settings from the environment."""

import os

from framewise.foundation import configure_logging
from framewise.learning.threads import one_processor_a_thread
from framewise.server.app import FREE_THREADS, create_app
from framewise.server.application_threads import ApplicationThreads
from framewise.settings import Settings

settings = Settings.from_env(os.environ)
configure_logging(settings.log_level)
one_processor_a_thread()
app = ApplicationThreads(create_app(settings), settings.threads, FREE_THREADS)
