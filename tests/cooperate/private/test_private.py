"""A cloud model that never sees what is private, and what happens where it could."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

import consort
from consort.cooperate.private.cloud import Private
from consort.cooperate.private.gate import Gate
from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Completion, Sampling
from consort.models.fake import FakeModel


class Recording:
    """A remote model that keeps every byte it gets and answers with what it was asked."""

    name = "cloud"

    def __init__(self, answer=lambda text: f"you said: {text}") -> None:
        self.received: list[bytes] = []
        self.answer = answer

    def generate(self, prompts, sampling=Sampling()):
        self.received += [repr((prompt, sampling)).encode() for prompt in prompts]
        texts = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
        return [Completion(self.answer(text)) for text in texts]

    def stream(self, prompt, sampling=Sampling()):
        [answer] = self.generate([prompt], sampling)
        yield from (answer.text[i : i + 3] for i in range(0, len(answer.text), 3))
        return answer


def local(answer: str = "from here") -> FakeModel:
    return FakeModel(lambda text: answer, name="local")


def test_the_answer_is_as_if_nothing_had_been_hidden() -> None:
    cloud = Recording()
    text = "write to bob@example.com for Anna Bell, card 4111 1111 1111 1111"
    [answer] = Private(cloud, words=["Anna Bell"]).generate([text])
    assert answer.text == f"you said: {text}"
    assert b"write to <EMAIL_1> for <NAME_1>, card <CARD_1>" in cloud.received[0]
    assert answer.details["placeholders"] == 3 and answer.details["sent"]


def test_all_messages_take_the_same_path() -> None:
    cloud = Recording()
    chat = [
        {"role": "system", "content": "the user is Anna Bell"},
        {
            "role": "user",
            "content": "hi, bob@example.com here",
            "name": "Anna Bell",
            "tool": {"to": ["bob@example.com"]},
        },
    ]
    model = Private(cloud, words=["Anna Bell"])
    [answer] = model.generate([chat], Sampling(stop=("Anna Bell",)))
    assert answer.text == "you said: hi, bob@example.com here"
    assert not re.search(rb"anna|bell|bob@", cloud.received[0], re.IGNORECASE)
    assert "".join(model.stream(chat)) == "you said: hi, bob@example.com here"


FIRST, LAST = ["Anna", "Jürgen", "Wei", "Oluwaseun", "Zoë", "Rajesh"], ["Bell", "Øksendal", "Kowalski", "Nakamura"]


def luhn_card(rng: random.Random) -> str:
    body = [4, *(rng.randrange(10) for _ in range(14))]
    total = sum(n if i % 2 else sum(divmod(2 * n, 10)) for i, n in enumerate(body))
    return "".join(map(str, [*body, -total % 10]))


def iban(rng: random.Random) -> str:
    bank = "".join(str(rng.randrange(10)) for _ in range(18))
    return f"DE{98 - int(bank + '131400') % 97:02}{bank}"


def planted(rng: random.Random) -> tuple[str, list[str]]:
    """A secret and the words that the user would have to list for it."""
    kind = rng.randrange(6)
    name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    number = rng.randrange(10**6, 10**7)
    if kind == 0:
        return name, [name]
    if kind == 1:
        return f"user{number}@mail{rng.randrange(100)}.example.com", []
    if kind == 2:
        return luhn_card(rng), []
    if kind == 3:
        return iban(rng), []
    if kind == 4:
        return f"+49 30 {number}", []
    project = f"Project {rng.choice(['Heron', 'Basalt', 'Quill'])}-{number}"
    return project, [project]


def variants(secret: str) -> list[str]:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in secret)
    spaced = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4)) if secret.isalnum() else secret
    return [secret, secret.upper(), secret.lower(), wide, spaced, secret[:3] + "\u200b" + secret[3:], f"«{secret}»"]


def bare(text: str) -> str:
    seen = unicodedata.normalize("NFKC", re.sub("[\u200b\ufeff]", "", text)).casefold()
    return re.sub(r"[\W_]", "", seen)


def test_a_thousand_planted_secrets_in_all_their_spellings() -> None:
    rng, leaks, blocked, count = random.Random(7), 0, 0, 0
    for _ in range(1000):
        secret, words = planted(rng)
        cloud = Recording()
        model = Private(cloud, local(), words=words)
        for spelling in variants(secret):
            text = f"Please summarise: {spelling} was seen near the station at noon."
            [answer] = model.generate([text])
            count += 1
            blocked += not answer.details["sent"]
            if answer.details["sent"]:
                assert spelling in answer.text
        leaks += any(bare(secret) in bare(got.decode()) for got in cloud.received)
    assert leaks == 0
    assert blocked / count < 0.02  # it is the replacing that hides them, not silence


@pytest.mark.parametrize("fault", [RuntimeError("x"), MemoryError(), RecursionError()])
def test_a_gate_that_fails_sends_nothing(fault, monkeypatch) -> None:
    def broken(self, text, values):
        raise fault

    monkeypatch.setattr(Gate, "leaks", broken)
    cloud = Recording()
    [answer] = Private(cloud, local()).generate(["hello"])
    assert (answer.text, answer.details["sent"], cloud.received) == ("from here", False, [])
    with pytest.raises(Unsupported, match="gate failed"):
        Private(cloud).generate(["hello", "you"])
    assert "".join(Private(cloud, local()).stream("hello")) == "from here"
    assert cloud.received == []


class Blind:
    """A recogniser that finds nothing."""

    def find(self, text):
        return []


@pytest.mark.parametrize(
    "text",
    [
        "Tell Konrad Zuse",
        "tell KONRAD   ZUSE",
        "tell K-o-n-r-a-d Zuse",
        "tell Ｋｏｎｒａｄ Zuse",
        "Konrad Zusse",
        "Konrad\nZuse",
    ],
)
def test_the_gate_holds_back_what_was_not_replaced(text, monkeypatch) -> None:
    monkeypatch.setattr(Private, "_sanitised", lambda self, row, value: value)
    cloud = Recording()
    with pytest.raises(Unsupported, match="could be read"):
        Private(cloud, words=["Konrad Zuse"], recognisers=[Blind()]).generate([text])
    [answer] = Private(cloud, local(), words=["Konrad Zuse"]).generate([text])
    assert answer.text == "from here" and cloud.received == []
    with pytest.raises(Unsupported):
        Private(cloud, local(), words=["Konrad Zuse"], on_leak="raise").generate([text])


def test_what_the_gate_looks_for() -> None:
    gate = Gate()
    assert gate.leaks("call 49-30.123 456 7", ["+49 30 1234567"]) == [0]
    assert gate.leaks("the Zuse Z3", ["Al", "Zuse"]) == [1]
    assert gate.leaks("Also mentioned", ["Al", "Men"]) == []
    assert gate.leaks("<NAME_1> wrote", ["Name"]) == []
    assert gate.leaks("Jonathon Smyth", ["Jonathan Smith"]) == [0]
    assert gate.leaks("Peter", ["Petra"]) == []
    assert Gate(similarity=lambda a, b: 0.95 if b == "the inventor" else 0.0).leaks("x\nthe inventor", ["Zuse"]) == [0]


def test_papillon_asks_for_a_private_prompt_and_writes_the_answer_here() -> None:
    asked: list[str] = []

    def write(text: str) -> str:
        asked.append(text)
        return "How does one write a condolence letter?" if text.startswith("Rewrite") else "Dear Ann, ..."

    cloud = Recording(lambda text: "Be brief.")
    model = Private(cloud, FakeModel(write, name="local"), mode="papillon", words=["Ann Lee"])
    [answer] = model.generate(["Write a condolence letter to Ann Lee, ann@example.com"])
    assert answer.text == "Dear Ann, ..." and "Be brief." in asked[1] and "Ann Lee" in asked[1]
    assert b"condolence letter?" in cloud.received[0] and b"Ann Lee" not in cloud.received[0]
    assert set(answer.cost) == {"local", "cloud"} or "local" in answer.cost
    careless = FakeModel(lambda text: "a letter to ANN@example.com" if text.startswith("Rewrite") else "mine", name="l")
    [answer] = Private(cloud, careless, mode="papillon").generate(["to ann@example.com"])
    assert answer.text == "mine" and len(cloud.received) == 1


def test_generalising_is_told() -> None:
    cloud = Recording()
    model = Private(cloud, FakeModel(lambda text: "an adult, <EMAIL_1>", name="local"), generalise=True)
    [answer] = model.generate(["a nurse of 34, bob@example.com"])
    assert answer.text == "you said: an adult, bob@example.com" and answer.details["generalised"]


def test_it_nests_in_a_cascade_and_in_plans() -> None:
    small = FakeModel(lambda text: "unsure", name="small", logprob=-9.0)
    cloud = Recording()
    team = consort.cascade([small, Private(cloud, small)], threshold=0.9)
    [answer] = team.generate(["mail bob@example.com"])
    assert answer.text == "you said: mail bob@example.com" and b"bob@" not in cloud.received[0]
    from consort.plan.build import build
    from consort.plan.expression import parse

    document = {"private": {"remote": "lab:base", "local": "lab:base", "words": ["x y"], "recognisers": ["email"]}}
    built = build(parse({"plan": {"cascade": {"models": ["lab:base", document]}}}))
    assert built.models[1].words == ("x y",)


def test_wrong_choices() -> None:
    for choice in ({"mode": "papillon"}, {"generalise": True}):
        with pytest.raises(BadParameter, match="local"):
            Private(Recording(), **choice)
    with pytest.raises(BadParameter):
        Private(Recording(), mode="hide")


def test_logs_and_representations_hold_nothing(caplog) -> None:
    model = Private(Recording(), local(), words=["Konrad Zuse"])
    [answer] = model.generate(["Konrad Zuse"])
    assert "Konrad" not in repr(model) + repr(answer.details) + caplog.text


def test_a_stream_ends_with_the_completion_that_generate_gives() -> None:
    from consort.cooperate.compress.compressed import Compressed
    from consort.cooperate.compress.compressors.first import First
    from consort.ensemble.calls import streamed

    def ended(pieces):
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                return end.value

    text = "mail bob@example.com"
    for model in (Private(Recording()), Private(Recording(), local(), words=["mail"], recognisers=[])):
        [whole] = model.generate([text])
        found = ended(model.stream(text))
        assert (found.text, found.details, set(found.cost)) == (whole.text, whole.details, set(whole.cost))
    private = Private(Recording())
    short = Compressed(private, First(), rate=0.5)
    assert ended(streamed(short, text, Sampling())).text == short.generate([text])[0].text
