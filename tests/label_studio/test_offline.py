"""The command on files that a real Label Studio exports, and what it writes imported there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from framewise.demo.clips import ClipTruth
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.settings import Settings
from tests.label_studio.api import AnnotatorApi


def test_what_label_studio_exports_is_learned_and_the_predictions_are_imported(
    api: AnnotatorApi, base_settings: Settings, clips: list[ClipTruth], tmp_path: Path
) -> None:
    project = int(api.create_project("exported", LABEL_CONFIG)["id"])
    tasks = api.import_files(project, [clip.path for clip in clips])
    for task, clip in zip(tasks[:-1], clips[:-1], strict=True):
        api.submit_annotation(task["id"], true_regions(clip))
    config, annotated, everything = (tmp_path / name for name in ("config.xml", "annotated.json", "all.json"))
    config.write_text(LABEL_CONFIG)
    for path, what in ((annotated, "false"), (everything, "true")):
        exported = api.request("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks={what}")
        path.write_text(json.dumps(exported))

    def framewise(*args: str | Path) -> str:
        env = {**base_settings.to_env(), "DATA_DIR": str(tmp_path / "data"), "MODEL_ROOT": str(tmp_path / "models")}
        command = [sys.executable, "-m", "framewise", *map(str, args)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = framewise("train", annotated, "--config", config)
    assert f"of {len(clips) - 1} annotated videos, in use" in printed
    output = tmp_path / "predictions.json"
    framewise("predict", everything, "--project", "0", "--output", output)

    written: list[dict[str, Any]] = json.loads(output.read_text())
    assert [item["id"] for item in written] == [task["id"] for task in tasks]
    other = int(api.create_project("imported", LABEL_CONFIG)["id"])
    api.request("POST", f"/api/projects/{other}/import", json=written)
    imported = api.tasks(other)
    assert len(imported) == len(written)
    shown = {api.task(task["id"])["data"]["video"]: api.predictions(task["id"]) for task in imported}
    for item in written:
        ours, (theirs,) = item["predictions"][0], shown[item["data"]["video"]]
        assert (theirs["model_version"], theirs["result"]) == (ours["model_version"], ours["result"])
    assert any(item["predictions"][0]["result"] for item in written)
