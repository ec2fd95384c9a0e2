"""What each kernel of a program, shared library or object file uses on each architecture, read from
the device code inside it: nothing of the toolkit is needed.

A host ELF file holds fat binaries; one is a header and entries, each a header and an ELF file of
device code. There .nv.info has registers and stack by symbol, .nv.info.KERNEL the launch bounds and
the size of .nv.shared.KERNEL is the static shared memory (from sm_90 on with 1 KiB that the system
reserves)."""

import dataclasses
import pathlib
import re
import struct
import subprocess

FATBIN_MAGIC = 0xBA55ED50
KIND_ELF = 2
RESERVED_SHARED = 1024  # counted in .nv.shared from sm_90 on

# Attributes of .nv.info.
REGISTERS, STACK, MAX_THREADS, REQUIRED_THREADS = 0x2F, 0x12, 0x05, 0x10
FORMAT_SIZED = 4  # of an attribute whose size follows


@dataclasses.dataclass(frozen=True)
class Kernel:
    arch: int  # 87 for sm_87
    symbol: str
    registers: int
    static_shared: int
    stack: int  # bytes of local memory a thread: arrays and spilled registers
    max_threads: int | None  # of __launch_bounds__


class FormatError(Exception):
    pass


def sections_of(elf):
    """{name: (index, bytes, size)} of a 64-bit little-endian ELF file, and its symbols' names."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise FormatError("device code that is no 64-bit ELF file")
    table, = struct.unpack_from("<Q", elf, 0x28)
    entry, count, strings = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * entry) for i in range(count)]

    def name(section, offset):
        start = headers[section][4] + offset
        return elf[start:elf.index(b"\0", start)].decode()

    sections, symbols = {}, []
    for header in headers:
        kind, offset, size, link = header[1], header[4], header[5], header[6]
        data = b"" if kind == 8 else elf[offset:offset + size]
        sections[name(strings, header[0])] = (data, size)
        if kind == 2:
            symbols = [name(link, struct.unpack_from("<I", data, at)[0])
                       for at in range(0, size, 24)]
    return sections, symbols


def attributes_of(info):
    """(attribute, words) of a .nv.info section; words of sized attributes only."""
    at = 0
    while at + 4 <= len(info):
        form, attribute, value = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == FORMAT_SIZED:
            yield attribute, struct.unpack_from(f"<{value // 4}I", info, at)
            at += value


def kernels_of_elf(elf, arch):
    sections, symbols = sections_of(elf)
    registers, stack = {}, {}
    for attribute, words in attributes_of(sections.get(".nv.info", (b"", 0))[0]):
        if attribute == REGISTERS:
            registers[symbols[words[0]]] = words[1]
        elif attribute == STACK:
            stack[symbols[words[0]]] = words[1]
    for section, (info, _) in sections.items():
        if not section.startswith(".nv.info."):
            continue
        symbol = section.removeprefix(".nv.info.")
        if symbol not in registers:
            raise FormatError(f"{symbol}: no register count")
        bounds = None
        for attribute, words in attributes_of(info):
            if attribute in (MAX_THREADS, REQUIRED_THREADS):
                bounds = words[0] * words[1] * words[2]
        shared = sections.get(".nv.shared." + symbol, (b"", 0))[1]
        if arch >= 90 and shared >= RESERVED_SHARED:
            shared -= RESERVED_SHARED
        yield Kernel(arch, symbol, registers[symbol], shared, stack.get(symbol, 0), bounds)


def kernels_of_file(path):
    data = pathlib.Path(path).read_bytes()
    magic = struct.pack("<IH", FATBIN_MAGIC, 1)
    at = data.find(magic)
    while at >= 0:
        header, = struct.unpack_from("<H", data, at + 6)
        size, = struct.unpack_from("<Q", data, at + 8)
        entry, end = at + header, at + header + size
        while entry < end:
            kind, = struct.unpack_from("<H", data, entry)
            header, length = struct.unpack_from("<IQ", data, entry + 4)
            arch, = struct.unpack_from("<I", data, entry + 28)
            if kind == KIND_ELF:
                elf = data[entry + header:entry + header + length]
                if elf[:4] != b"\x7fELF":
                    raise FormatError(f"{path}: compressed device code; build without "
                                      "--compress-mode and -compress-all")
                yield from kernels_of_elf(elf, arch)
            entry += header + length
        at = data.find(magic, end)


def kernels_of(path):
    """Those of a file, or of all objects and libraries in a folder."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else sorted(
        f for pattern in ("*.o", "*.so") for f in path.rglob(pattern))
    return [kernel for file in files for kernel in kernels_of_file(file)]


def readable(symbols):
    """{symbol: name with its template arguments, without namespaces and parameters}."""
    symbols = sorted(set(symbols))
    try:
        names = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True,
                               text=True, check=True).stdout.splitlines()
    except OSError:
        names = symbols
    return {symbol: shortened(name) for symbol, name in zip(symbols, names)}


def shortened(name):
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    name = re.sub(r"\b(?:\w+::)+", "", name)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0 and i > 0:
            return name[:i]
    return name
