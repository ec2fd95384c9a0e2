"""The minimal library: what it wants, how large it is, that its steps are those of xst run, and what it refuses."""

import os
import pathlib
import platform
import re
import shutil
import subprocess

import numpy as np
import pytest
import yaml

from safetensors_file import read_safetensors, write_safetensors
from xst_tool import BIN, VECTORS, cases, check, good, isas

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = VECTORS / "block_stack/readme_config"
SMALL = VECTORS / "block_stack/odd_sizes"
LIBC = set("""_setjmp exp floorf longjmp lrint memcmp memcpy memmove memset nextafterf snprintf strcmp strlen
              strncmp vsnprintf""".split())
# What a compiler makes of division by itself and of questions about the CPU, in libgcc.
LIBGCC = re.compile(r"__aeabi_\w+|__cpu_model|_GLOBAL_OFFSET_TABLE_")
CODE_BYTES = 150 * 1024
OTHER_BYTES = 16 * 1024  # memory beside weights and state, for the README configuration

ARM64 = platform.machine() == "aarch64"
BEST = "neon" if ARM64 else "avx2" if "avx2" in isas() else "scalar"
TARGETS = {  # name: instruction set, what a compiler's name starts with, emulator
    "native": (BEST, "", []),
    "aarch64": ("neon", "aarch64-linux-gnu-", ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
    "armhf": ("neon", "arm-linux-gnueabihf-", ["qemu-arm", "-L", "/usr/arm-linux-gnueabihf"]),
    "sanitized": ("scalar", "", []),  # and with every type of weights and both arithmetics
}
# ctest names one, so that it shows what is skipped.
CHOSEN = [os.environ["XST_MINIMAL_TARGET"]] if "XST_MINIMAL_TARGET" in os.environ else list(TARGETS)


def lacks(target):
    """Why a target cannot be built and run here, or None."""
    _, prefix, emulator = TARGETS[target]
    for program in [prefix + "gcc", prefix + "g++", *emulator[:1], "cmake", "ninja"]:
        if not shutil.which(program):
            return f"{target}: {program} is not installed: apps/packaging/packages-extra.txt names its package"


if all(map(lacks, CHOSEN)):
    pytest.skip(lacks(CHOSEN[0]), allow_module_level=True)


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


class Build:
    def __init__(self, target):
        self.target = target
        self.isa, self.prefix, self.emulator = TARGETS[target]
        if lacks(target):
            pytest.skip(lacks(target))
        self.folder = BIN.parent / f"minimal-{target}"
        self.flags = ["-O2", "-I", ROOT / "bindings/c"]
        options = [f"-DXST_MINIMAL_ISA={self.isa}"]
        if target == "sanitized":
            self.flags += ["-g", "-DSANITIZED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
            options += ["-DXST_SANITIZE=address,undefined", "-DXST_MINIMAL_DTYPES=f32;i16;bf16;i8",
                        "-DXST_MINIMAL_ARITHMETIC=single;wide"]
        elif self.prefix:
            options += [f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/apps/packaging/toolchains/{target}.cmake"]
        # A folder that later runs find again.
        run("cmake", "-S", ROOT, "-B", self.folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DXST_MINIMAL=ON",
            *options)
        run("cmake", "--build", self.folder, "-j2")
        self.library = self.folder / "lib/libxst_minimal.a"
        self.driver = self.folder / "minimal_check"
        self.link(self.driver, ROOT / "tests/install/minimal_check.c", "-DXXH_INLINE_ALL", "-isystem",
                  self.folder / "bindings/c/minimal/headers")

    def tool(self, name):
        return self.prefix + name

    def link(self, program, *sources):
        """By the C compiler: nothing of C++ is linked."""
        run(self.tool("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", *self.flags, *sources, self.library, "-lm",
            "-Wl,--gc-sections", "-o", program)

    def check(self, *arguments):
        """The driver's figures."""
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        lines = run(*self.emulator, self.driver, *arguments, env=environment).splitlines()
        return {name: int(value) if value.isdigit() else value for name, value in map(str.split, lines)}

    def steps(self, model, rows, folder):
        """The outputs of one stream [T, …], and the figures."""
        rows.tofile(folder / "in")
        said = self.check("steps", model, folder / "in", folder / "out")
        return np.fromfile(folder / "out", np.float32).reshape(len(rows), -1), said

    def sections(self, program):
        """Bytes of code and constants, of data, and of zeroed data."""
        return [int(n) for n in run(self.tool("size"), program).splitlines()[1].split()[:3]]


@pytest.fixture(scope="module", params=CHOSEN)
def built(request):
    return Build(request.param)


@pytest.fixture(scope="module")
def lean(built):
    if built.target == "sanitized":
        pytest.skip("sanitizers make it large")
    return built


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """packed(case, dtype): its model file."""
    folder = tmp_path_factory.mktemp("models")

    def pack(case, dtype="f32"):
        model = folder / f"{case.name}-{dtype}.xst"
        if not model.exists():
            good("pack", case, "-o", model, "--dtype", dtype)
        return model

    return pack


def column(case):
    """Input and expected output of a case's first stream, [T, …]."""
    rows, expected = np.load(case / "input.npy"), np.load(case / "expected.npy")
    if rows.ndim == (2 if rows.dtype == np.int64 else 3):
        rows, expected = rows[:, 0], expected[:, 0]
    return np.ascontiguousarray(rows), expected


def test_pack_writes_the_file_as_c(tmp_path):
    good("pack", SMALL, "-o", tmp_path / "m.xst")
    good("pack", SMALL, "-o", tmp_path / "a-b.2.xst", "--c-array")
    good("pack", SMALL, "-o", tmp_path / "7.c", "--c-array")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["7.c", "a-b.2.c", "a-b.2.xst", "m.xst"]
    expected = (tmp_path / "m.xst").read_bytes()
    for source, name in [("a-b.2.c", "a_b_2_xst"), ("7.c", "model_7_xst")]:
        text = (tmp_path / source).read_text()
        size = len(expected)
        assert f"\nalignas(64) const unsigned char {name}[{size}] = {{" in text
        assert f"const size_t {name}_len = {size};" in text
        assert bytes(map(int, text[text.index("= {") + 3:text.index("\n};")].split(",")[:-1])) == expected


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["g++", "-xc++", "-std=c++11"], ["g++", "-xc++", "-std=c++20"]],
                         ids=lambda c: c[-1])
def test_the_file_as_c_is_c_and_cpp(compiler, tmp_path):
    good("pack", SMALL, "-o", tmp_path / "m.xst", "--c-array")
    run(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", tmp_path / "m.c", "-o", tmp_path / "m.o")
    symbols = {line.split()[-1] for line in run("nm", "-g", "--defined-only", tmp_path / "m.o").splitlines()}
    assert symbols == {"m_xst", "m_xst_len"}
    assert re.search(r"\.rodata\S* .* 2\*\*[6-9]", run("objdump", "-h", tmp_path / "m.o"))


@pytest.mark.skipif(ARM64 or CHOSEN[0] != "native", reason="the targets' own flags are x86's")
@pytest.mark.parametrize("isa, flags", [("avx2", "-march=icelake-server"), ("neon", "")])
def test_an_instruction_set_that_the_flags_replace_is_refused(isa, flags, tmp_path):
    done = subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", "-DXST_MINIMAL=ON", f"-DXST_MINIMAL_ISA={isa}",
                           f"-DCMAKE_CXX_FLAGS={flags}"], capture_output=True, text=True)
    assert done.returncode != 0 and "XST_MINIMAL_ISA: expected" in done.stderr and f"got {isa}" in " ".join(done.stderr.split())


def test_it_wants_libc_alone(lean):
    undefined = {line.split()[-1] for line in run(lean.tool("nm"), "-u", lean.library).splitlines() if " U " in line}
    assert {name for name in undefined if name not in LIBC and not LIBGCC.fullmatch(name)} == set()
    symbols = run(lean.tool("nm"), "-g", "--defined-only", lean.library).splitlines()
    defined = {line.split()[-1] for line in symbols if len(line.split()) == 3}
    assert "xst_session_step" in defined and all(name.startswith("xst_") for name in defined)


def test_code_size(lean, tmp_path):
    good("pack", SMALL, "-o", tmp_path / "model.xst", "--c-array")
    lean.link(tmp_path / "embedded", ROOT / "apps/examples/embedded.c", tmp_path / "model.c", "-s")
    text, _, _ = lean.sections(tmp_path / "embedded")
    code = text - (tmp_path / "model.xst").stat().st_size
    print(f"{lean.target} {lean.isa}: code {code}")
    assert code <= CODE_BYTES
    rows, _ = column(SMALL)
    said = run(*lean.emulator, tmp_path / "embedded", input="\n".join(" ".join(f"{v:.9g}" for v in r) for r in rows))
    outputs, _ = lean.steps(tmp_path / "model.xst", rows, tmp_path)
    assert np.array_equal(np.array([line.split() for line in said.splitlines()], np.float32), outputs)
    one, width = " ".join(["0.5"] * rows.shape[1]), rows.shape[1]
    for text, end in [("0.5", "no more"), ("0.5 x", "other text")]:
        done = subprocess.run([*lean.emulator, tmp_path / "embedded"], input=f"{one}\n{text}\n", capture_output=True, text=True)
        assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
        assert f"embedded: row 2: expected {width} numbers, got 1 and then {end}" in done.stderr


def test_memory_and_steps_of_the_readme_configuration(lean, packed, tmp_path):
    rows, expected = column(README)
    outputs, said = lean.steps(packed(README), rows, tmp_path)
    library = next(lean.folder.rglob("xst_minimal.o"))
    _, data, bss = lean.sections(library)
    other = said["arena"] - said["state"] + data + bss
    print(f"{lean.target} {lean.isa}: {other} bytes beside weights and state, stack {said['stack_to_open']} to open, "
          f"{said['stack_to_step']} to step")
    assert other <= OTHER_BYTES
    if lean.target == "native":
        np.save(tmp_path / "x.npy", rows)
        good("run", packed(README), "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--isa", lean.isa)
        assert np.array_equal(outputs.view(np.uint32), np.load(tmp_path / "y.npy").view(np.uint32))
    check(outputs, README, expected=expected)


@pytest.mark.parametrize("case", [c for c in cases("block_stack", "large", "stream") if c != README],
                         ids=lambda case: case.name)
def test_every_family(built, packed, case, tmp_path):
    rows, expected = column(case)
    outputs, said = built.steps(packed(case), rows, tmp_path)
    if said["arithmetic"] == "wide":
        return check(outputs, case, expected=expected)
    # In float where xst run takes double.
    missing = np.isnan(expected)
    assert (np.isnan(outputs) == missing).all()
    assert np.abs(outputs - expected)[~missing].max() <= 1e-4 * np.abs(expected[~missing]).max()


@pytest.mark.parametrize("dtype", ["f32", "i16", "bf16", "i8"])
def test_every_type_steps_as_xst_run(built, packed, dtype, tmp_path):
    if built.target != "sanitized":
        pytest.skip("built for float and f32")
    for case in [README, SMALL, VECTORS / "large/01_single_defaults", VECTORS / "stream/forecaster"]:
        rows, _ = column(case)
        model = packed(case, dtype)
        outputs, _ = built.steps(model, rows, tmp_path)
        np.save(tmp_path / "x.npy", rows)
        good("run", model, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--isa", built.isa)
        assert np.array_equal(outputs.view(np.uint32), np.load(tmp_path / "y.npy").view(np.uint32))


@pytest.mark.parametrize("case", ["block_stack/lm_tied", "stream/classifier", "large/02_fused_bias", "tirex/01_small"])
def test_bad_files_and_small_arenas_are_refused(built, packed, case):
    built.check("hostile", packed(VECTORS / case), 200 if built.emulator else 1000)


def test_snapshots_of_other_models_and_bad_ones_are_refused(built, packed, tmp_path):
    shutil.copy(SMALL / "config.yaml", tmp_path)
    weights = {name: 0.5 * value for name, value in read_safetensors(SMALL / "weights.safetensors").items()}
    write_safetensors(tmp_path / "weights.safetensors", weights)
    good("pack", tmp_path, "-o", tmp_path / "weights.xst")
    built.check("snapshots", packed(SMALL), packed(VECTORS / "stream/forecaster"), tmp_path / "weights.xst")


def test_many_inputs_open_in_an_arena_as_told(built, tmp_path):
    """Names and units, which only opening needs, are most of what it takes here."""
    case, inputs = VECTORS / "stream/classifier", 200
    config = yaml.safe_load((case / "config.yaml").read_text())
    config["stream"]["inputs"] = [{"name": f"channel {i} with a name", "unit": "a unit of measurement", "mean": 0.0, "std": 1.0,
                                   "missing": "hold"} for i in range(inputs)]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    weights = read_safetensors(case / "weights.safetensors")
    encoder, = [name for name, value in weights.items() if "encoder" in name and value.ndim == 2]
    weights[encoder] = np.resize(weights[encoder], (len(weights[encoder]), inputs))
    write_safetensors(tmp_path / "weights.safetensors", weights)
    rows = np.random.default_rng(3).standard_normal((8, inputs), np.float32)
    np.save(tmp_path / "probe.npy", rows[:1])
    good("pack", tmp_path, "-o", tmp_path / "many.xst", "--probe", tmp_path / "probe.npy")
    outputs, said = built.steps(tmp_path / "many.xst", rows, tmp_path)
    assert np.isfinite(outputs).all()
    print(f"{built.target}: arena {said['arena']} for {inputs} inputs")


def test_what_a_build_lacks_is_named(lean, packed, tmp_path):
    """A model of other weights is refused, and says what to build."""
    (tmp_path / "in").write_bytes(b"")
    done = subprocess.run([*lean.emulator, lean.driver, "steps", packed(SMALL, "i16"), tmp_path / "in", tmp_path / "out"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "expected a type of XST_MINIMAL_DTYPES, got i16" in done.stderr
