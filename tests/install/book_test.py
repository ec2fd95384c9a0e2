"""The book, word for word: a model is exported on this machine, and the packages serve it in a bare Debian 12.

What differs from a reader's machines: pip takes the wheel that tests/python/venv has built of this tree and what Debian and tests/venv
have of PyTorch and xlstm; `sudo apt install` on this machine only checks that the packages are there; `scp` copies into the Debian's
folder; no systemd runs in a chroot, so tests/install/systemctl does what the unit says, for the packages' maintainer scripts, too. The device has no network but its own loopback: what apt needs is fetched before.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from pages import script, sections

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["XST_BIN_DIR"])
BOOK = sections((ROOT / "apps/book.md").read_text())
PULSE = ROOT / "build/pulse"
PATIENCE_S = 1800


def chapters(machine):
    return {name: text for name, text in BOOK.items() if name.endswith(f"({machine})")}


def bash(text, **options):
    done = subprocess.run(["bash", "-euvo", "pipefail", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, **options)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def tool(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/bash\nset -euo pipefail\n" + text)
    (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Of this tree, from the objects that tests/python/venv has compiled."""
    folder = tmp_path_factory.mktemp("wheel")
    python = bash(f"{ROOT}/tests/python/venv", env=dict(os.environ)).split()[-1]
    bash(f'PATH={pathlib.Path(python).parent}:$PATH flock {ROOT}/build/python-venv.lock {python} -m pip wheel --quiet --no-deps '
         f'--no-build-isolation --config-settings=build-dir={ROOT}/build/python-venv/cmake -w {folder} {ROOT}/bindings/python')
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def brought(wheel, tmp_path_factory):
    """The folder that `scp` brings to the device, after the workstation's chapters."""
    folder = tmp_path_factory.mktemp("device")
    tools = tmp_path_factory.mktemp("tools")
    tool(tools, "scp", f'[[ ${{@: -1}} == device: ]]\ncp "${{@:1:$#-1}}" {folder}\n')
    tool(tools, "sudo", '[[ "$1 $2" == "apt install" ]]\ndpkg-query -W "${@:3}"\n')
    official = bash(f"""{ROOT}/tests/venv -c 'import sysconfig; print(sysconfig.get_path("purelib"))'""").split()[-1]
    shutil.rmtree(PULSE, ignore_errors=True)
    text = "".join(script(body) for body in chapters("workstation").values())
    assert "./bindings/python" in text
    text = text.replace("python3 -m venv", "/usr/bin/python3 -m venv").replace("./bindings/python", str(wheel))
    out = bash(text, cwd=ROOT, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": official, "PIP_NO_DEPS": "1",
                                    "PS1": ""})
    assert re.search(r"^model\.xst: block_stack f32, \d+ parameters, .* error ", out, re.M), out[-4000:]
    return folder


def test_a_workstation_builds_exports_and_sends(brought):
    names = sorted(p.name for p in brought.iterdir())
    assert [n for n in names if not n.endswith(".deb")] == ["model.xst", "recording.csv"]
    packages = {n.split("_")[0] for n in names if n.endswith(".deb")}
    assert packages - {"libxst-cuda0"} == {"libxst0.1", "libxst-dev", "xst-tools"}


# Before the book's own lines: tools of the test, and what apt will need.
PREPARE = r"""
cp /src/main/tools/* /usr/local/bin/
cp /src/main/tools/systemctl /usr/bin/  # where apt lets maintainer scripts look
echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false"; quiet "1";' > /etc/apt/apt.conf.d/98test
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/test
echo "127.0.0.1 localhost $(hostname)" > /etc/hosts
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install iproute2 sudo > /dev/null
rm -f /src/main/device/libxst-cuda0_*.deb
apt-get -qq install --download-only /src/main/device/*.deb gcc g++ cmake make pkg-config > /dev/null
cp /src/main/device/* /root
exec unshare --net bash -euvo pipefail /src/main/book.sh
"""

KEPT = r"""
set +v
echo "== removed"
test ! -e /usr/bin/xstd
test -s /etc/xstd/xstd.yaml
grep -q curve: /etc/xstd/xstd.yaml
test -n "$(ls /var/lib/xstd)"
test -L /etc/systemd/system/multi-user.target.wants/xstd.service
test ! -e /run/xstd.pid
set -v
"""

# (a command of the book, what the test does before it, and after it).
AROUND = (
    ("sudo apt install --reinstall", "was=$(cat /run/xstd.pid)\n", 'test "$(cat /run/xstd.pid)" != "$was" -a ! -e "/proc/$was"\n'),
    ("sudo apt remove", "systemctl start xstd\n", KEPT),
    ("sudo apt purge", "", 'test -s /etc/xstd/device.secret -a -z "$(find /etc /var -xdev \\( -nouser -o -nogroup \\))"\n'),
)

LEFT = r"""
set +v
echo "== left"
find / -xdev -path /src -prune -o -path /root -prune -o -path /proc -prune -o -path /run -prune -o -iname '*xst*' -print
find / -xdev -path /src -prune -o -path /proc -prune -o \( -nouser -o -nogroup \) -print
getent passwd xstd || true
getent group xstd || true
dpkg-query -W -f '${Package} ${db:Status-Status}\n' | grep xst || true
"""


def can_isolate():
    return subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def device(brought, tmp_path_factory):
    """{chapter: what its commands said} on the device."""
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not can_isolate():
        pytest.skip("expected root, debootstrap and namespaces; the packages are not tried in a bare Debian")
    folder = tmp_path_factory.mktemp("bring")
    shutil.copytree(brought, folder / "device")
    tool(folder / "tools", "journalctl", '[[ "$1 $2 $3" == "-u xstd -n" ]]\nexec tail -n "$4" /run/xstd.log\n')
    shutil.copy(ROOT / "tests/install/systemctl", folder / "tools/systemctl")
    # For the packages' scripts systemd runs; `systemctl` stands in.
    parts = ["mkdir -p /run/systemd/system\nip link set lo up\ncd /root\nexport HOME=/root\n"]
    for name, body in chapters("device").items():
        parts.append(f'echo "== {name}"\n{script(body)}')
    book = "".join(parts) + LEFT
    for command, before, after in AROUND:
        line, = re.findall(rf"^{command} .*\n", book, re.M)
        book = book.replace(line, before + line + after)
    (folder / "book.sh").write_text(book)
    out = bash(f"exec {ROOT}/tests/install/chroot --bring {folder} bash -euo pipefail -c {quoted(PREPARE)}", cwd=ROOT)
    print(out)
    parts = re.split(r"^== (.*)\n", out, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def chapter(device, word):
    return next(text for name, text in device.items() if f" {word} (" in name)


def watched(text):
    """seq of what `xst watch` showed of the stream with its output."""
    return [int(seq) for seq in re.findall(r"^sensor/ t=\S+ seq=(\d+) .*ahead=-?[\d.]+ in ecg=", text, re.M)]


def test_the_model_runs_as_it_does_here(device, brought, tmp_path):
    subprocess.run([BIN / "xst", "run", brought / "model.xst", "--input", brought / "recording.csv", "--output", tmp_path / "y.csv"],
                   check=True)
    head = "".join((tmp_path / "y.csv").read_text().splitlines(True)[:3])
    assert head in chapter(device, "Run")


def test_the_service_steps_what_is_replayed(device):
    text = chapter(device, "Run")
    assert watched(text), text
    stepped = re.search(r"^sensor +up +([\d,]+) ", text, re.M)
    # All that were sent but, at most, those since the last refresh of the status.
    assert stepped and 7000 <= int(stepped[1].replace(",", "")) <= 7200, text


def test_programs_embed_it_in_c_and_cpp(device, brought, tmp_path):
    last = re.findall(r"^-?[\d.]+(?:e-\d+)?$", chapter(device, "Embed"), re.M)[-1]
    y = tmp_path / "y.csv"
    subprocess.run([BIN / "xst", "run", brought / "model.xst", "--input", brought / "recording.csv", "--output", y], check=True)
    assert float(y.read_text().split()[-1].split(",")[-1]) == pytest.approx(float(last), rel=1e-6)


def test_the_service_is_operated(device):
    text = chapter(device, "Operate")
    assert "reloaded: 0 of 1 streams" in text, text  # the same model again
    assert watched(text) and min(watched(text)) > 7200, text  # it went on behind what was stepped before


def test_nothing_is_left(device):
    assert "removed" in device and device["left"].strip() == "", device["left"]


def test_the_manual_pages_know_the_commands():
    page = (ROOT / "apps/packaging/debian/xst.1").read_text()
    said = subprocess.run([BIN / "xst", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  (\w+) +\S", said.split("Subcommands:")[1], re.M)
    assert sorted(commands) == sorted(re.findall(r"^\.TP\n\.B (\w+)$", page, re.M))
    page = (ROOT / "apps/packaging/debian/xstd.8").read_text().replace("\\-", "-")
    said = subprocess.run([BIN / "xstd", "--help"], capture_output=True, text=True, check=True).stdout
    for option in set(re.findall(r"--[\w-]+", said)) - {"--help", "--version"}:
        assert option in page, option
