"""The README configuration's step as one function of inputs and states, which exporters and compilers
need: the official module keeps its states in nested maps and branches on their values."""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-5


def norm(x, weight):
    return F.layer_norm(x, weight.shape, 1 + weight, torch.zeros_like(weight), EPS)


def head_norm(x, weight, heads):
    dim = x.shape[1] // heads
    cut = F.layer_norm(x.reshape(-1, heads, dim), (dim,), torch.ones_like(weight[:dim]), torch.zeros_like(weight[:dim]), EPS)
    return cut.reshape(x.shape) * (1 + weight)


def log_sigmoid(x):
    return -F.softplus(-x)


def blocks(x, weight):
    """Block-diagonal product, weight [blocks][out][in]."""
    return (x.reshape(x.shape[0], weight.shape[0], 1, -1) * weight).sum(-1).reshape(x.shape)


def convolved(state, x, weight, bias):
    """state [B][K-1][channels], oldest first; weight [channels][1][K]."""
    state = torch.cat([state, x[:, None]], 1)
    return F.silu((state * weight[:, 0].t()).sum(1) + bias), state[:, 1:]


class FunctionalStack(nn.Module):
    """forward(x [B][D], *states) -> (y [B][D], *states), from the official stack's weights."""

    def __init__(self, weights, config):
        super().__init__()
        self.weights, self.count = dict(weights), config["num_blocks"]
        self.slstm_at = set(config["slstm_at"])
        self.heads = {True: config["slstm_block"]["slstm"]["num_heads"],
                      False: config["mlstm_block"]["mlstm"]["num_heads"]}

    def get(self, block, name):
        return self.weights[f"blocks.{block}.{name}"]

    def fresh(self, streams):
        """Zero states of so many streams, in order."""
        like = self.weights["post_blocks_norm.weight"]
        states = []
        for i in range(self.count):
            channels, _, taps = self.get(i, "xlstm.conv1d.conv.weight").shape
            states.append(like.new_zeros(streams, taps - 1, channels))
            if i in self.slstm_at:
                states += [like.new_zeros(streams, channels) for _ in range(4)]
            else:
                heads = self.heads[False]
                dim = channels // heads
                states += [like.new_zeros(streams, heads, *tail) for tail in ((dim, dim), (dim,), ())]
        return states

    def forward(self, x, *states):
        states, new = list(states), []
        for i in range(self.count):
            u = norm(x, self.get(i, "xlstm_norm.weight"))
            if i in self.slstm_at:
                y, left = self.slstm(i, u, states[:5])
                states = states[5:]
                x = x + y
                h = norm(x, self.get(i, "ffn_norm.weight"))
                gate, linear = F.linear(h, self.get(i, "ffn.proj_up.weight")).chunk(2, -1)
                x = x + F.linear(F.gelu(gate) * linear, self.get(i, "ffn.proj_down.weight"))
            else:
                y, left = self.mlstm(i, u, states[:4])
                states = states[4:]
                x = x + y
            new += left
        return (norm(x, self.weights["post_blocks_norm.weight"]), *new)

    def mlstm(self, i, u, states):
        get = lambda name: self.get(i, "xlstm." + name)
        heads = self.heads[False]
        conv, c_state, n_state, m_state = states
        a, z = F.linear(u, get("proj_up.weight")).chunk(2, -1)
        c, conv = convolved(conv, a, get("conv1d.conv.weight"), get("conv1d.conv.bias"))
        q, k, v = (blocks(x, get(w + "_proj.weight")) for x, w in ((c, "q"), (c, "k"), (a, "v")))
        weight = torch.cat([get("mlstm_cell.igate.weight"), get("mlstm_cell.fgate.weight")])
        bias = torch.cat([get("mlstm_cell.igate.bias"), get("mlstm_cell.fgate.bias")])
        igate, fgate = F.linear(torch.cat([q, k, v], -1), weight, bias).chunk(2, -1)
        q, k, v = (x.reshape(x.shape[0], heads, -1) for x in (q, k, v))
        decayed = log_sigmoid(fgate) + m_state
        m = torch.maximum(decayed, igate)
        forget, admit = torch.exp(decayed - m)[..., None], torch.exp(igate - m)[..., None]
        k = k * (admit / k.shape[-1] ** 0.5)
        cell = forget[..., None] * c_state + k[..., None] * v[:, :, None]
        n = forget * n_state + k
        top = torch.matmul(q[:, :, None], cell)[:, :, 0]
        below = torch.maximum((q * n).sum(-1).abs(), torch.exp(-m)) + 1e-6
        h = (top / below[..., None]).reshape(u.shape[0], -1)
        h = head_norm(h, get("mlstm_cell.outnorm.weight"), heads)
        h = (h + get("learnable_skip") * c) * F.silu(z)
        return F.linear(h, get("proj_down.weight")), [conv, cell, n, m]

    def slstm(self, i, u, states):
        get = lambda name: self.get(i, "xlstm." + name)
        heads = self.heads[True]
        conv, y, c, n, m = states
        cut = lambda x: x.reshape(x.shape[0], heads, 1, -1)
        x, conv = convolved(conv, u, get("conv1d.conv.weight"), get("conv1d.conv.bias"))
        # The official names: fgate drives the input gate, igate the forget gate.
        inner = torch.cat([get("fgate.weight"), get("igate.weight")], 1)
        outer = torch.cat([get("zgate.weight"), get("ogate.weight")], 1)
        fed = torch.cat([torch.matmul(cut(x), inner.transpose(1, 2)),
                         torch.matmul(cut(u), outer.transpose(1, 2))], -1)
        fed = fed + torch.matmul(cut(y), get("slstm_cell._recurrent_kernel_").transpose(1, 2))
        bias = get("slstm_cell._bias_").reshape(4, heads, -1).transpose(0, 1).reshape(heads, -1)
        raw = (fed[:, :, 0] + bias).reshape(u.shape[0], heads, 4, -1)
        ri, rf, rz, ro = (raw[:, :, g].reshape(u.shape) for g in range(4))
        decayed = m + log_sigmoid(rf)
        m = torch.where(n == 0, ri, torch.maximum(ri, decayed))
        admit = torch.clamp(torch.exp(ri - m), max=1)
        forget = torch.clamp(torch.exp(decayed - m), max=1)
        c = forget * c + admit * torch.tanh(rz)
        n = forget * n + admit
        y = torch.sigmoid(ro) * c / n
        return head_norm(y, get("group_norm.weight"), heads), [conv, y, c, n, m]
