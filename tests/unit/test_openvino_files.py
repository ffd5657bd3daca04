"""ONNX and OpenVINO files as backbones: the numbers of a plain forward pass, and legible refusals of all else."""

import ast
import json
import shutil

import numpy as np
import pytest
import torch

from framewise.core.errors import BackboneError
from framewise.features.engines import Compute

onnx = pytest.importorskip("onnx")
ov = pytest.importorskip("openvino")

SIDE, FEATURES, NAMES = 32, 6, ["walking", "running", "lying down"]
COMPUTE = Compute("auto", "float32", 1)
RNG = np.random.default_rng(0)
FILTERS = RNG.normal(size=(FEATURES, 3, 3, 3)).astype(np.float32)
WEIGHT = RNG.normal(size=(FEATURES, len(NAMES))).astype(np.float32)
BIAS = RNG.normal(size=len(NAMES)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
FLOAT = onnx.TensorProto.FLOAT


def features_of(given):
    """Features (N, 6) of input (N, 3, S, S) by PyTorch: a convolution, ReLU, and the mean."""
    convolved = torch.conv2d(torch.from_numpy(given.astype(np.float32)), torch.from_numpy(FILTERS), padding=1)
    return convolved.relu().mean((2, 3)).numpy()


def expected_features(mean=0.0, std=1.0, pictures=PICTURES):
    return features_of(((pictures / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2))


def node(name, given, made, **attributes):
    return onnx.helper.make_node(name, given, made, **attributes)


MAP = [node("Conv", ["pictures", "filters"], ["convolved"], pads=[1, 1, 1, 1]), node("Relu", ["convolved"], ["map"])]
POOLED = [*MAP, node("GlobalAveragePool", ["map"], ["mean"]), node("Flatten", ["mean"], ["features"])]
CLASSIFIER = [
    *POOLED,
    node("Gemm", ["features", "weight", "bias"], ["logits"]),
    node("Softmax", ["logits"], ["probabilities"], axis=1),
]


def write_onnx(path, nodes, outputs, shape=("N", 3, SIDE, SIDE), told=None, kind=FLOAT, more=None):
    """A file with the nodes; told: its metadata."""
    tensors = {"filters": FILTERS, "weight": WEIGHT, "bias": BIAS, **(more or {})}
    used = {name for made in nodes for name in made.input}
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("pictures", kind, shape)],
        [onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items() if name in used],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("org.example", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.helper.set_model_props(model, told or {})
    path.write_bytes(model.SerializeToString())
    return path


TOLD = {"names": str(dict(enumerate(NAMES))), "imgsz": f"[{SIDE}, {SIDE}]", "task": "classify"}


def computed(backbones, name, pictures=PICTURES):
    return backbones.load(backbones.find(name)).engine(COMPUTE)(pictures)


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [("N", 3, SIDE, SIDE), (1, 3, SIDE, SIDE), (4, 3, SIDE, SIDE), ("N", 3, "H", "W")], ids=str)
def test_a_classifiers_features_are_the_input_of_its_last_layer_and_its_classes_are_known(models, backbones, shape):
    write_onnx(models / "mine.onnx", CLASSIFIER, ["probabilities"], shape, TOLD)
    file = backbones.find("mine.onnx")
    features = computed(backbones, "mine.onnx")
    assert_equal(features, expected_features())
    logits = expected_features() @ WEIGHT + BIAS
    assert list(backbones.head(file).names.values()) == NAMES
    assert_equal(backbones.head(file).probabilities(features), torch.softmax(torch.from_numpy(logits), 1).numpy())


def test_a_network_without_names_of_classes_gives_its_output_and_refuses_simple_mode(models, backbones):
    write_onnx(models / "mine.onnx", CLASSIFIER[:-1], ["logits"])
    assert_equal(computed(backbones, "mine.onnx"), expected_features() @ WEIGHT + BIAS)
    with pytest.raises(BackboneError, match="has no classes that labels could mean: set model_trainable"):
        backbones.head(backbones.find("mine.onnx"))


def test_a_map_is_pooled_over_its_places(models, backbones):
    write_onnx(models / "mine.onnx", MAP, ["map"])
    assert_equal(computed(backbones, "mine.onnx"), expected_features())


def test_normalisation_order_of_colours_and_names_come_from_the_file_beside_it(models, backbones):
    write_onnx(models / "mine.onnx", CLASSIFIER, ["probabilities"])
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    told = {"mean": mean, "std": std, "colors": "BGR", "names": NAMES, "licence": "MIT"}
    before = backbones.find("mine.onnx").content
    (models / "mine.onnx.json").write_text(json.dumps(told))
    file = backbones.find("mine.onnx")
    assert file.content != before
    # The network sees blue first, and so its mean and deviation are those of blue.
    assert_equal(computed(backbones, "mine.onnx"), expected_features(mean, std, PICTURES[..., ::-1]))
    assert list(backbones.head(file).names.values()) == NAMES
    assert backbones.licence(file) == "MIT"


def test_the_resizing_of_the_file_beside_it_is_used(models, backbones):
    write_onnx(models / "mine.onnx", POOLED, ["features"])
    (models / "mine.onnx.json").write_text('{"crop_pct": 0.5, "interpolation": "bicubic"}')
    cut = backbones.load(backbones.find("mine.onnx")).cut
    assert (cut.resizing.side, cut.resizing.filter) == (2 * SIDE, "bicubic")


def test_pictures_as_whole_numbers_with_colours_last_are_given_as_they_are(models, backbones):
    scaled = [
        node("Cast", ["pictures"], ["numbers"], to=FLOAT),
        node("Transpose", ["numbers"], ["turned"], perm=[0, 3, 1, 2]),
        node("Conv", ["turned", "filters"], ["convolved"], pads=[1, 1, 1, 1]),
        *POOLED[1:],
    ]
    write_onnx(models / "mine.onnx", scaled, ["features"], ("N", SIDE, SIDE, 3), kind=onnx.TensorProto.UINT8)
    assert_equal(computed(backbones, "mine.onnx"), features_of(PICTURES.transpose(0, 3, 1, 2)))


def test_a_network_made_for_one_picture_gets_one_after_the_other(models, backbones):
    baked = [*POOLED[:-1], node("Reshape", ["mean", "shape"], ["features"])]
    shape = np.array([1, FEATURES])
    write_onnx(models / "mine.onnx", baked, ["features"], (1, 3, SIDE, SIDE), more={"shape": shape})
    assert_equal(computed(backbones, "mine.onnx"), expected_features())


@pytest.mark.parametrize(("pool", "expected"), [("first", 0), ("mean", None)])
def test_tokens_are_pooled_as_the_file_beside_it_says(models, backbones, pool, expected):
    nodes = [*MAP, node("Reshape", ["map", "flat"], ["places"]), node("Transpose", ["places"], ["tokens"], perm=[0, 2, 1])]
    write_onnx(models / "mine.onnx", nodes, ["tokens"], more={"flat": np.array([0, FEATURES, SIDE * SIDE])})
    with pytest.raises(BackboneError, match=r'write {"pool": "mean"} to mine.onnx.json, or "first"'):
        computed(backbones, "mine.onnx")
    (models / "mine.onnx.json").write_text(json.dumps({"pool": pool}))
    given = torch.from_numpy((PICTURES / 255).transpose(0, 3, 1, 2).astype(np.float32))
    places = torch.conv2d(given, torch.from_numpy(FILTERS), padding=1).relu().flatten(2)
    assert_equal(computed(backbones, "mine.onnx"), (places.mean(2) if expected is None else places[:, :, expected]).numpy())


def test_openvinos_own_format_is_the_same_network(models, backbones):
    source = write_onnx(models / "mine.onnx", CLASSIFIER, ["probabilities"], told=TOLD)
    ov.save_model(ov.Core().read_model(source), models / "converted.xml", compress_to_fp16=False)
    assert_equal(computed(backbones, "converted.xml"), expected_features())
    assert list(backbones.head(backbones.find("converted.xml")).names.values()) == NAMES
    before = backbones.find("converted.xml").content
    content = bytearray((models / "converted.bin").read_bytes())
    content[0] ^= 1
    (models / "converted.bin").write_bytes(content)
    assert backbones.find("converted.xml").content != before
    (models / "converted.bin").unlink()
    with pytest.raises(BackboneError, match=r"'converted.xml': its data is in 'converted.bin'; put that file beside it"):
        backbones.find("converted.xml")


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_exports_of_ultralytics_give_the_features_of_the_checkpoint(models, backbones, tmp_path, tiny_checkpoint, form):
    from ultralytics import YOLO

    shutil.copy(tiny_checkpoint, tmp_path / "tiny.pt")
    shutil.copy(tiny_checkpoint, models / "tiny.pt")
    more = {"simplify": False, "opset": 17} if form == "onnx" else {}
    exported = YOLO(tmp_path / "tiny.pt").export(format=form, imgsz=64, verbose=False, **more)
    names = {"onnx": ["tiny.onnx"], "openvino": ["tiny.xml", "tiny.bin"]}[form]
    for name in names:
        shutil.copy(exported if form == "onnx" else tmp_path / "tiny_openvino_model" / name, models / name)
    pictures = RNG.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    plain = backbones.load(backbones.find("tiny.pt")).cut.module
    with torch.inference_mode():
        expected = plain(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).numpy()
    found = computed(backbones, names[0], pictures)
    assert_equal(found, expected)
    own, checkpoints = (backbones.head(backbones.find(name)) for name in (names[0], "tiny.pt"))
    assert [name.replace(" ", "_") for name in checkpoints.names.values()] == list(own.names.values())
    assert_equal(own.probabilities(found), checkpoints.probabilities(expected))


def test_data_in_a_second_file_is_read_and_is_a_part_of_the_identity(models, backbones):
    model = onnx.load(write_onnx(models / "whole.onnx", POOLED, ["features"]))
    onnx.save(model, models / "mine.onnx", save_as_external_data=True, location="mine.onnx.data", size_threshold=0)
    assert_equal(computed(backbones, "mine.onnx"), expected_features())
    before = backbones.find("mine.onnx").content
    content = bytearray((models / "mine.onnx.data").read_bytes())
    content[0] ^= 1
    (models / "mine.onnx.data").write_bytes(content)
    assert backbones.find("mine.onnx").content != before
    (models / "mine.onnx.data").unlink()
    with pytest.raises(BackboneError, match=r"its data is in 'mine.onnx.data'; put that file beside it"):
        backbones.find("mine.onnx")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "folder/data", ".hidden"])
def test_data_elsewhere_is_refused_also_inside_of_operations(models, backbones, location):
    tensor = onnx.numpy_helper.from_array(np.array([0, FEATURES]), "shape")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    nodes = [*POOLED[:-1], node("Constant", [], ["shape"], value=tensor), node("Reshape", ["mean", "shape"], ["features"])]
    (models.parent / "secret").write_bytes(bytes(64))
    write_onnx(models / "mine.onnx", nodes, ["features"])
    with pytest.raises(BackboneError, match=r"its data is in '.*'; put that file beside it"):
        backbones.find("mine.onnx")


REFUSED = {
    "one colour": (
        ([node("Flatten", ["pictures"], ["all"])], ["all"], ("N", 1, SIDE, SIDE)),
        r"expected one input of pictures.*found \[\?,1,32,32\]",
    ),
    "not square": ((POOLED, ["features"], ("N", 3, 32, 64)), "export the network for square pictures"),
    "any size": ((POOLED, ["features"], ("N", 3, "H", "W")), r'any size; write {"size": 224}, or another, to mine.onnx.json'),
    "two outputs": ((CLASSIFIER, ["features", "logits"]), r"found \['features', 'logits'\]; write {\"output\": \"NAME\"}"),
    "another task": ((POOLED, ["features"], ("N", 3, 32, 32), {"task": "detect"}), "found one for the task 'detect'"),
    "an operation of its own": (
        ([*POOLED, node("Mine", ["features"], ["own"], domain="org.example")], ["own"]),
        "No conversion rule found for operations: org.example.Mine",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_network_of_pictures_is_refused_with_what_was_expected(models, backbones, case):
    given, message = REFUSED[case]
    write_onnx(models / "mine.onnx", *given)
    with pytest.raises(BackboneError, match=rf"^backbone 'mine.onnx' cannot be loaded: .*{message}"):
        computed(backbones, "mine.onnx")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"meen": [0, 0, 0]}, "expected keys of .*; did you mean 'mean'"),
        ({"mean": [0, 0]}, r"mean: expected three numbers, found \[0, 0\]"),
        ({"std": [1, 0, 1]}, "std: expected three numbers above 0"),
        ({"size": "large"}, "size: expected a whole number from 16 to 2048, found 'large'"),
        ({"size": 64}, r"mine.onnx.json says size 64, but the network takes \[\?,3,32,32\]; remove the size"),
        ({"colors": "HSV"}, "colors: expected RGB or BGR"),
        ({"output": "other"}, r"names the output 'other', but the network has \['features'\]"),
        ([1], "expected an object"),
    ],
)
def test_a_wrong_file_beside_it_is_refused_with_the_key(models, backbones, told, message):
    write_onnx(models / "mine.onnx", POOLED, ["features"])
    (models / "mine.onnx.json").write_text(json.dumps(told))
    with pytest.raises(BackboneError, match=message):
        computed(backbones, "mine.onnx")


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(100), b"\x3a\xff\xff\xff\xff\x7f"], ids=repr)
def test_a_damaged_file_is_refused(models, backbones, content):
    (models / "mine.onnx").write_bytes(content)
    with pytest.raises(BackboneError, match="mine.onnx"):
        computed(backbones, "mine.onnx")


def test_a_truncated_file_is_refused(models, backbones):
    path = write_onnx(models / "mine.onnx", POOLED, ["features"])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BackboneError, match="expected an ONNX file, found something else"):
        computed(backbones, "mine.onnx")


def test_a_missing_file_suggests_one_that_is_there(models, backbones):
    write_onnx(models / "camera.onnx", POOLED, ["features"])
    with pytest.raises(BackboneError, match=r"no such file in the models folder; did you mean 'camera.onnx'\?"):
        backbones.find("camra.onnx")


def test_a_link_out_of_the_models_folder_is_refused(models, backbones):
    write_onnx(models.parent / "other.onnx", POOLED, ["features"])
    (models / "mine.onnx").symlink_to(models.parent / "other.onnx")
    with pytest.raises(BackboneError, match="leads outside the models folder"):
        backbones.find("mine.onnx")


def test_metadata_is_read_as_a_literal_and_never_run(models, backbones):
    told = {**TOLD, "names": "__import__('os').abort()"}
    with pytest.raises(ValueError, match="malformed"):
        ast.literal_eval(told["names"])
    write_onnx(models / "mine.onnx", CLASSIFIER, ["probabilities"], told=told)
    assert backbones.load(backbones.find("mine.onnx")).cut.names == {}
