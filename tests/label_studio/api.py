"""Label Studio as annotators and administrators use it: what the demo does not need."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framewise.demo.label_studio_server import LabelStudioApi, LabelStudioStartError


class AnnotatorApi(LabelStudioApi):
    """Further actions of a Label Studio user, over its HTTP interface; answers are its JSON."""

    def project(self, project_id: int) -> dict:
        """Settings and counters of a project."""
        return self.request("GET", f"/api/projects/{project_id}/")

    def task(self, task_id: int) -> dict:
        """Open a task as in the Data Manager: if it has no prediction, Label Studio asks the backend first."""
        return self.request("GET", f"/api/tasks/{task_id}/")

    def connect_backend_with_password(self, project_id: int, url: str, title: str, user: str, password: str) -> dict:
        """Add an ML backend with the user and password that Label Studio sends to /setup, /predict and START_TRAINING.

        Annotation events do not have them: they carry the webhook's own headers.
        """
        auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        return self.connect_backend(project_id, url, title, **auth)

    def list_backends(self, project_id: int) -> list[dict]:
        """Backends of a project with their state; Label Studio asks each one's /health and /setup for it."""
        return self.request("GET", "/api/ml/", params={"project": project_id})

    def start_training(self, backend_id: int) -> Any:
        """The "Start training" button; Label Studio answers 200 whether or not the backend agreed."""
        return self.request("POST", f"/api/ml/{backend_id}/train", json={})

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict]:
        """Import tasks as dictionaries (`{"video": url}` or `{"data": .., "annotations": ..}`); in their order."""
        answer = self.request(
            "POST",
            f"/api/projects/{project_id}/import",
            params={"return_task_ids": "true"},
            json=list(tasks),
        )
        return self.tasks_by_id(project_id, answer["task_ids"])

    def add_local_storage(self, project_id: int, path: str | Path, title: str = "local files") -> dict:
        """Connect a folder and sync it: one task a file, then shown by `tasks`.

        path: absolute, below the server's document root and not that root itself.
        """
        body = {
            "project": project_id,
            "path": str(path),
            "title": title,
            "use_blob_urls": True,
            "regex_filter": ".*",
            "recursive_scan": True,
        }
        storage = self.request("POST", "/api/storages/localfiles/", json=body)
        synced = self.request("POST", f"/api/storages/localfiles/{storage['id']}/sync", json={})
        if synced.get("status") == "failed":
            raise LabelStudioStartError(f"Label Studio could not sync {path}: {synced.get('traceback') or synced}")
        return synced

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> dict:
        """The "Update" button: the annotation's regions become these."""
        return self.request("PATCH", f"/api/annotations/{annotation_id}/", json={"result": list(result)})

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete an annotation."""
        self.request("DELETE", f"/api/annotations/{annotation_id}/")

    def create_prediction(
        self, task_id: int, result: Sequence[Mapping[str, Any]], model_version: str, score: float | None = None
    ) -> dict:
        """Store a prediction as a backend that pushes would. Label Studio does not check the regions."""
        body = {"task": task_id, "result": list(result), "model_version": model_version, "score": score}
        return self.request("POST", "/api/predictions/", json=body)

    def next_task(self, project_id: int) -> dict:
        """The label stream's next task ("Label All Tasks"), with the predictions it would show."""
        return self.request(
            "POST", "/api/dm/actions/", params={"id": "next_task", "project": project_id}, json={"project": project_id}
        )

    def set_webhook_headers(self, project_id: int, headers: Mapping[str, str]) -> list[dict]:
        """Give every webhook of the project these request headers; the changed webhooks."""
        return [
            self.request("PATCH", f"/api/webhooks/{webhook['id']}/", json={"headers": dict(headers)})
            for webhook in self.webhooks(project_id)
        ]

    def webhooks(self, project_id: int) -> list[dict]:
        """The webhooks of a project."""
        return self.request("GET", "/api/webhooks/", params={"project": project_id})
