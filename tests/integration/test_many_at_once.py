"""Many videos asked for at once, of two web processes and two workers: each is extracted once, and just as it is alone. Many
projects annotated at once: each gets its first version before the others are validated."""

import collections
import contextlib
import itertools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.service import Project, Service, frames_of, learning_config, region
from tests.integration.test_auto import make_film, regions_of

__all__ = ["make_film"]
VIDEOS = 8
# So many threads that each of the two web processes lets all requests wait, should they come to one of them.
WAYS = {"PREDICT_WAIT_SECONDS": "60", "THREADS": "16"}


@pytest.fixture(scope="module")
def busy_service(tmp_path_factory, backbone, videos):
    """A service of two web processes and two workers, which has seen none of a test's videos."""
    with Service(tmp_path_factory.mktemp("busy"), backbone, videos, WORKERS="2", **WAYS) as service:
        service.start_worker()
        yield service


@contextlib.contextmanager
def writes_of_arrays(folder):
    """Path -> the files that had this name meanwhile, of names that were not there before. An array is written to another name
    and renamed: a second one is another file."""
    seen, stop = collections.defaultdict(set), threading.Event()
    before = set(folder.rglob("output.npy"))

    def look():
        for path in set(folder.rglob("output.npy")) - before:
            with contextlib.suppress(FileNotFoundError):
                seen[path.relative_to(folder)].add(path.stat().st_ino)

    def watch():
        while not stop.wait(0.005):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
        look()


def ask_together(service, project, tasks):
    """The predictions of requests with one task each, all sent at the same time."""
    together = threading.Barrier(len(tasks))

    def ask(task):
        together.wait()
        return service.predict(project, [task])[0]

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(ask, tasks))


def arrays(service):
    """Name in the cache -> bytes, of every array there."""
    return {path.relative_to(service.cache): path.read_bytes() for path in service.cache.rglob("*.npy")}


def extractions(service, project):
    """(task, state, attempts) of every extraction, in the order of the tasks."""
    return sorted((j["task"], j["state"], j["attempts"]) for j in service.jobs(project, "extract"))


def written_once(writes):
    """Names of arrays, none of which was written twice."""
    assert {path: len(files) for path, files in writes.items() if len(files) != 1} == {}
    return set(writes)


def test_eight_cold_videos_asked_for_together_are_extracted_once_each_and_as_they_are_alone(
    busy_service, start_service, project, make_task
):
    tasks = [make_task(num_frames=400 + number) for number in range(VIDEOS)]
    before = arrays(busy_service).keys()
    alone = start_service(**WAYS)
    for task in tasks:
        alone.predict(project, [task])
        alone.wait_idle()

    with writes_of_arrays(busy_service.cache) as writes:
        ask_together(busy_service, project, tasks)
        busy_service.wait_idle()

    once = [(task["id"], "done", 1) for task in tasks]
    assert extractions(busy_service, project) == extractions(alone, project) == once
    assert {name: content for name, content in arrays(busy_service).items() if name not in before} == arrays(alone)
    # Of each video the times of its pictures, and one chunk of features.
    assert len(written_once(writes)) == 2 * VIDEOS
    owners = busy_service.rows("SELECT DISTINCT owner FROM jobs WHERE kind = 'extract' AND project = ?", project.key)
    assert len(owners) == 2, "both workers took part"


def test_a_cold_video_asked_for_eight_times_together_is_extracted_once_and_predicted_for_all(busy_service, project, make_task):
    every_frame = project.with_config(learning_config(model_score_threshold="0", model_classifier_epochs="3"))
    busy_service.train(every_frame, (make_task(), [region("Walk", (1, 24))]))
    task = make_task(num_frames=1000)

    with writes_of_arrays(busy_service.cache) as writes:
        predictions = ask_together(busy_service, every_frame, [task] * VIDEOS)
        busy_service.wait_idle()

    assert [max(frames_of(prediction, "Walk")) for prediction in predictions] == [1000] * VIDEOS
    assert extractions(busy_service, every_frame) == [(task["id"], "done", 1)]
    assert len(written_once(writes)) == 2


def test_a_video_under_two_names_is_extracted_once(busy_service, project, make_clip, make_task):
    clip = make_clip(400)
    tasks = [make_task(clip), make_task(shutil.copy(clip, clip.with_name(f"copy-of-{clip.name}")))]

    with writes_of_arrays(busy_service.cache) as writes:
        ask_together(busy_service, project, tasks)
        busy_service.wait_idle()

    # Two addresses are two jobs: the second finds the features of the first.
    assert extractions(busy_service, project) == [(task["id"], "done", 1) for task in tasks]
    assert len(written_once(writes)) == 2


def test_projects_annotated_at_once_are_validated_one_at_a_time_so_that_no_first_version_waits(start_service, make_film):
    service = start_service()
    projects = [Project(learning_config(model_classifier_type="auto")) for _ in range(5)]
    for project in projects:
        films = [make_film() for _ in range(3)]
        marked = [project.annotation(task, regions_of(shown)) for task, shown in films]
        service.send(project.event("ANNOTATIONS_CREATED", annotation=marked, task=[task for task, _ in films]))
    service.wait_idle()

    refines = service.rows("SELECT project, state, started, finished FROM jobs WHERE kind = 'refine' ORDER BY started")
    assert {(job["project"], job["state"]) for job in refines} == {(project.key, "done") for project in projects}
    together = [(a["project"], b["project"]) for a, b in itertools.pairwise(refines) if b["started"] < a["finished"]]
    assert together == []
