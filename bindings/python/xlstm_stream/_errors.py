"""Status codes of the library (formats/status.h) and the exceptions they become."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """0 success; 1–99 success with a remark; 100–199 the caller's arguments; 200–299 bytes from outside; 300–399 this
    machine."""

    ok = 0
    held = 1
    invalid_argument = 100
    shape_mismatch = 101
    not_found = 200
    io_error = 201
    truncated = 202
    corrupt = 203
    unsupported_version = 204
    invalid_config = 205
    tensor_mismatch = 206
    other_model = 207
    out_of_memory = 300
    no_device = 301
    no_instruction_set = 302
    device_failed = 303


class Quality(enum.IntFlag):
    """Bits of an output's quality."""

    held = 1
    gap = 2
    warming = 4
    late = 8
    historical = 16
    reset = 32


class Error(RuntimeError):
    """What the library could not do: its text, its `status` and that as a number, `code`."""

    def __init__(self, message: str, status: Status = Status.invalid_argument) -> None:
        super().__init__(message)
        self.status = Status(status)

    @property
    def code(self) -> int:
        return int(self.status)


class ArgumentError(Error, ValueError):
    """An argument outside its documented range (100–199)."""


class DataError(Error):
    """A file, a checkpoint or a snapshot is missing or not what it should be (200–299)."""


class MachineError(Error):
    """This machine lacks memory, a device or an instruction set, or a device failed (300–399)."""


class ExportError(DataError):
    """A module that export() refuses, or whose file does not reproduce it."""

    def __init__(self, message: str, status: Status = Status.tensor_mismatch) -> None:
        super().__init__(message, status)


def make_error(code: int, message: str) -> Error:
    """The exception of a status code; the extension module calls this."""
    bands = {1: ArgumentError, 2: DataError, 3: MachineError}
    return bands.get(code // 100, Error)(message, Status(code))
