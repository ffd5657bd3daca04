"""Memory of the whole service while nobody uses it."""

from framewise.settings import Settings

MEGABYTE = 1_000_000


def test_an_idle_service_holds_less_than_550_megabytes(start_service):
    """With as many web processes as by default: they share what gunicorn's main process imported before it forked."""
    service = start_service(WORKERS=str(Settings.from_env({}).workers))
    service.wait_idle()

    held = [size // MEGABYTE for size in service.memory_bytes()]

    assert len(held) == 5  # supervisor, gunicorn, its two web processes, worker
    assert sum(held) < 550, held
