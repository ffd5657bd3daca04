"""Flask: the ML backend protocol, authentication, metrics. HTTP status codes are chosen only here.

Importing this package loads none of its modules: gunicorn's main process imports its worker class from here, and anything
that it loaded before forking would gradually be copied into the memory of its children.
"""
