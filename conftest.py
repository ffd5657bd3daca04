"""Fixtures that several kinds of test share: a real Label Studio and a backend connected to it, one of each a session."""

pytest_plugins = ("tests.label_studio.fixtures",)
