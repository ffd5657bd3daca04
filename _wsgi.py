"""gunicorn's ``app``, where users of such backends look for it; ``framewise serve`` starts it with the worker."""

from framewise.server.wsgi import app

__all__ = ["app"]
