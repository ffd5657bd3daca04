"""Whatever a checkpoint says, nothing of it is run; and an honest one gives the very network that it holds."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from framewise.core.errors import BackboneError
from framewise.features.backbone import Backbones
from framewise.features.kinds.ultralytics import prepare_ultralytics
from tests.conftest import TINY_CLASSES

FINE_TUNED = Path(__file__).parents[3] / "shared" / "data" / "weights" / "yolov8n-cls-finetuned.pt"


class Calls:
    """Pickled, it is a call: ``Calls(os.system, "touch x")``."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.fixture
def content(tiny_checkpoint):
    """Contents of the tiny checkpoint, as Ultralytics reads it; to be changed and written again."""
    import torch

    return torch.load(tiny_checkpoint, map_location="cpu", weights_only=False)


@pytest.fixture
def load(tmp_path, models_folder):
    """Writes a checkpoint into the models folder and loads it as a backbone."""
    import torch

    def run(content):
        torch.save(content, models_folder / "lie.pt")
        return load_file(models_folder, tmp_path)

    return run


def load_file(models_folder, tmp_path):
    backbones = Backbones(models_folder, tmp_path / "data")
    return backbones.load(backbones.find("lie.pt"))


@pytest.fixture
def witness(tmp_path):
    """A file that hostile checkpoints make if their code runs."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists(), "code of the checkpoint ran"


def payloads(witness):
    """Calls that a pickle can make."""
    import os
    import subprocess

    from ultralytics.nn.tasks import ClassificationModel

    text = f"open({str(witness)!r}, 'w')"
    evaluated = {"nc": 2, "activation": text, "backbone": [], "head": [[-1, 1, "Classify", [2]]]}
    return {
        "system": Calls(os.system, f"touch {witness}"),
        "process": Calls(subprocess.check_call, ["touch", str(witness)]),
        "eval": Calls(eval, text),
        "exec": Calls(exec, text),
        "open": Calls(open, str(witness), "w"),
        # Ultralytics evaluates the description of a network as Python: its class is no safe thing to call.
        "a class of Ultralytics": Calls(ClassificationModel, evaluated),
    }


@pytest.mark.parametrize("place", ["model", "ema", "train_args", "anything else"])
@pytest.mark.parametrize("payload", ["system", "process", "eval", "exec", "open", "a class of Ultralytics"])
def test_a_checkpoint_never_runs_code(load, content, witness, payload, place):
    content[place] = payloads(witness)[payload]
    refused = payload != "a class of Ultralytics"
    if refused or place in ("model", "ema"):
        with pytest.raises(BackboneError, match=r"^backbone 'lie\.pt' cannot be loaded: ") as caught:
            load(content)
        assert ("which could run code. None of it was run" in str(caught.value)) == refused
    else:
        load(content)


def test_code_inside_of_a_layer_never_runs(load, content, witness):
    content["model"].model[0].act.extra = payloads(witness)["a class of Ultralytics"]
    content["model"].model[0].conv._forward_hooks[0] = payloads(witness)["a class of Ultralytics"]
    assert load(content).cut.names == dict(enumerate(TINY_CLASSES))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_refused_and_not_read(tmp_path, models_folder, witness, protocol):
    for payload in payloads(witness).values():
        (models_folder / "lie.pt").write_bytes(pickle.dumps({"model": payload}, protocol=protocol))
        with pytest.raises(BackboneError, match="expected a checkpoint that torch.save wrote, found something else"):
            load_file(models_folder, tmp_path)


def test_the_old_format_of_torch_is_refused_and_not_read(tmp_path, models_folder, content, witness):
    import torch

    content["model"] = payloads(witness)["system"]
    torch.save(content, models_folder / "lie.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BackboneError, match="expected a checkpoint that torch.save wrote, found something else"):
        load_file(models_folder, tmp_path)


def test_a_program_of_torchscript_is_refused(tmp_path, models_folder):
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(models_folder / "lie.pt")
    with pytest.raises(BackboneError, match=r"'lie\.pt' cannot be loaded: .*torchscript"):
        load_file(models_folder, tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path, models_folder, tiny_checkpoint, share):
    whole = tiny_checkpoint.read_bytes()
    (models_folder / "lie.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BackboneError, match=r"'lie\.pt' cannot be loaded: expected a checkpoint that torch.save wrote"):
        load_file(models_folder, tmp_path)


def test_a_compressed_archive_that_would_grow_is_refused(tmp_path, models_folder, tiny_checkpoint):
    packed = io.BytesIO()
    with zipfile.ZipFile(tiny_checkpoint) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in whole.infolist():
            archive.writestr(entry.filename, whole.read(entry))
        archive.writestr("tiny-cls/data/bomb", bytes(10_000_000))
    (models_folder / "lie.pt").write_bytes(packed.getvalue())
    with pytest.raises(BackboneError, match="found a compressed archive"):
        load_file(models_folder, tmp_path)


def test_a_tensor_that_claims_to_be_huge_is_refused_before_it_is_made(load, content):
    import torch

    linear = content["model"].model[-1].linear
    linear.weight = torch.nn.Parameter(torch.zeros(1).as_strided((10**6, 10**6), (0, 0)), requires_grad=False)
    with pytest.raises(BackboneError, match="its weights are far larger than the file"):
        load(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model=None), "expected a checkpoint that Ultralytics wrote, found NoneType as its model"),
        (lambda c: c.update(model=c["model"].state_dict()), "expected a checkpoint that Ultralytics wrote, found OrderedDict"),
        (
            lambda c: c.update(train_args={"imgsz": 10**9}),
            "expected pictures of 1 to 2048 pixels a side, found imgsz 1000000000",
        ),
        (lambda c: c.update(train_args={"imgsz": "big"}), "found imgsz big"),
        (lambda c: c.update(train_args={"imgsz": [64, -1]}), r"found imgsz \[64, -1\]"),
        (lambda c: setattr(c["model"], "names", {}), "expected one output for each of its 0 classes"),
        (lambda c: setattr(c["model"].model[-1], "export", True), "expected one output for each"),
        (lambda c: setattr(c["model"].model[-1], "linear", None), "TypeError"),
        (lambda c: setattr(c["model"].model[0], "f", [10**9]), "IndexError"),
    ],
)
def test_a_checkpoint_that_fits_no_network_is_refused_when_it_is_loaded(load, content, change, message):
    content["ema"] = None
    change(content)
    with pytest.raises(BackboneError, match=rf"^backbone 'lie\.pt' cannot be loaded: .*{message}"):
        load(content)


def test_weights_of_another_shape_are_refused_when_they_are_loaded(load, content):
    import torch

    content["model"].model[1].conv.weight = torch.nn.Parameter(torch.zeros(1, 1, 1, 1), requires_grad=False)
    with pytest.raises(BackboneError, match=r"^backbone 'lie\.pt' cannot be loaded: RuntimeError"):
        load(content)


def test_a_layer_that_is_not_known_is_refused_by_its_name(load, content):
    import torch

    content["model"].model[0].act = torch.nn.Threshold(0, 0)
    with pytest.raises(BackboneError, match=r"its layer torch\.nn\.modules\.activation\.Threshold is not one that"):
        load(content)


def test_a_network_that_contains_itself_is_refused(load, content):
    content["model"].model[0]._modules["again"] = content["model"].model[0]
    with pytest.raises(BackboneError, match=r"'lie\.pt' cannot be loaded"):
        load(content)


def same_answers(path, tmp_path):
    """True if a checkpoint's network is, bit by bit, the one that Ultralytics reads; its classes and size too."""
    import torch

    prepare_ultralytics(tmp_path / "ultralytics")
    from ultralytics import YOLO

    from framewise.features.ultralytics_checkpoint import read_checkpoint

    network, names, size = read_checkpoint(path)
    yolo = YOLO(str(path), task="classify")
    assert names == {int(k): str(v) for k, v in yolo.names.items()}
    assert size == yolo.overrides["imgsz"]
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = yolo.model.float().eval()(pictures)
        return all(torch.equal(ours, theirs) for ours, theirs in zip(network(pictures), expected, strict=True))


@pytest.mark.parametrize("name", ["yolov8n-cls", "yolo11n-cls", "yolo12n-cls", "yolo26n-cls"])
def test_every_generation_is_read_as_ultralytics_reads_it(tmp_path, name):
    prepare_ultralytics(tmp_path / "ultralytics")
    from ultralytics import YOLO

    yolo = YOLO(f"{name}.yaml", task="classify")
    yolo.ckpt = {"train_args": {"imgsz": 96, "task": "classify", "save_dir": Path("runs")}}
    yolo.save(tmp_path / f"{name}.pt")
    assert same_answers(tmp_path / f"{name}.pt", tmp_path)


def test_a_checkpoint_without_a_size_has_the_one_that_ultralytics_assumes(tmp_path, load, content):
    del content["train_args"]
    assert load(content).cut.image_size == 640


@pytest.mark.skipif(not FINE_TUNED.exists(), reason="no fine-tuned checkpoint beside the repository")
def test_a_checkpoint_that_somebody_fine_tuned_is_read_as_ultralytics_reads_it(tmp_path):
    assert same_answers(FINE_TUNED, tmp_path)
