"""Builds this folder with scikit-build-core, and adds to a source distribution what lies outside: the C++ library."""

import io
import pathlib
import tarfile

from scikit_build_core.build import *  # noqa: F401, F403: wheels are its affair
from scikit_build_core.build import build_sdist as _build_sdist

HERE = pathlib.Path(__file__).resolve().parent
# What the library is made of, from the top of a clone.
LIBRARY = ["CMakeLists.txt", "LICENSE", "THIRD_PARTY.md", "formats", "kernels", "sdk", "bindings/CMakeLists.txt", "bindings/c",
           "apps/packaging"]


def _sources():
    """The top of the C++ sources: carried in cpp/, or the clone around this folder."""
    carried = HERE / "cpp"
    return carried if carried.is_dir() else HERE.parents[1]


def _library_files(root):
    for name in LIBRARY:
        path = root / name
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in found:
            if file.is_file():
                yield file, file.relative_to(root).as_posix()


def build_sdist(sdist_directory, config_settings=None):
    name = _build_sdist(sdist_directory, config_settings)
    if (HERE / "cpp").is_dir():
        return name
    path = pathlib.Path(sdist_directory) / name
    held = io.BytesIO(path.read_bytes())
    top = name.removesuffix(".tar.gz")
    with tarfile.open(fileobj=held) as old, tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
        for file, inside in _library_files(_sources()):
            new.add(file, f"{top}/cpp/{inside}")
    return name

