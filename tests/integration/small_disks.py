"""Small disks, to be full: file systems in memory. Who may not mount one may in a user namespace: each test runs there."""

import subprocess
import sys

import pytest

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def may_mount(folder):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode == 0
    return mounted and subprocess.run(["umount", folder], check=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path, request):
    """Makes a folder that is a disk of so many MiB."""
    made = []
    if not may_mount(tmp_path):
        if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
            pytest.skip("may neither mount a file system nor make a user namespace in which one may")
        again = subprocess.run(
            [*NAMESPACE, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", request.node.nodeid],
            cwd=request.config.rootpath, capture_output=True, text=True,
        )  # fmt: skip
        assert again.returncode == 0, again.stdout
        pytest.skip("passed in a user namespace of its own, in which one may mount")

    def make(mebibytes):
        folder = tmp_path / f"disk-{len(made)}"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], check=True)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)
