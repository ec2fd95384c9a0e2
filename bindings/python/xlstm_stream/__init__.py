"""Steps a trained xLSTM on a live sensor, sample by sample.

export() turns a live model of the official packages into one file, Model opens it, Session steps it:

    report = xlstm_stream.export(module, "model.xst", stream=stream)
    with xlstm_stream.Model("model.xst") as model, xlstm_stream.Session(model) as session:
        y = session.step(x)
"""

from ._core import (
    Forecaster,
    Lanes,
    Model,
    ProbeResult,
    Sampler,
    Session,
    available_isas,
    pack,
    unpack,
)
from ._core import version as __version__
from ._errors import ArgumentError, DataError, Error, ExportError, MachineError, Quality, Status
from ._export import ExportReport, export, load_hf
from ._generate import generate

__all__ = [
    "ArgumentError",
    "DataError",
    "Error",
    "ExportError",
    "ExportReport",
    "Forecaster",
    "Lanes",
    "MachineError",
    "Model",
    "ProbeResult",
    "Quality",
    "Sampler",
    "Session",
    "Status",
    "__version__",
    "available_isas",
    "export",
    "generate",
    "load_hf",
    "pack",
    "unpack",
]
