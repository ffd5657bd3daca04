"""The job that fetches all annotations, from a server that lists tasks as Label Studio does, while things go on meanwhile."""

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from framewise.assembly import Assembly
from framewise.backend.importing import Importing
from framewise.backend.projects import Projects
from framewise.core.errors import LabelStudioError, LabelStudioUnavailable
from framewise.settings import Settings
from tests.integration.service import learning_config, wait_for
from tests.messages import Project, region, task_of

PAGE = 100


class Lists:
    """A server that lists the tasks of one project. ``meanwhile``: page number -> what happens before that page is sent."""

    def __init__(self, project, tasks):
        self.project, self.tasks, self.meanwhile, self.asked = project, tasks, {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        url = urlsplit(request.path)
        if url.path.startswith("/api/projects/"):
            created = datetime.datetime.fromtimestamp(self.project.created, datetime.UTC)
            status, body = 200, {"id": self.project.id, "created_at": created.isoformat()}
        else:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.asked.append(query)
            after = json.loads(query["query"])["filters"]["items"][0]["value"]
            left = [task for task in self.tasks if task["id"] > after]
            body = {"tasks": left[: int(query["page_size"])], "total": len(left)}
            status = (self.meanwhile.get(len(self.asked)) or (lambda: None))() or 200
        content = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@pytest.fixture
def project():
    return Project(learning_config())


@pytest.fixture
def annotated(project):
    """250 tasks with an annotation each: three pages."""
    tasks = [task_of(number, f"{number}.mp4") for number in range(1, 251)]
    for task in tasks:
        task["annotations"] = [project.annotation(task, [region("Walk", (1, 2))], 1000 + task["id"])]
    return tasks


@pytest.fixture
def lists(project, annotated):
    server = Lists(project, annotated)
    yield server
    server.close()


@pytest.fixture
def assembly(tmp_path, lists, project):
    settings = Settings(
        model_root=tmp_path / "models", cache_dir=tmp_path / "cache", data_dir=tmp_path / "data",
        label_studio_url=lists.url, label_studio_api_key="0" * 40,
    )  # fmt: skip
    made = Assembly(settings)
    made.annotations.put_project(project.key, project.id, project.config)
    return made


@pytest.fixture
def fetch(assembly, project, quiet):
    """Do the job; what it answers."""
    states = assembly.jobs.states
    projects = Projects(assembly.parts, assembly.annotations, states)
    importing = Importing(assembly.annotations, assembly.jobs, projects, assembly.label_studio)

    def run():
        job = states.claim(importing.add(project.key), "worker")
        try:
            result = importing.fetch(job, quiet)
        except LabelStudioError as error:
            states.finish(job.id, "worker", error=str(error))
            raise
        states.finish(job.id, "worker", result=result)
        return result

    return run


def learned(assembly, project):
    return [item.annotation for item in assembly.annotations.training_set(project.key)]


def trainings(assembly):
    return [job["state"] for job in assembly.jobs.states.overview()["jobs"] if job["kind"] == "train"]


def test_all_pages_are_learned_and_a_second_look_changes_nothing(assembly, fetch, lists, project):
    assert fetch() == {"tasks": 250, "annotations": 250, "changed": True}
    assert learned(assembly, project) == list(range(1001, 1251))
    assert len(lists.asked) == 3
    assert {query["resolve_uri"] for query in lists.asked} == {"false"}
    assert trainings(assembly) == ["pending"]

    assembly.jobs.states.finish(assembly.jobs.states.claim(2, "w").id, "w")
    assert fetch() == {"tasks": 250, "annotations": 250, "changed": False}
    assert trainings(assembly) == ["done"]


def test_what_is_gone_is_not_learned_any_more_and_is_again_when_it_is_there_again(assembly, fetch, lists, project, annotated):
    fetch()
    annotated[0]["annotations"] = []
    gone = annotated.pop(100)
    assert fetch()["changed"]
    assert learned(assembly, project) == [n for n in range(1002, 1251) if n != 1000 + gone["id"]]

    annotated.insert(100, gone)
    assert fetch()["changed"]
    assert learned(assembly, project) == list(range(1002, 1251))


def test_an_annotation_that_is_submitted_meanwhile_is_kept(assembly, fetch, lists, project, annotated):
    """Its task's page was sent already; another is of a task that is in no page at all."""
    fetch()
    late = project.annotation_event(annotated[0], [region("Run", (1, 2))], annotation=2001, ground_truth=True)
    new = project.annotation_event(task_of(251, "251.mp4"), [region("Run", (1, 2))], annotation=2002)
    lists.asked.clear()
    lists.meanwhile[3] = lambda: [assembly.backend.on_event(event) for event in (late, new)] and None
    fetch()
    assert learned(assembly, project) == [2001, *range(1002, 1251), 2002]


def test_an_annotation_that_is_deleted_meanwhile_does_not_come_back(assembly, fetch, lists, project):
    event = project.event("ANNOTATIONS_DELETED", annotations=[{"id": 1120}, {"id": 1249}])
    lists.meanwhile[2] = lambda: assembly.backend.on_event(event) and None
    fetch()
    assert learned(assembly, project) == [n for n in range(1001, 1251) if n not in (1120, 1249)]


def test_a_newer_state_that_is_told_meanwhile_stays(assembly, fetch, lists, project, annotated):
    event = project.annotation_event(annotated[249], [], action="ANNOTATION_UPDATED", annotation=1250)
    lists.meanwhile[2] = lambda: assembly.backend.on_event(event) and None
    fetch()
    assert assembly.annotations.training_set(project.key)[-1].result == []


def test_a_page_that_fails_deletes_nothing_keeps_what_was_fetched_and_is_tried_again(
    assembly, fetch, lists, project, annotated
):
    fetch()
    annotated[0]["annotations"] = []
    annotated[1]["annotations"][0] |= {"result": [], "updated_at": "2999-01-01T00:00:00Z"}
    lists.asked.clear()
    lists.meanwhile[2] = lambda: 502
    with pytest.raises(LabelStudioUnavailable) as failed:
        fetch()
    assert failed.value.temporary
    assert learned(assembly, project) == list(range(1001, 1251))
    assert assembly.annotations.training_set(project.key)[1].result == []
    assert "pending" in trainings(assembly)

    wait_for(lambda: assembly.label_studio.refusal is None, "the end of the pause after the failure")
    fetch()
    assert learned(assembly, project) == list(range(1002, 1251))


def test_a_list_that_is_none_deletes_nothing(assembly, fetch, lists, project):
    fetch()
    lists.tasks = [{"id": "one"}]
    lists.asked.clear()
    with pytest.raises(LabelStudioError):
        fetch()
    assert len(learned(assembly, project)) == 250


def test_another_project_of_the_same_number_is_refused(assembly, fetch, lists, project):
    lists.project = Project(project.config, id=project.id, created=project.created + 1)
    with pytest.raises(LabelStudioError, match="is another project, and nothing is fetched"):
        fetch()
    assert learned(assembly, project) == []


def test_what_cannot_be_read_of_a_task_is_said_and_leaves_the_rest(assembly, fetch, lists, project, annotated):
    annotated[3]["annotations"][0]["result"] = "regions"
    annotated[4]["data"] = ["video"]
    fetch()
    assert learned(assembly, project) == [n for n in range(1001, 1251) if n not in (1004, 1005)]
    (job,) = [job for job in assembly.jobs.states.overview()["jobs"] if job["kind"] == "import"]
    assert [warning.split(":")[0] for warning in job["warnings"]] == ["task 4", "task 5"]


def test_the_first_setup_of_a_project_imports_it_and_later_ones_do_not(assembly, project):
    def imports():
        return [job for job in assembly.jobs.states.overview()["jobs"] if job["kind"] == "import"]

    backend = assembly.backend
    config = project.config.replace("<TimelineLabels ", '<TimelineLabels model_path="efficientnet-lite0" ')
    for _ in range(2):
        backend.setup(project.key, config)
    (first,) = imports()
    states = assembly.jobs.states
    states.claim(first["id"], "w")
    states.finish(first["id"], "w")
    backend.setup(project.key, config)
    assert len(imports()) == 1


@pytest.mark.parametrize(("automatic", "imports"), [(0, 2), (1, 1)])
def test_trainings_that_label_studio_starts_itself_do_not_fetch_everything_each_time(
    assembly, fetch, project, automatic, imports
):
    fetch()
    event = project.event("START_TRAINING")
    event["project"]["min_annotations_to_start_training"] = automatic
    assert "job" in assembly.backend.on_event(event)
    assert [job["kind"] for job in assembly.jobs.states.overview()["jobs"]].count("import") == imports


def test_a_training_waits_for_the_import_that_is_due_and_not_for_one_that_is_tried_later(assembly, project):
    states = assembly.jobs.states
    assembly.backend.on_event(project.event("START_TRAINING"))
    number = {job["kind"]: job["id"] for job in states.overview()["jobs"]}
    assert states.claim(number["train"], "w") is None
    imported = states.claim(number["import"], "w")
    assert states.claim(number["train"], "w") is None
    states.postpone(imported, "w", "Label Studio is not there")
    assert states.claim(number["train"], "w") is not None
