"""What `cmake --install` leaves serves programs outside the tree: pkg-config, CMake in C and in C++, static and shared."""

import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from xst_tool import VECTORS, good

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["XST_BIN_DIR"]).parent
EXAMPLES = ROOT / "apps/examples"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*command, cwd=None, stdin=None, **env):
    done = subprocess.run(list(map(str, command)), cwd=cwd, input=stdin, capture_output=True, text=True,
                          env={**os.environ, **env}, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Installed, then moved: nothing may remember where it was put."""
    first = tmp_path_factory.mktemp("install") / "first"
    run("cmake", "--install", BUILD, "--prefix", first)
    moved = first.with_name("moved")
    shutil.move(first, moved)
    return moved


@pytest.fixture(scope="module")
def lib(prefix):
    return next(prefix.glob("lib*/**/libxst.so")).parent


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """A wrapped model, samples as text, and what `xst run` makes of them."""
    folder = tmp_path_factory.mktemp("stream")
    case, model = VECTORS / "stream/forecaster", folder / "m.xst"
    good("pack", case, "-o", model)
    x = np.load(case / "input.npy")
    assert np.isnan(x).any()
    np.save(folder / "x.npy", x)
    good("run", model, "--input", folder / "x.npy", "--output", folder / "y.npy")
    text = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in x) + "\n"
    return model, text, np.load(folder / "y.npy")


def check(program, stream, lib=None):
    model, text, expected = stream
    out = run(program, model, stdin=text, **({"LD_LIBRARY_PATH": str(lib)} if lib else {}))
    got = np.array([line.split() for line in out.splitlines()], dtype=np.float32)
    np.testing.assert_array_equal(got, expected)


def pkg_config(lib, *args):
    return run("pkg-config", *args, "xst", PKG_CONFIG_PATH=str(lib / "pkgconfig")).split()


def test_holds_what_is_promised(prefix, lib):
    files = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if not p.is_dir()}
    for name in ("include/xst.h", "include/xst/sdk/session.h", "bin/xst", "bin/xstd"):
        assert name in files
    for name in ("libxst.so", "libxst.so.0.1", "libxst.a", "libxst_zmq.a", "pkgconfig/xst.pc", "cmake/xst/xst-config.cmake"):
        assert (lib / name).exists(), name
    texts = [p for p in prefix.rglob("*") if p.suffix in (".pc", ".cmake", ".h")]
    assert len(texts) > 20
    for path in texts:
        assert str(ROOT) not in path.read_text(), path
    assert "libyaml" not in run("ldd", lib / "libxst.so")
    needed = run("readelf", "-d", lib / "libxst.so")
    assert re.search(r"SONAME.*libxst\.so\.0\.1\]", needed)


def test_installed_tools_work(prefix, tmp_path):
    case = VECTORS / "block_stack/kernel_one"
    run(prefix / "bin/xst", "pack", case, "-o", tmp_path / "m.xst")
    run(prefix / "bin/xst", "verify", tmp_path / "m.xst")


def test_headers_stand_alone(prefix, tmp_path):
    """Each installed header compiles by itself from the installed tree."""
    for header in sorted((prefix / "include/xst").rglob("*.h")):
        name = header.relative_to(prefix / "include/xst")
        if name.parts[:2] == ("sdk", "zmq"):
            continue  # with the zmq component below
        source = tmp_path / "one.cc"
        source.write_text(f'#include "{name}"\n')
        run("g++", "-std=c++20", "-fsyntax-only", f"-I{prefix}/include/xst", source)


def test_pkg_config(lib, stream, tmp_path):
    program = tmp_path / "step"
    run("cc", "-std=c11", *WARNINGS, EXAMPLES / "step.c", "-o", program, *pkg_config(lib, "--cflags", "--libs"))
    check(program, stream, lib)
    assert pkg_config(lib, "--modversion") == ["0.1.0"]


def test_static_without_cmake(lib, stream, tmp_path):
    program = tmp_path / "step"
    flags = [f for f in pkg_config(lib, "--static", "--cflags", "--libs") if f != "-lxst"]
    run("cc", "-std=c11", *WARNINGS, EXAMPLES / "step.c", lib / "libxst.a", "-o", program, *flags)
    check(program, stream)


def test_interrupt_example(lib, stream, tmp_path):
    program = tmp_path / "interrupt"
    run("cc", "-std=c11", *WARNINGS, EXAMPLES / "interrupt.c", "-o", program, *pkg_config(lib, "--cflags", "--libs"), "-lm")
    ecg = tmp_path / "ecg.xst"
    good("pack", ROOT / "apps/demos/ecg/model", "-o", ecg)
    lines = run(program, ecg, LD_LIBRARY_PATH=str(lib)).splitlines()
    assert lines[9].startswith("200 samples, ") and lines[10].startswith("overruns")
    assert np.isfinite(float(lines[9].split()[-1]))


CONSUMER = """
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES {languages})
find_package(xst 0.1 REQUIRED COMPONENTS {components})
add_executable(consumer {source})
target_link_libraries(consumer PRIVATE {target})
"""


def consumer(prefix, folder, source, target, components="core", languages="C"):
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(
        CONSUMER.format(source=source, target=target, components=components, languages=languages))
    run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder / "build")
    return folder / "build/consumer"


def test_cmake_c(prefix, stream, tmp_path):
    check(consumer(prefix, tmp_path / "c", EXAMPLES / "step.c", "xst::xst"), stream)


def test_cmake_cpp(prefix, stream, tmp_path):
    check(consumer(prefix, tmp_path / "cpp", EXAMPLES / "step.cc", "xst::core", languages="CXX"), stream)


def test_cmake_c_and_cpp_static(prefix, stream, tmp_path):
    check(consumer(prefix, tmp_path / "both", EXAMPLES / "step.c", "xst::core", languages="C CXX"), stream)


def test_cmake_zmq(prefix, tmp_path):
    source = tmp_path / "z.cc"
    source.write_text("""
#include "sdk/zmq/message_source.h"
#include "sdk/zmq/pub_sink.h"
#include "sdk/zmq/endpoint.h"
#include "sdk/stream/loop.h"
int main() { return sizeof(xst::stream::Loop) + sizeof(xst::zeromq::PubSink) > 0 ? 0 : 1; }
""")
    run(consumer(prefix, tmp_path / "zmq", source, "xst::zmq", components="core zmq", languages="CXX"))


def test_cmake_c_static_without_a_cpp_compiler(prefix, stream, tmp_path):
    check(consumer(prefix, tmp_path / "c_static", EXAMPLES / "step.c", "xst::core"), stream)


def test_optional_component_that_is_not_there(prefix, stream, tmp_path):
    check(consumer(prefix, tmp_path / "optional", EXAMPLES / "step.c", "xst::xst",
                   components="core OPTIONAL_COMPONENTS gpu"), stream)


def test_unknown_component_is_named(prefix, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER.format(source="x.c", target="xst::xst", components="gpu", languages="C"))
    done = subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}"],
                          capture_output=True, text=True)
    assert done.returncode != 0 and "core, zmq, got gpu" in " ".join(done.stderr.split())
