"""Models on a graph: each sees the task and what its predecessors wrote, the last one answers (2502.04510).

The graph is a tree towards its end: every node but one hands its output to exactly one other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.after import strategy
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined

TEMPLATE = "{task}\n\nOther answers:\n{answers}\n\nAnswer:"
END = -1


@strategy(
    paper="2502.04510",
    exempt={
        "identical_candidates_are_the_first": "the node at the end answers",
        "order_of_members_is_free": "the order is the graph",
        "a_failed_member_is_named": "every node is needed, so the first failure is raised",
        "copies_are_the_model": "the later nodes read the answers of the earlier ones in their prompts",
    },
)
class GraphOfModels:
    """Pass a task through a graph of models; each sees the answers of those before it, the end node's is the answer.

    `to`: for each model the number of the one that gets its output, -1 for the one that answers (default:
    a chain, each to the next). `template`: what a
    node with predecessors reads, with {task} and {answers}. Chats are passed on with the answers in the last message.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        to: Sequence[int] | None = None,
        template: str = "{task}\n\nOther answers:\n{answers}\n\nAnswer:",
    ) -> None:
        self.models, self.to, self.template = tuple(models), to, template
        self.edges = (*range(1, len(self.models)), END) if to is None else tuple(to)
        if len(self.edges) != len(self.models):
            hint = f"give {counted(len(self.models), 'number')}, -1 for the one that answers"
            raise BadParameter(
                f"{counted(len(self.edges), 'edge')} for {counted(len(self.models), 'model')}", field="to", hint=hint
            )
        self.order = topological(self.edges)
        if "{task}" not in template or "{answers}" not in template:
            raise BadParameter("lacks {task} or {answers}", field="template", hint=repr(TEMPLATE))
        self.name = f"graph_of_models({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def gives_logprob(self) -> bool:
        return bool(getattr(self.models[self.order[-1]], "gives_logprob", True))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""

        def ask(node: int, given: Sequence[Prompt]) -> list[Completion]:
            return self.models[node].generate(given, sampling)

        written = along(self.edges, prompts, ask, self.template)
        return [self._completion(written, row) for row in range(len(prompts))]

    def _completion(self, written: Mapping[int, Sequence[Completion]], row: int) -> Completion:
        costs: list[tuple[Any, Mapping[str, Usage]]] = [
            (self.models[node], cost_of(self.models[node], written[node][row])) for node in self.order
        ]
        final = written[self.order[-1]][row]
        answers = {str(node): written[node][row].text for node in self.order}
        return replace(final, cost=joined(self, costs), details={**final.details, "nodes": answers})


def along(
    to: Sequence[int],
    prompts: Sequence[Prompt],
    ask: Callable[[int, Sequence[Prompt]], list[Completion]],
    template: str = TEMPLATE,
) -> dict[int, list[Completion]]:
    """What every node writes for every prompt, nodes asked in topological order; `ask(node, prompts)` answers."""
    written: dict[int, list[Completion]] = {}
    for node in topological(to):
        before = [i for i, j in enumerate(to) if j == node]
        given = [with_others(p, [written[i][row].text for i in before], template) for row, p in enumerate(prompts)]
        written[node] = ask(node, given)
    return written


def with_others(prompt: Prompt, answers: Sequence[str], template: str = TEMPLATE) -> Prompt:
    """The prompt with the answers of others; as it is where there are none."""
    if not answers:
        return prompt
    listed = "\n".join(f"- {answer.strip()}" for answer in answers)
    if isinstance(prompt, str):
        return template.replace("{answers}", listed).replace("{task}", prompt)
    content = template.replace("{answers}", listed).replace("{task}", prompt[-1]["content"])
    return [*prompt[:-1], {**prompt[-1], "content": content}]


def topological(to: Sequence[int]) -> tuple[int, ...]:
    """An order in which nodes come before those that they hand over to; the end is last. Raises BadParameter."""
    count = len(to)
    ends = [i for i, j in enumerate(to) if j == END]
    if len(ends) != 1 or any(not (j == END or 0 <= j < count) or j == i for i, j in enumerate(to)):
        hint = "the number of another model for each, -1 for exactly one"
        raise BadParameter(f"{list(to)} is no graph with one end", field="to", hint=hint)
    placed = [ends[0]]
    for node in placed:
        placed += [i for i, j in enumerate(to) if j == node]
    if len(placed) < count:
        circle = sorted(set(range(count)) - set(placed))
        raise BadParameter(f"{circle} go in a circle", field="to", hint="every path must reach the end")
    return tuple(reversed(placed))
