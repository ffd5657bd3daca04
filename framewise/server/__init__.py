"""Flask: the ML backend protocol, authentication, metrics. HTTP status codes are chosen only here.

Importing this package loads none of its modules. gunicorn's main process imports those of the application once, before it
forks: see ``gunicorn_config``.
"""
