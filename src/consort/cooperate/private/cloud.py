"""A cloud model asked privately: detect, replace, gate, ask, restore; or a local model that asks for one (PAPILLON).

PAPILLON: Li et al. 2024, arXiv 2410.17127: a local model writes a prompt without private details, the cloud model
answers, the local model writes the answer from that. Here its prompt passes the same gate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from consort.cooperate.private import strategy
from consort.cooperate.private.gate import Gate
from consort.cooperate.private.placeholders import Placeholders
from consort.cooperate.private.recognisers import DEFAULT, RECOGNISERS
from consort.cooperate.private.recognisers.words import Words
from consort.cooperate.private.spans import Recogniser, found
from consort.core.errors import BadParameter, ConsortError, Unsupported
from consort.core.prompts import check_list
from consort.core.types import Completion, Message, Prompt, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined

logger = logging.getLogger(__name__)
ASK = (
    "Rewrite the request below for an assistant who must not learn private details. Leave out or generalise names, "
    "numbers, addresses, employers and anything that tells who it is about. Answer with the rewritten request alone."
    "\n\nRequest:\n{request}"
)
COMPOSE = (
    "Answer the request. An assistant who knew no private details wrote the draft; use what is right in it."
    "\n\nRequest:\n{request}\n\nDraft:\n{draft}\n\nAnswer:"
)
GENERALISE = (
    "Rewrite the text so that ages, jobs, employers and places become general (34, nurse: adult, health worker). Keep "
    "everything in angle brackets and the meaning. Answer with the text alone.\n\nText:\n{text}"
)


@dataclass
class _Row:
    """A prompt on its way: what would leave, what must not, and who worked."""

    prompt: Prompt
    outgoing: Prompt = ""
    marks: Placeholders = field(default_factory=Placeholders)
    blocked: str | None = None
    costs: list[tuple[Any, Mapping[str, Usage]]] = field(default_factory=list)
    generalised: bool = False
    stop: tuple[str, ...] = ()


@strategy(paper="2410.17127")
class Private:
    """Ask a remote model without what is private: it sees placeholders, and the answer has the values put back.

    `recognisers` find what is private (`consort methods --kind recogniser`; by default all that need no argument), and
    `words` are private by name. All messages take the same path. A last look at what would be sent (`fuzzy`: how alike
    counts as the same) keeps it back where something can still be read: then the `local` model answers, or, without
    one or with `on_leak: raise`, it is an error. `mode: papillon`: the local model writes a prompt without private
    details and, from the remote answer, the answer. `generalise`: the local model also makes ages, jobs and places
    general, which cannot be undone. `details` has `sent`, `placeholders` (their number), `unknown_placeholders`.
    """

    def __init__(
        self,
        remote: LanguageModel,
        local: LanguageModel | None = None,
        *,
        mode: Literal["placeholder", "papillon"] = "placeholder",
        recognisers: Sequence[Recogniser] | None = None,
        words: Sequence[str] = (),
        on_leak: Literal["local", "raise"] = "local",
        generalise: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self.remote, self.local, self.mode = remote, local, mode
        self.recognisers, self.words, self.on_leak, self.generalise = recognisers, tuple(words), on_leak, generalise
        self.gate = gate
        self.name = f"private({remote.name})"
        if local is None and (mode == "papillon" or generalise):
            raise BadParameter("needs a local model", field="local", hint="name one, or leave mode and generalise out")
        given = [RECOGNISERS.get(name)() for name in DEFAULT] if recognisers is None else list(recognisers)
        self._find: list[Recogniser] = [*given, *([Words(self.words)] if self.words else [])]
        self._gate = Gate() if gate is None else gate

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (self.remote, *(() if self.local is None else (self.local,)))

    @property
    def gives_logprob(self) -> bool:
        """Never: what was probable is the text with placeholders."""
        return False

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """One completion for each prompt, in order. Raises Unsupported where one must not leave and nobody is here."""
        check_list(prompts)
        rows = [self._prepared(prompt, sampling, number) for number, prompt in enumerate(prompts)]
        blocked = [row.blocked for row in rows if row.blocked is not None]
        if blocked and (self.local is None or self.on_leak == "raise"):
            hint = "nothing was sent; name the words as private, or give a local model that answers"
            raise Unsupported(blocked[0], field=self.name, hint=hint)
        sent = [i for i, row in enumerate(rows) if row.blocked is None]
        answers = self._asked(rows, sent, sampling)
        return [self._completion(row, answers.get(i), sampling.of_rows([i])) for i, row in enumerate(rows)]

    def _asked(self, rows: Sequence[_Row], sent: Sequence[int], sampling: Sampling) -> dict[int, Completion]:
        taken: dict[int, Completion] = {}
        for stop in dict.fromkeys(rows[i].stop for i in sent):  # a stop string with a name in it is each row's own
            part = [i for i in sent if rows[i].stop == stop]
            answers = self.remote.generate([rows[i].outgoing for i in part], replace(sampling.of_rows(part), stop=stop))
            for i, answer in zip(part, answers, strict=True):
                rows[i].costs.append((self.remote, cost_of(self.remote, answer)))
                taken[i] = answer
        return taken

    def _prepared(self, prompt: Prompt, sampling: Sampling, number: int) -> _Row:
        """What would be sent for a prompt; blocked where the gate, or anything before it, says no."""
        row = _Row(prompt)
        try:
            row.outgoing = self._messages(row, prompt)
            row.stop = tuple(self._sanitised(row, text) for text in sampling.stop)
            values = [*row.marks.values, *self.words]
            if self.mode == "papillon":
                row.outgoing = self._private_prompt(row, prompt, sampling.of_rows([number]))
            elif self.generalise:
                row.outgoing = self._generalised(row, sampling.of_rows([number]))
            leaks = self._gate.leaks(_bytes_of(row.outgoing, row.stop), values)
            if leaks:
                row.blocked = f"{len(leaks)} private values could be read in what would be sent"
        except ConsortError as fault:
            row.blocked = f"could not be made private: {fault.message}"
        except Exception as fault:
            logger.warning("the leak gate failed (%s): nothing is sent", type(fault).__name__)
            row.blocked = f"the leak gate failed ({type(fault).__name__})"
        return row

    def _messages(self, row: _Row, prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            return self._sanitised(row, prompt)
        return [self._message(row, message) for message in prompt]

    def _message(self, row: _Row, message: Message) -> Message:
        """A message with everything in it that is text replaced, whatever keys it has."""
        replaced = {key: self._value(row, value) for key, value in message.items() if key != "role"}
        made: Any = {"role": message["role"], **replaced}
        return made  # type: ignore[no-any-return]

    def _value(self, row: _Row, value: Any) -> Any:
        if isinstance(value, str):
            return self._sanitised(row, value)
        if isinstance(value, Mapping):
            return {self._value(row, key): self._value(row, item) for key, item in value.items()}
        return [self._value(row, item) for item in value] if isinstance(value, list | tuple) else value

    def _sanitised(self, row: _Row, text: str) -> str:
        return row.marks.sanitise(text, found(text, self._find, row.marks.kinds))

    def _private_prompt(self, row: _Row, prompt: Prompt, sampling: Sampling) -> str:
        return self._local_text(row, ASK.format(request=_shown(prompt)), sampling)

    def _generalised(self, row: _Row, sampling: Sampling) -> Prompt:
        row.generalised = True
        if isinstance(row.outgoing, str):
            return self._local_text(row, GENERALISE.format(text=row.outgoing), sampling)
        return [
            Message(role=m["role"], content=self._local_text(row, GENERALISE.format(text=m["content"]), sampling))
            for m in row.outgoing
        ]

    def _local_text(self, row: _Row, prompt: str, sampling: Sampling) -> str:
        assert self.local is not None  # the constructor has checked
        [answer] = self.local.generate([prompt], replace(sampling, stop=()))
        row.costs.append((self.local, cost_of(self.local, answer)))
        return answer.text

    def _completion(self, row: _Row, answer: Completion | None, sampling: Sampling) -> Completion:
        details: dict[str, Any] = {"sent": answer is not None, "placeholders": len(row.marks.values)}
        if row.generalised:
            details["generalised"] = True
        if answer is None:
            return self._answered_here(row, row.prompt, details | {"kept_back": row.blocked}, sampling)
        if self.mode == "papillon":
            composed = COMPOSE.format(request=_shown(row.prompt), draft=answer.text)
            return self._answered_here(row, composed, details, sampling)
        unknown: list[str] = []
        text = row.marks.restore(answer.text, unknown)
        details["unknown_placeholders"] = unknown
        cost = joined(self, row.costs)
        return replace(answer, text=text, tokens=(), logprob=None, cost=cost, details={**answer.details, **details})

    def _answered_here(self, row: _Row, prompt: Prompt, details: Mapping[str, Any], sampling: Sampling) -> Completion:
        assert self.local is not None  # `generate` and the constructor have checked
        [answer] = self.local.generate([prompt], sampling)
        row.costs.append((self.local, cost_of(self.local, answer)))
        cost = joined(self, row.costs)
        return replace(answer, logprob=None, cost=cost, details={**answer.details, **details})

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the answer as they come, values put back; whole at the end where no piece can be shown before.

        Returns the completion.
        """
        row = self._prepared(prompt, sampling, 0) if self.mode == "placeholder" else None
        remote: Any = self.remote
        if row is None or row.blocked is not None or not hasattr(remote, "stream"):
            [whole] = self.generate([prompt], sampling)
            if whole.text:
                yield whole.text
            return whole
        told = replace(sampling, stop=row.stop)
        called_off = {} if cancel is None else {"cancel": cancel}
        answer: Completion = yield from row.marks.restored(remote.stream(row.outgoing, told, **called_off))
        row.costs.append((remote, cost_of(remote, answer)))
        return self._completion(row, answer, sampling)


def _shown(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _bytes_of(prompt: Prompt, stop: Sequence[str]) -> str:
    """What is written on the wire: JSON, its escapes undone, so that nothing hides in them."""
    written = json.dumps([prompt if isinstance(prompt, str) else list(prompt), list(stop)], ensure_ascii=False)
    return written.replace("\\n", "\n").replace('\\"', '"').replace("\\t", "\t").replace("\\\\", "\\")
