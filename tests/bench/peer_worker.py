"""One peer of peers.py in a process of its own: answers a line of JSON with a line of JSON.

    {"do": "outputs", "input": X.npy, "output": Y.npy}    (T, B, D) from a fresh state, step by step
    {"do": "block", "streams": B, "seconds": S}           times calls of B streams' steps

The modules that the peers need are imported in it, so each runs in its own virtual environment. A
peer that cannot run here says {"missing": why}.
"""

import json
import os
import pathlib
import statistics
import sys
import time

import numpy as np

CASE = pathlib.Path(__file__).resolve().parents[1] / "vectors" / "block_stack" / "readme_config"
WARM_S = 0.2


class Peer:
    """open(B) -> a function of x [B, D] that steps B streams from a fresh state on."""

    opened = {}  # by B, for timing

    def outputs(self, x):
        step = self.open(x.shape[1])
        return np.stack([np.array(step(row), copy=True) for row in x])

    def block(self, streams, seconds):
        step = self.opened.get(streams) or self.open(streams)
        self.opened[streams] = step
        x = np.random.default_rng(1).standard_normal((64, streams, 128)).astype(np.float32)
        times, i, clock = [], 0, time.perf_counter_ns
        start = clock()
        while clock() < start + WARM_S * 1e9:
            step(x[i % 64])
            i += 1
        end = clock() + seconds * 1e9
        before = clock()
        while before < end or len(times) < 20:
            step(x[i % 64])
            i += 1
            after = clock()
            times.append((after - before) / 1e3)
            before = after
        return {"p50_us": statistics.median(times), "p99_us": statistics.quantiles(times, n=100)[98],
                "stream_steps_per_s": streams * 1e6 * len(times) / sum(times)}


def official():
    """Configuration and official module of the case, weights brought to the vanilla layout."""
    import dacite
    import torch
    import yaml
    from safetensors.torch import load_file
    from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    config = yaml.safe_load((CASE / "config.yaml").read_text())["config"]
    config["slstm_block"]["slstm"]["backend"] = "vanilla"
    stack = xLSTMBlockStack(dacite.from_dict(xLSTMBlockStackConfig, config))
    weights = load_file(CASE / "weights.safetensors")
    for name, w in weights.items():
        # cuda: kernel [head][d][gate*DH + o], bias head-major; vanilla: [head][gate*DH + o][d],
        # bias gate-major (spec of the block stack, section 3.3).
        if name.endswith("slstm_cell._recurrent_kernel_"):
            weights[name] = w.transpose(1, 2).contiguous()
        elif name.endswith("slstm_cell._bias_"):
            heads = config["slstm_block"]["slstm"]["num_heads"]
            weights[name] = w.reshape(heads, 4, -1).transpose(0, 1).reshape(-1).contiguous()
    stack.load_state_dict(weights)
    return config, weights, stack.eval()


class OfficialStep(Peer):
    """xLSTMBlockStack.step of the xlstm package, PyTorch eager, vanilla sLSTM cell."""

    def __init__(self):
        import torch

        self.torch = torch
        _, _, self.stack = official()
        self.name = f"official step, PyTorch {torch.__version__.split('+')[0]} eager"

    def open(self, streams):
        state = None

        def step(x):
            nonlocal state
            y, state = self.stack.step(self.torch.from_numpy(x)[:, None], state)
            return y[:, 0].numpy()
        return step


class CompiledStep(Peer):
    """torch.compile of the functional rewrite, tuned and frozen."""

    def __init__(self):
        import torch
        from functional import FunctionalStack

        version = torch.__version__.split("+")[0]
        if int(version.split(".")[0]) < 2:
            raise ImportError(f"torch.compile: expected PyTorch 2, got {version}")
        import torch._inductor.config

        torch._inductor.config.freezing = True
        self.torch, self.name = torch, f"torch.compile, PyTorch {version}"
        config, weights, _ = official()
        self.stack = FunctionalStack(weights, config).eval()

    def open(self, streams):
        program = self.torch.compile(self.stack, mode="max-autotune")
        states = self.stack.fresh(streams)

        def step(x):
            nonlocal states
            y, *states = program(self.torch.from_numpy(x), *states)
            return y.numpy()
        return step


def export(folder, streams):
    """The functional rewrite as an ONNX file for each number of streams; names x, s0…, y, t0…."""
    import torch
    from functional import FunctionalStack

    config, weights, _ = official()
    stack = FunctionalStack(weights, config).eval()
    for count in streams:
        states = stack.fresh(count)
        torch.onnx.export(stack, (torch.zeros(count, 128), *states), str(folder / f"b{count}.onnx"), opset_version=17,
                          input_names=["x", *(f"s{i}" for i in range(len(states)))],
                          output_names=["y", *(f"t{i}" for i in range(len(states)))])


class OnnxRuntime(Peer):
    """IO binding: states stay in buffers of the runtime, read from one set and written to the other."""

    def __init__(self, folder):
        import onnxruntime

        self.ort, self.folder = onnxruntime, folder
        self.name = f"ONNX Runtime {onnxruntime.__version__}"

    def open(self, streams):
        ort = self.ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = ort.InferenceSession(str(self.folder / f"b{streams}.onnx"), options, providers=["CPUExecutionProvider"])
        zeros = lambda like: ort.OrtValue.ortvalue_from_numpy(np.zeros(like.shape, np.float32))
        states = session.get_inputs()[1:]
        sets = [[zeros(s) for s in states] for _ in range(2)]
        x, y = (np.zeros((streams, 128), np.float32) for _ in range(2))
        x_value, y_value = (ort.OrtValue.ortvalue_from_numpy(v) for v in (x, y))
        bindings = []
        for read, write in (sets, sets[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x_value)
            binding.bind_ortvalue_output("y", y_value)
            for i, _ in enumerate(states):
                binding.bind_ortvalue_input(f"s{i}", read[i])
                binding.bind_ortvalue_output(f"t{i}", write[i])
            bindings.append(binding)
        calls = 0

        def step(values):
            nonlocal calls
            x_value.update_inplace(values)
            session.run_with_iobinding(bindings[calls % 2])
            calls += 1
            return y_value.numpy()
        return step


class OpenVino(Peer):
    """Stateful: the states are variables of the model."""

    def __init__(self, folder, precision):
        import openvino
        from openvino import _offline_transformations as transformations

        self.ov, self.transformations, self.folder, self.precision = openvino, transformations, folder, precision
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]} stateful, {precision}"

    def open(self, streams):
        core = self.ov.Core()
        model = core.read_model(self.folder / f"b{streams}.onnx")
        count = len(model.inputs) - 1
        self.transformations.apply_make_stateful_transformation(model, {f"s{i}": f"t{i}" for i in range(count)})
        compiled = core.compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision, "ENABLE_CPU_PINNING": False})
        request = compiled.create_infer_request()
        request.reset_state()
        x = np.zeros((streams, 128), np.float32)
        request.set_input_tensor(self.ov.Tensor(x, shared_memory=True))
        y = request.get_output_tensor().data

        def step(values):
            x[:] = values
            request.infer()
            return y
        return step


def make(name, folder):
    if name == "official":
        return OfficialStep()
    if name == "compile":
        return CompiledStep()
    if name == "onnxruntime":
        return OnnxRuntime(folder)
    return OpenVino(folder, name.split("-")[1])


def main():
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    say = lambda answer: print(json.dumps(answer), file=answers, flush=True)
    try:
        if name == "export":
            export(folder, map(int, sys.argv[3:]))
            return say({"name": "export"})
        peer = make(name, folder)
    except ImportError as error:
        return say({"missing": str(error)})
    say({"name": peer.name})
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "outputs":
            np.save(task["output"], peer.outputs(np.load(task["input"])))
            say({})
        else:
            say(peer.block(task["streams"], task["seconds"]))


if __name__ == "__main__":
    main()
