"""Flask: the ML backend protocol, authentication, metrics. The only place that knows of HTTP status codes.

Importing this package alone loads none of it: gunicorn's first process looks in here for its worker class, and what it has
loaded before it forks would become the memory of its children bit by bit.
"""
