"""Fixtures that several kinds of test share: a real Label Studio and a backend connected to it, one of each
a session, and small disks."""

pytest_plugins = ("tests.label_studio.fixtures", "tests.integration.small_disks")
