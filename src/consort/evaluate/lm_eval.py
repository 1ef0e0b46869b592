"""Any consort model or plan as a model of lm-eval (the EleutherAI harness), whose tasks then measure it.

    python -m consort.evaluate.lm_eval run --model consort --model_args plan=team.yml --tasks arc_easy

lm-eval 0.4 finds models in a table of its own and knows no entry points, so the command above enters `consort` there
and hands over; from Python, `register()` does the first half, or `lm_class()(model=…)` is given to `simple_evaluate`.
Scores are those of its `hf` model: one encoding of context and continuation, spaces moved over, windows for long texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from consort.core.errors import MissingExtra, Unsupported
from consort.core.types import Sampling
from consort.models.decoding.decode import batches
from consort.models.decoding.decode import start as first_tokens
from consort.models.decoding.score import split_pair
from consort.models.token_model import TokenModel

NAME = "consort"
MOST_TOKENS = 256
"""Of an answer, where the task does not say."""


@cache
def lm_class() -> type:
    """The class `consort` of lm-eval's registry, made on first use. Raises MissingExtra without lm-eval."""
    try:
        base = import_module("lm_eval.api.model").LM
    except ImportError as fault:
        hint = 'pip install "consort[eval]"'
        raise MissingExtra(f"lm-eval is not installed: {fault}", field="lm_eval", hint=hint) from fault
    return adapter(base)


def register() -> type:
    """Makes lm-eval know the model `consort`; returns its class."""
    made = lm_class()
    registry = import_module("lm_eval.api.registry")
    import_module("lm_eval.models")  # its own models first: it registers them only once
    if NAME not in registry.model_registry:
        registry.register_model(NAME)(made)
    return made


def adapter(base: type) -> type:
    """A subclass of `base`, lm-eval's `LM`, over a consort model."""

    class ConsortLM(base):  # type: ignore[misc]
        """`plan`: a plan file or any reference to a model; or `model`, an object. Other arguments are refused."""

        def __init__(
            self,
            plan: str = "",
            *,
            model: Any = None,
            batch_size: Any = None,
            max_batch_size: Any = None,
            device: Any = None,
        ) -> None:
            super().__init__()
            self.model = import_module("consort").model(plan) if model is None else model
            self.model_name = self.model.name

        @property
        def tokenizer_name(self) -> str:
            return str(self.model.name)

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return str(_tokenizer(self.model).chat(chat_history))

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            found = loglikelihoods(self.model, [request.args for request in requests])
            return self._kept("loglikelihood", requests, found)

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            found = rolling(self.model, [request.args[0] for request in requests])
            return self._kept("loglikelihood_rolling", requests, found)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            found = answers(self.model, [request.args for request in requests])
            return self._kept("generate_until", requests, found)

        def _kept(self, kind: str, requests: Sequence[Any], found: list[Any]) -> list[Any]:
            """What is found goes into lm-eval's cache, where the user asked for one."""
            for request, value in zip(requests, found, strict=True):
                self.cache_hook.add_partial(kind, request.args, value)
            return found

    return ConsortLM


def loglikelihoods(model: Any, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Log-likelihood (nats) of each continuation, and whether greedy decoding would write it.

    Of a model that scores but shows no logits the second is not known, and False.
    """
    if not isinstance(model, TokenModel):
        if not hasattr(model, "score"):
            hint = "take generative tasks (generate_until), or a local model"
            raise Unsupported("does not score texts", field=model.name, hint=hint)
        return [(value, False) for value in model.score(pairs)]
    split = [_tokens_of(model, *pair) for pair in pairs]
    return [(sum(logs), greedy) for logs, greedy in _read(model, split)]


def rolling(model: Any, texts: Sequence[str]) -> list[float]:
    """Log-likelihood (nats) of whole texts, from the token that starts one; long ones are read in windows."""
    tokenizer = _tokenizer(model)
    begin = first_tokens(tokenizer)
    pieces = [list(windows(tokenizer.encode(text), begin, model.window)) for text in texts]
    found = iter(_read(model, [piece for row in pieces for piece in row]))
    return [sum(sum(next(found)[0]) for _ in row) for row in pieces]


def windows(tokens: Sequence[int], begin: Sequence[int], window: int | None) -> list[tuple[list[int], list[int]]]:
    """Pairs of what is read before and what is foretold; each token is foretold once.

    The first window begins with `begin`, each later one with the token before it; the last reaches back, so that it has
    the longest context (as lm-eval cuts texts).
    """
    size = len(tokens) if window is None else min(window, len(tokens))
    made = [(list(begin), list(tokens[:size]))] if tokens else []
    for done in range(size, len(tokens), max(1, size)):
        end = min(done + size, len(tokens))
        made.append((list(tokens[max(end - size - 1, 0) : done]), list(tokens[done:end])))
    return made


def answers(model: Any, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Greedy or sampled answers; requests of equal settings are one batch."""
    groups: dict[Sampling, list[int]] = {}
    for number, (_, settings) in enumerate(requests):
        groups.setdefault(sampling_of(settings), []).append(number)
    found = [""] * len(requests)
    for sampling, rows in groups.items():
        told = model.generate([requests[row][0] for row in rows], sampling)
        for row, completion in zip(rows, told, strict=True):
            found[row] = completion.text
    return found


def sampling_of(settings: Mapping[str, Any]) -> Sampling:
    """lm-eval's generation settings as ours: greedy unless `do_sample` and a temperature ask for draws."""
    until = settings.get("until") or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    temperature = float(settings.get("temperature") or 0.0)
    draws = bool(settings.get("do_sample", temperature > 0))
    most = next((settings[key] for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if key in settings), None)
    return Sampling(
        max_tokens=int(most or MOST_TOKENS),
        temperature=(temperature or 1.0) if draws else 0.0,
        top_p=float(settings.get("top_p") or 1.0),
        top_k=int(settings.get("top_k") or 0),
        stop=tuple(text for text in stop if text),
        seed=int(settings.get("seed") or 0),
    )


def _tokens_of(model: TokenModel, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """What is read and what is scored; too long a context loses its beginning, as in lm-eval."""
    head, tail = split_pair(model.tokenizer, context, continuation, field="context")
    room = None if model.window is None else model.window + 1 - len(tail)
    return (head if room is None or len(head) <= room else head[-max(1, room) :]), tail


def _read(model: TokenModel, split: Sequence[tuple[list[int], list[int]]]) -> list[tuple[list[float], bool]]:
    """Log-probabilities of the second part of each pair, and whether each of its tokens is the likeliest."""
    found: list[tuple[list[float], bool]] = [([], True)] * len(split)
    sizes = [len(head) + len(tail) for head, tail in split]
    for batch in batches(sizes, model.batch_tokens):
        rows = [row for row in batch if split[row][1]]
        if not rows:
            continue
        session = model.open(len(rows))
        logits = session.feed([[*split[row][0], *split[row][1][:-1]] for row in rows])
        for row, values in zip(rows, logits, strict=True):
            tail = split[row][1]
            logs = values[-len(tail) :].log_softmax(-1)
            chosen = [float(logs[i, token]) for i, token in enumerate(tail)]
            found[row] = (chosen, bool((logs.argmax(-1).cpu() == logs.new_tensor(tail).long().cpu()).all()))
    return found


def _tokenizer(model: Any) -> Any:
    if not isinstance(model, TokenModel):
        raise Unsupported("shows no tokens", field=model.name, hint="take a local model")
    return model.tokenizer


def main() -> None:
    """lm-eval's own command line, with `--model consort`."""
    register()
    import_module("lm_eval.__main__").cli_evaluate()


if __name__ == "__main__":
    main()
