"""What the Debian packages hold, before anything is installed."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["XST_BIN_DIR"]).parent


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Deb:
    def __init__(self, path, folder):
        self.path, self.root = path, folder
        run("dpkg-deb", "-x", path, folder)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                self.members = {m.name.removeprefix("."): m for m in archive}
        self.files = {n for n, m in self.members.items() if not m.isdir()}

    def field(self, name):
        return run("dpkg-deb", "-f", self.path, name).strip()

    def depends(self):
        return {re.match(r"\S+", part.strip())[0] for part in self.field("Depends").split(",")}


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debs")
    run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder / "out")
    return {path.name.split("_")[0]: Deb(path, folder / path.stem) for path in (folder / "out").glob("*.deb")}


@pytest.fixture(scope="module")
def libdir():
    return "/usr/lib/" + run("cc", "-print-multiarch").strip()


def test_every_file_is_where_debian_has_it(debs, libdir):
    assert set(debs) - {"libxst-cuda0"} == {"libxst0.1", "libxst-dev", "xst-tools"}
    for name, deb in debs.items():
        doc = f"/usr/share/doc/{name}/"
        assert {doc + "copyright", doc + "changelog.gz", doc + "changelog.Debian.gz"} <= deb.files
        assert "Apache License" in (deb.root / doc[1:] / "copyright").read_text()
    code = {name: {f for f in deb.files if not f.startswith("/usr/share/doc/")} for name, deb in debs.items()}
    assert code["libxst0.1"] == {f"{libdir}/libxst.so.0.1", f"{libdir}/libxst.so.0.1.0"}
    assert code["xst-tools"] == {"/usr/bin/xst", "/usr/bin/xstd", "/etc/xstd/xstd.yaml", "/lib/systemd/system/xstd.service",
                                 "/usr/share/man/man1/xst.1.gz", "/usr/share/man/man8/xstd.8.gz"}
    headers = {f for f in code["libxst-dev"] if f.startswith("/usr/include/")}
    assert {"/usr/include/xst.h", "/usr/include/xst/sdk/session.h"} <= headers
    libraries = {f.removeprefix(libdir) for f in code["libxst-dev"] - headers}
    assert libraries == {"/libxst.a", "/libxst.so", "/libxst_zmq.a", "/pkgconfig/xst.pc", *(
        f"/cmake/xst/xst-{f}.cmake" for f in ("config", "config-version", "core", "core-release", "zmq", "zmq-release"))}
    if "libxst-cuda0" in debs:
        assert {f.rsplit("/", 1)[1] for f in code["libxst-cuda0"]} == {"libxst_cuda.so.0", "libxst_cuda.so.0.1.0"}


def test_owners_and_modes(debs):
    for deb in debs.values():
        for name, member in deb.members.items():
            assert (member.uname, member.gname) == ("root", "root"), name
            runs = member.isdir() or name.startswith("/usr/bin/")
            assert member.issym() or member.mode == (0o755 if runs else 0o644), (name, oct(member.mode))


def test_control(debs):
    assert "libxst0.1 (= 0.1.0-1)" in debs["libxst-dev"].field("Depends")
    assert debs["libxst0.1"].depends() <= {"libc6", "libgcc-s1", "libstdc++6", "libxxhash0"}
    assert {"adduser", "libzmq5", "libmosquitto1"} <= debs["xst-tools"].depends()
    assert not any("xst" in name for name in debs["xst-tools"].depends())
    control = lambda name, part: run("dpkg-deb", "-I", debs[name].path, part)  # noqa: E731
    assert control("xst-tools", "conffiles") == "/etc/xstd/xstd.yaml\n"
    assert control("libxst0.1", "shlibs").split()[:3] == ["libxst", "0.1", "libxst0.1"]
    assert "ldconfig" in control("libxst0.1", "triggers")
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n"], input=control("xst-tools", script), text=True, check=True)


def test_nothing_remembers_this_machine(debs, libdir):
    for name, deb in debs.items():
        for file in deb.files:
            path = deb.root / file[1:]
            if path.is_symlink() or path.suffix == ".gz":
                continue
            assert str(ROOT).encode() not in path.read_bytes(), file
            if path.read_bytes()[:4] == b"\x7fELF":
                assert not re.search("RPATH|RUNPATH", run("readelf", "-d", path)), file
                assert ".symtab" not in run("readelf", "-SW", path), f"{file}: not stripped"


def test_the_unit_names_what_is_installed(debs):
    tools = debs["xst-tools"]
    unit = (tools.root / "lib/systemd/system/xstd.service").read_text()
    for program in re.findall(r"^Exec\w+=(/usr/\S+)", unit, re.M):
        assert program in tools.files
    for config in re.findall(r"--config (\S+)", unit):
        assert config in tools.files


@pytest.mark.skipif(shutil.which("lintian") is None, reason="no lintian")
def test_lintian_has_no_errors(debs):
    done = subprocess.run(["lintian", "--allow-root", *(deb.path for deb in debs.values())], capture_output=True, text=True)
    assert not re.search(r"^E:", done.stdout, re.M), done.stdout
