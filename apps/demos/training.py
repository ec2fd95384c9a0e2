"""What the demos' training scripts share: the optimiser and one descent of a model and of its moving average."""

import math

import torch


def adamw(model, lr, weight_decay):
    """Matrices decay; vectors do not."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))


def schedule(lr, step, warmup, progress):
    """A linear warm-up of so many steps times half a cosine from 1 to 0.01 over progress 0 to 1."""
    return lr * min(1, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


def descend(loss, model, average, optimizer, rate, ema, step):
    """Steps the model, and moves the average of its weights after it, faster in the first steps."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    keep = min(ema, (step + 1) / (step + 10))
    with torch.no_grad():
        for mean_value, value in zip(average.parameters(), model.parameters()):
            mean_value.lerp_(value, 1 - keep)
