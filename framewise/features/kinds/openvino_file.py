"""ONNX files and OpenVINO's own in the models folder, run by OpenVINO."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from framewise.core.errors import BackboneError
from framewise.features.engines import FeatureNetwork, has_openvino
from framewise.features.input_file import InputFile
from framewise.features.kinds.kind import UNKNOWN, NetworkKind, did_you_mean, file_inside, is_plain
from framewise.features.onnx_parts import external_files

ONNX, IR = ".onnx", ".xml"


class OpenVinoFile(NetworkKind):
    """A .onnx file, or a .xml file with its .bin file."""

    title = "ONNX or OpenVINO file"
    expected = "that of a .onnx or .xml file (OpenVINO's) there"

    def claims(self, name: str) -> bool:
        return is_plain(name, ONNX, IR)

    def files(self, name: str, folder: Path) -> list[Path]:
        path = folder / name
        if not path.is_file():
            near = did_you_mean(name, self.at_hand(folder))
            raise BackboneError(f"backbone {name!r}: no such file in the models folder; {near}put the file there")
        found = [file_inside(folder, path, name)]
        for other in [path.with_suffix(".bin").name] if path.suffix == IR else _data_of(path):
            if not is_plain(other) or not (folder / other).is_file():
                raise BackboneError(f"backbone {name!r}: its data is in {other!r}; put that file beside it")
            found.append(file_inside(folder, folder / other, name))
        if (description := InputFile.path_of(path)).is_file():
            found.append(file_inside(folder, description, name))
        return found

    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        if not has_openvino():
            raise BackboneError("OpenVINO runs such files and is not installed; pip install openvino")
        from framewise.features.openvino_network import read_network

        return read_network(files[0], InputFile.beside(files[0]))

    def at_hand(self, folder: Path) -> list[str]:
        names = sorted(path.name for suffix in (ONNX, IR) for path in folder.glob(f"[!.]*{suffix}"))
        return [name for name in names if not name.endswith(IR) or (folder / name).with_suffix(".bin").is_file()]

    def licence(self, name: str, files: Sequence[Path]) -> str:
        return InputFile.beside(files[0]).licence or UNKNOWN


def _data_of(path: Path) -> list[str]:
    stat = path.stat()
    return _external_files(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _external_files(path: Path, size: int, modified: int) -> list[str]:
    return external_files(path)
