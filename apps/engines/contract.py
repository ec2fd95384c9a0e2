"""What an engine that carries streams needs of one: five functions, and the model's input_width.

    stream = open("model.xst")      a fresh stream; those of one file share its weights
    stream.load(state)              goes on from what save() gave, on any machine
    y = stream.step_chunk(x)        T steps: (T, input_width) float32 -> (T, output_width) float32
    state = stream.save()           bytes
    stream.arch_hash()              whose states may be loaded: 32 hexadecimal digits
    stream.input_width              float32 values in a sample

A chunk may be cut anywhere: on one kind of machine the outputs and the state are the same bits.
"""

import functools

import numpy as np
import xlstm_stream as xst


@functools.cache
def _model(path):
    return xst.Model(path)


class Stream:
    def __init__(self, model):
        if model.tokens:
            raise xst.ArgumentError(f"model: expected one of samples, got one of tokens: {model!r}")
        self._model, self._session = model, xst.Session(model)

    def load(self, state):
        self._session.load(state)

    def step_chunk(self, x):
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty((len(x), self._model.output_width), np.float32)
        for row, out in zip(x, y):  # not forward(): its sums may depend on where a chunk ends
            self._session.step(row, out)
        return y

    def save(self):
        return self._session.save()

    def arch_hash(self):
        return self._model.arch_hash

    @property
    def input_width(self):
        return self._model.input_width


def open(model):  # noqa: A001, the contract's name
    return Stream(_model(str(model)))
