"""Flask: the ML backend protocol, authentication, metrics. The only place that knows of HTTP status codes."""

from framewise.server.app import create_app

__all__ = ["create_app"]
