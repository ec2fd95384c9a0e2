"""Text from a language model, token by token."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ._core import Sampler, Session
from ._errors import ArgumentError


def generate(
    session: Session,
    prompt: Sequence[int],
    max_tokens: int,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: Collection[int] = (),
) -> Iterator[int]:
    """Feeds `prompt` (at least one id) to `session` and yields up to `max_tokens` new ids as they are drawn, as
    `xst generate` does: greedy, unless one of temperature, top_k and top_p is given (temperature is then 1 by default).
    Ends behind an id of `stop`, which is yielded. The session has then taken every yielded id but the last.
    """
    if temperature is None:
        temperature = 0.0 if top_k is None and top_p is None else 1.0
    sampler = Sampler(
        session.model.vocabulary,
        temperature=temperature,
        top_k=0 if top_k is None else top_k,
        top_p=1.0 if top_p is None else top_p,
        seed=seed,
    )
    if len(prompt) == 0:
        raise ArgumentError("prompt: expected at least one token id, got none")
    return _draw(session, sampler, prompt, max_tokens, frozenset(stop))


def _draw(
    session: Session, sampler: Sampler, prompt: Sequence[int], max_tokens: int, stop: frozenset[int]
) -> Iterator[int]:
    logits = session.forward(prompt, last=True)
    for drawn in range(1, max_tokens + 1):
        token = sampler.next(logits)
        yield token
        if token in stop:
            return
        if drawn < max_tokens:
            session.step(token, out=logits)
