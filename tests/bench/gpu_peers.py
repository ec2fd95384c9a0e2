"""The official package and cuDNN, as cases of gpu.py. What may end a process has its own: with the
folder of a conformance case this program compiles the official CUDA sLSTM cell, which later runs
of the same user find compiled; with `large` it times the official xLSTM 7B, one JSON object a
line."""

import copy
import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys
import time
import types

from gpu_case import FORWARD_STEPS, WIDTH, Case, Conformance, quantile

SEVEN_B = {"embedding_dim": 4096, "num_blocks": 32, "num_heads": 8, "vocab_size": 50304}
LARGE_STEPS = 2048  # of a prefill


class TorchCase(Case):
    """A function of the stack or of another module, called on inputs that lie on the device."""

    patience = 100

    def __init__(self, torch, device, group, name, streams, seconds, steps=1):
        super().__init__(group, name, streams, steps)
        self.torch, self.device, self.seconds, self.calls = torch, device, seconds, None
        generator = torch.Generator().manual_seed(streams)
        inputs = torch.randn(4, streams, steps, WIDTH, generator=generator)
        self.inputs = list(inputs.to(device))

    def call(self, x):
        raise NotImplementedError

    def wait(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def prepare(self):
        for _ in range(3):
            self.call(self.inputs[0])
        self.wait()
        start = time.perf_counter()
        for i in range(5):
            self.call(self.inputs[i % 4])
        self.wait()
        self.calls = max(20, min(5000, int(self.seconds * 5 / (time.perf_counter() - start))))

    def block(self):
        times = []
        for i in range(5):
            self.call(self.inputs[i % 4])
        self.wait()
        for i in range(self.calls):
            start = time.perf_counter_ns()
            self.call(self.inputs[i % 4])
            self.wait()
            times.append((time.perf_counter_ns() - start) / 1e3)
        return {"p50_us": quantile(times, 0.5), "p99_us": quantile(times, 0.99),
                "device_us": self.device_time()}

    def device_time(self):
        if self.device == "cpu":
            return None
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        calls = max(10, self.calls // 4)
        begin.record()
        for i in range(calls):
            self.call(self.inputs[i % 4])
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e3 / calls

    def on_device(self, inputs):
        """(T, B, D) of a case as T tensors (streams, 1, D): every lane gets the same."""
        x = self.torch.from_numpy(inputs).to(self.device)
        return x.expand(-1, self.streams, -1).unsqueeze(2).contiguous()


class EagerStep(TorchCase):
    def __init__(self, *arguments, stack, **rest):
        super().__init__(*arguments, **rest)
        self.stack, self.state = stack, None

    def call(self, x):
        y, self.state = self.stack.step(x, self.state)
        return y

    def outputs(self, case):
        self.state = None
        rows = [self.call(x)[:, 0].cpu().numpy() for x in self.on_device(case.input)]
        self.state = None
        return case.np.stack(rows)


class GraphStep(TorchCase):
    """One captured step: reads `x` and the state where they lie, writes the new state back there.
    The mLSTM state comes in fresh tensors, so the graph ends with copies of it."""

    def __init__(self, *arguments, stack, **rest):
        super().__init__(*arguments, **rest)
        self.stack = stack

    def prepare(self):
        self.x = self.inputs[0].clone()
        _, self.state = self.stack.step(self.x)
        self.reset()
        self.replay = captured(self.torch, self.device, self.body)
        super().prepare()

    def body(self):
        state = {block: dict(parts) for block, parts in self.state.items()}
        self.y, state = self.stack.step(self.x, state)
        for kept, fresh in zip(leaves(self.state), leaves(state)):
            if kept.data_ptr() != fresh.data_ptr():
                kept.copy_(fresh)

    def call(self, x):
        self.x.copy_(x)
        self.replay()

    def reset(self):
        self.state = {block: {name: copied(part) for name, part in parts.items()}
                      for block, parts in self.state.items()}

    def outputs(self, case):
        for leaf in leaves(self.state):
            leaf.zero_()
        rows = []
        for x in self.on_device(case.input):
            self.call(x)
            rows.append(self.y[:, 0].cpu().numpy())
        return case.np.stack(rows)


class Forward(TorchCase):
    def __init__(self, *arguments, stack, **rest):
        super().__init__(*arguments, **rest)
        self.stack = stack

    def call(self, x):
        return self.stack(x)

    def outputs(self, case):
        x = self.on_device(case.input)[:, :, 0].transpose(0, 1).contiguous()
        return self.call(x).transpose(0, 1).cpu().numpy()


class CudnnLstm(TorchCase):
    """torch.nn.LSTM of one layer with as many parameters as the stack, to a multiple of 8 units."""

    def __init__(self, *arguments, parameters, graph=False, **rest):
        super().__init__(*arguments, **rest)
        width = min(range(8, 4096, 8), key=lambda h: abs(4 * h * (WIDTH + h + 2) - parameters))
        self.torch.manual_seed(1)
        self.lstm = self.torch.nn.LSTM(WIDTH, width, batch_first=True).to(self.device).eval()
        self.name += f", {width} units, {4 * width * (WIDTH + width + 2):,} parameters"
        self.graph, self.replay = graph, None
        self.state = [self.torch.zeros(1, self.streams, width, device=self.device)
                      for _ in range(2)]

    def prepare(self):
        self.x = self.inputs[0].clone()
        if self.graph:
            self.replay = captured(self.torch, self.device, self.body)
        super().prepare()

    def body(self):
        self.y, fresh = self.lstm(self.x, tuple(self.state))
        for kept, new in zip(self.state, fresh):
            kept.copy_(new)

    def call(self, x):
        if self.replay:
            self.x.copy_(x)
            self.replay()
        elif self.steps > 1:
            self.y, _ = self.lstm(x)
        else:
            self.y, self.state = self.lstm(x, tuple(self.state))


class Large(TorchCase):
    """xLSTM 7B: `steps` tokens of one stream in a call, which may be captured."""

    def __init__(self, *arguments, model, graph=False, **rest):
        super().__init__(*arguments, **rest)
        self.model, self.graph, self.replay = model, graph, None
        generator = self.torch.Generator().manual_seed(self.steps)
        tokens = self.torch.randint(model.config.vocab_size, (4, 1, self.steps),
                                    generator=generator)
        self.inputs = list(tokens.to(self.device))

    def prepare(self):
        self.x = self.inputs[0].clone()
        _, self.state = self.model(self.x)
        if self.graph:
            self.replay = captured(self.torch, self.device, self.body)
        super().prepare()

    def body(self):  # the model writes the new state where the old one lies
        self.y, self.state = self.model(self.x, self.state)

    def call(self, x):
        if self.replay:
            self.x.copy_(x)
            self.replay()
        elif self.steps > 1:
            self.y, _ = self.model(x)
        else:
            self.y, self.state = self.model(x, self.state)


def large_cases(torch, device, size, seconds):
    """The official xLSTM Large with its fused weights and Triton kernels, bf16, random weights."""
    from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig

    config = xLSTMLargeConfig(**{"weight_mode": "fused", "mode": "inference",
                                 "return_last_states": True, **size})
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    try:
        # A default device that is set and not left costs every later call microseconds.
        with torch.device(device):
            model = xLSTMLarge(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    common = {"model": model, "seconds": seconds}
    return [Large(torch, device, "large", "official 7B decode, bf16, eager", 1, **common),
            Large(torch, device, "large", "official 7B decode, bf16, CUDA graph", 1, graph=True,
                  **common),
            Large(torch, device, "large", "official 7B prefill, bf16, eager", 1,
                  steps=LARGE_STEPS, **common),
            Large(torch, device, "large", "official 7B prefill, bf16, CUDA graph", 1, graph=True,
                  steps=LARGE_STEPS, **common)]


def leaves(state):
    """The tensors of a nested state, in a fixed order."""
    if isinstance(state, dict):
        return [leaf for key in sorted(state) for leaf in leaves(state[key])]
    if isinstance(state, (tuple, list)):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]


def copied(part):
    return tuple(map(copied, part)) if isinstance(part, tuple) else part.clone()


def captured(torch, device, body):
    """A function that replays `body`; on a CPU, where nothing can be captured, `body` itself."""
    if device == "cpu":
        return body
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def official_stack(torch, case, device, backend):
    """The case's weights in the official module; `backend` is the sLSTM cell's."""
    import dacite
    from safetensors.torch import load_file
    from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

    config = copy.deepcopy(case.config)
    # dtype: the cell's default is bfloat16.
    config["slstm_block"]["slstm"].update(backend=backend, dtype="float32")
    stack = xLSTMBlockStack(dacite.from_dict(xLSTMBlockStackConfig, config))
    weights = load_file(case.folder / "weights.safetensors")
    for name, w in weights.items():
        # cuda: kernel [head][d][gate*DH + o], bias head-major; vanilla: [head][gate*DH + o][d],
        # bias gate-major (spec of the block stack, section 3.3).
        if backend == "vanilla" and name.endswith("slstm_cell._recurrent_kernel_"):
            weights[name] = w.transpose(1, 2).contiguous()
        elif backend == "vanilla" and name.endswith("slstm_cell._bias_"):
            heads = config["slstm_block"]["slstm"]["num_heads"]
            weights[name] = w.reshape(heads, 4, -1).transpose(0, 1).reshape(-1).contiguous()
    stack.load_state_dict(weights)
    return stack.to(device).eval()


def patch_host_branch(torch, stack):
    """The vanilla sLSTM cell asks on the host whether all of n is 0; a graph must ask on the
    device."""
    branch = ("    if torch.all(n == 0.0):\n        mnew = iraw\n"
              "    else:\n        mnew = torch.max(iraw, logfplusm)\n")
    where = "    mnew = torch.where(torch.all(n == 0.0), iraw, torch.max(iraw, logfplusm))\n"
    for block in stack.blocks:
        cell = getattr(getattr(block, "xlstm", None), "slstm_cell", None)
        if cell is None:
            continue
        source = inspect.getsource(cell.pointwise)
        if branch not in source:
            raise RuntimeError("the vanilla sLSTM cell is not the one this patch knows")
        scope = dict(cell.pointwise.__globals__)
        exec(compile(source.replace(branch, where), "patched", "exec"), scope)
        cell.pointwise = scope[cell.pointwise.__name__]
    return stack


def ready_cuda_cell():
    """Readies the compilation of the official CUDA sLSTM cell: with ninja in reach and without the
    package's random pause of up to 10 s."""
    places = [pathlib.Path(sys.executable).parent]
    if importlib.util.find_spec("ninja"):
        places.append(pathlib.Path(importlib.util.find_spec("ninja").origin).parents[1] / "bin")
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, places)])

    from xlstm.blocks.slstm.src import cuda_init

    cuda_init.random = types.SimpleNamespace(random=lambda: 0.0)


def compile_cuda_cell(folder, seconds):
    """In a process of its own, which may be given up. The reason if it failed."""
    try:
        done = subprocess.run([sys.executable, __file__, folder],
                              capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not compiled in {seconds} s"
    lines = (done.stderr.strip() or "no message").splitlines()
    return None if done.returncode == 0 else lines[-1]


def torch_cases(arguments, case, notes):
    import torch

    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = arguments.torch_device
    backend = "vanilla"
    if device != "cpu":
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "%d.%d" % torch.cuda.get_device_capability())
        reason = compile_cuda_cell(case.folder, arguments.compile_seconds)
        if reason:
            notes.append(f"official CUDA sLSTM cell: {reason}; vanilla in its place")
        else:
            ready_cuda_cell()
            backend = "cuda"
    with quiet_output():
        eager = official_stack(torch, case, device, backend)
        vanilla = patch_host_branch(torch, official_stack(torch, case, device, "vanilla"))
    parameters = sum(p.numel() for p in vanilla.parameters())
    common = {"seconds": arguments.seconds}
    eager_name = f"official, eager, {backend} sLSTM"
    cases = [EagerStep(torch, device, "step", eager_name, n, stack=eager, **common)
             for n in arguments.eager_streams]
    cases += [GraphStep(torch, device, "step", "official, CUDA graph, patched vanilla sLSTM", n,
                        stack=vanilla, **common) for n in arguments.streams]
    cases += [CudnnLstm(torch, device, "step", f"cuDNN LSTM, {name}", 1, parameters=parameters,
                        graph=graph, **common)
              for name, graph in (("eager", False), ("CUDA graph", True))]
    cases += [Forward(torch, device, "forward", eager_name, n, stack=eager, steps=FORWARD_STEPS,
                      **common) for n in arguments.forward_streams]
    cases += [CudnnLstm(torch, device, "forward", "cuDNN LSTM, eager", n, parameters=parameters,
                        steps=FORWARD_STEPS, **common) for n in arguments.forward_streams]
    return cases


class quiet_output:
    """The package prints compiler flags; they go to nowhere."""

    def __enter__(self):
        sys.stdout.flush()
        self.saved = os.dup(1)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)

    def __exit__(self, *_):
        sys.stdout.flush()
        os.dup2(self.saved, 1)
        os.close(self.saved)


def main():
    import torch

    torch.set_grad_enabled(False)
    if sys.argv[1] == "large":
        for case in large_cases(torch, "cuda:0", SEVEN_B, seconds=1):
            case.prepare()
            figures = case.block()
            print(json.dumps({"name": case.name, "streams": case.streams, "steps": case.steps,
                              **figures}), flush=True)
    else:
        ready_cuda_cell()
        official_stack(torch, Conformance(pathlib.Path(sys.argv[1])), "cuda:0", "cuda")


if __name__ == "__main__":
    main()
