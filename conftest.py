"""Fixtures shared by several kinds of test: a real Label Studio and a backend connected to it, one of each per
session, and small disks."""

pytest_plugins = ("tests.label_studio.fixtures", "tests.integration.small_disks")
