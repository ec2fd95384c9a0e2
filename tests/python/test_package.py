"""The package as it is installed: source distribution, wheel, stubs."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import xlstm_stream as xst
from conftest import ROOT
from xst_tool import VECTORS

PACKAGE = ROOT / "bindings/python"
USE = """
import sys, numpy as np, xlstm_stream as xst
xst.pack(sys.argv[1], "m.xst")
with xst.Model("m.xst") as m, xst.Session(m) as s:
    np.save("y.npy", s.forward(np.load(sys.argv[1] + "/input.npy")[:, 0]))
assert m.closed and "torch" not in sys.modules
"""


def run(*args, cwd=None, **env):
    done = subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree():
    return {p for folder in (PACKAGE, ROOT / "sdk", ROOT / "formats") for p in folder.rglob("*")
            if "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(source distribution, wheel made of it) outside the tree, which stays as it is."""
    before, folder = tree(), tmp_path_factory.mktemp("dist")
    code = "import sys; sys.path.insert(0, '.'); import build_backend as b; print(b.build_sdist(sys.argv[1]))"
    name = run(sys.executable, "-c", code, folder, cwd=PACKAGE).split()[-1]
    assert tree() == before
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / name,
        cwd=folder, PATH=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    return folder / name, next(folder.glob("*.whl"))


def test_the_source_distribution_stands_alone(built):
    with tarfile.open(built[0]) as archive:
        names = archive.getnames()
    top = f"xlstm_stream-{xst.__version__}"
    assert all(n.split("/")[0] == top for n in names) and len(names) == len(set(names))
    for part in ("PKG-INFO", "pyproject.toml", "build_backend.py", "xlstm_stream/_core.pyi", "cpp/sdk/model.cc",
                 "cpp/kernels/cpu/linear.cc", "cpp/formats/model.fbs", "cpp/LICENSE", "cpp/THIRD_PARTY.md", "NOTICE",
                 "src/session.cc"):
        assert (f"{top}/{part}" in names) == (part != "xlstm_stream/_core.pyi"), part
    assert not any("__pycache__" in n or n.endswith((".so", ".xst")) for n in names)


def test_the_wheel_holds_what_is_needed_and_no_more(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
        wheel = {n.split("/")[-1] for n in names if n.startswith("xlstm_stream/")}
        info = f"xlstm_stream-{xst.__version__}.dist-info"
        needed = re.findall(r"^Requires-Dist: (\w+)", archive.read(f"{info}/METADATA").decode(), re.M)
        for name in ("LICENSE", "THIRD_PARTY.md"):
            assert archive.read(f"{info}/licenses/{name}") == (ROOT / name).read_bytes()
        notice = archive.read(f"{info}/licenses/NOTICE").decode()
    assert sorted(needed) == ["numpy", "pyyaml", "safetensors"]  # one command suffices
    for words in ("Copyright (c) 2022 Wenzel Jakob", "Neither the name", "Thibaut Goetghebuer-Planchon", "MIT License"):
        assert words in notice
    assert all(n.startswith(("xlstm_stream/", f"xlstm_stream-{xst.__version__}.dist-info/")) for n in names)
    sources = {p.name for p in (PACKAGE / "xlstm_stream").iterdir() if p.suffix == ".py"}
    assert {n for n in wheel if n.endswith(".py")} == sources and {"py.typed", "_core.pyi"} <= wheel
    assert len([n for n in wheel if n.endswith(".so")]) == 1 and len(wheel) == len(sources) + 3
    assert {n.removeprefix(f"{info}/") for n in names if n.startswith(info)} == {
        "METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "licenses/NOTICE", "licenses/THIRD_PARTY.md"}


def test_the_extension_needs_no_library_that_a_machine_may_lack(built, tmp_path):
    with zipfile.ZipFile(built[1]) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".so"))
        module = pathlib.Path(archive.extract(name, tmp_path))
    dynamic = run("readelf", "-d", module)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    assert needed <= {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"} | {n for n in needed if n.startswith("ld-linux")}
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    held = module.read_bytes()
    for place in (ROOT, tmp_path.parents[1], pathlib.Path.home() / ".cache"):
        assert str(place).encode() + b"/" not in held, place
    assert ".symtab" not in run("readelf", "-SW", module)  # stripped


def test_the_wheel_works_in_a_fresh_environment(built, tmp_path):
    run("/usr/bin/python3", "-m", "venv", "--system-site-packages", tmp_path / "v")
    python = tmp_path / "v/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", built[1])
    case = VECTORS / "block_stack/mlstm_defaults"
    run(python, "-c", USE, case, cwd=tmp_path)
    y, expected = np.load(tmp_path / "y.npy"), np.load(case / "expected.npy")[:, 0]
    assert np.abs(y - expected).max() < 1e-5


TYPED = '''
import numpy as np
import numpy.typing as npt
import xlstm_stream as xst

def steps(path: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with xst.Model(path, "cpu:2", isa=None) as model, xst.Session(model) as session:
        out: npt.NDArray[np.float32] = session.step(x, out=np.empty(model.output_width, np.float32))
        session.load(session.save(), allow_other_weights=True)
        name: str = model.outputs[0][0]
        quality: xst.Quality = xst.Quality(session.quality)
        passed: bool = model.verify().passed
        lane: int | None = xst.Lanes(model, 3).attach()
        print(name, quality, passed, lane)
        return out

def text(model: xst.Model) -> list[int]:
    return list(xst.generate(xst.Session(model), [1, 2], 5, top_p=0.9, seed=1))

report: xst.ExportReport = xst.export({}, "m.xst", config="x", dtype="i16")
error: float = report.error
'''
WRONG = '''
import xlstm_stream as xst
xst.Session("m.xst")
xst.Model(3)
xst.Session(xst.Model("a")).step([1.0], out=[2.0])
y: str = xst.Session(xst.Model("a")).save()
'''


def test_stubs_under_mypy(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "typed.py").write_text(TYPED)
    run(sys.executable, "-m", "mypy", "--strict", "typed.py", cwd=tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG)
    done = subprocess.run([sys.executable, "-m", "mypy", "wrong.py"], cwd=tmp_path, capture_output=True, text=True)
    assert len(re.findall(r"^wrong.py:\d+: error", done.stdout, re.M)) == 4, done.stdout


def test_the_package_itself_under_mypy(tmp_path):
    pytest.importorskip("mypy")
    run(sys.executable, "-m", "mypy", "--ignore-missing-imports", "--disable-error-code=import-untyped", "--cache-dir", tmp_path, "-p", "xlstm_stream",
        cwd=tmp_path)


def test_every_public_name_has_a_docstring():
    for name in xst.__all__:
        thing = getattr(xst, name)
        assert name == "__version__" or thing.__doc__, name
    for kind in (xst.Model, xst.Session, xst.Lanes, xst.Forecaster, xst.Sampler):
        for name, member in vars(kind).items():
            if not name.startswith("_") and callable(member):
                assert member.__doc__ and "\n" in member.__doc__, f"{kind.__name__}.{name}"
