"""Models over bytes: the example of the paper's kind by hand, brute-force enumeration, real models."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from consort.core.errors import BadData, BadParameter, Unsupported
from consort.core.types import Prompt, Sampling
from consort.ensemble.during.average import Average
from consort.models import AsBytes, FakeTokenizer, FakeTokenModel, HFModel, TokenModel, load_model
from consort.models.tokens.tokenizer import vocabulary_key
from consort.testing import model_laws as laws

END = 256


class Words:
    """Tokens are any strings; a text is read by the longest match. bos and eos come after them."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words, self.alphabet = list(words), "".join(words)
        self.bos, self.eos, self.vocab_size = len(words), len(words) + 1, len(words) + 2
        self.vocabulary_key = vocabulary_key({w: i for i, w in enumerate(words)})

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        tokens = [self.bos] if special else []
        while text:
            word = max((w for w in self.words if text.startswith(w)), key=len)
            tokens.append(self.words.index(word))
            text = text[len(word) :]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[i] for i in tokens if i < len(self.words))

    def chat(self, prompt: Prompt) -> str:
        return str(prompt)


def random_model(seed: int, words: Sequence[str]) -> FakeTokenModel:
    texts = Words(words)
    table = torch.randn(3, 11, texts.vocab_size, generator=torch.Generator().manual_seed(seed)).double()

    def logits(tokens: tuple[int, ...]) -> list[float]:
        mixed = table[0, tokens[-1] % 11] + table[1, sum(tokens) % 11] + table[2, len(tokens) % 11]
        return mixed.tolist()

    return FakeTokenModel(logits, texts, name=f"words-{seed}")  # type: ignore[arg-type]


Next = Callable[[tuple[int, ...]], list[float]]


def enumerated(
    next_p: Next, pieces: Sequence[bytes | None], ends: frozenset[int], head: tuple[int, ...], text: bytes
) -> float:
    """P(text): the probabilities of all covers, one sequence after the other."""
    total, open_ = 0.0, [(head, b"", 1.0)]
    while open_:
        path, spelt, weight = open_.pop()
        if len(spelt) >= len(text):
            total += weight
            continue
        for i, p in enumerate(next_p(path)):
            piece = pieces[i] if i < len(pieces) and i not in ends else None
            whole = spelt + piece if piece else b""
            if piece and p > 0 and (whole.startswith(text) or text.startswith(whole)):
                open_.append(((*path, i), whole, weight * p))
    return total


def end_mass(
    next_p: Next, pieces: Sequence[bytes | None], ends: frozenset[int], head: tuple[int, ...], text: bytes
) -> float:
    """P(text, then the end): over the sequences that spell exactly the text."""
    total, open_ = 0.0, [(head, b"", 1.0)]
    while open_:
        path, spelt, weight = open_.pop()
        p = next_p(path)
        if spelt == text:
            total += weight * sum(p[i] for i in ends)
            continue
        for i, piece in enumerate(pieces):
            if piece and i not in ends and text.startswith(spelt + piece):
                open_.append(((*path, i), spelt + piece, weight * p[i]))
    return total


def softmax(values: Sequence[float]) -> list[float]:
    return torch.tensor(values, dtype=torch.float64).softmax(-1).tolist()


def test_the_example_by_hand() -> None:
    """P(b | a) = (P(ab) + P(a) P(b or b.. | a)) / (P(a) + P(ab)) = (.3 + .5 * .6) / .8, not the .6 of the token a."""
    table = {(): [0.5, 0.2, 0.3, 0, 0], (0,): [0.1, 0.6, 0.3, 0, 0]}
    logs = {key: [math.log(p) if p else -math.inf for p in row] for key, row in table.items()}
    model = FakeTokenModel(lambda t: logs[t[1:]], Words(["a", "b", "ab"]))  # type: ignore[arg-type]
    p = AsBytes(model, covers="all").open().feed([[END, ord("a")]])[0].exp()
    assert p[0, [ord("a"), ord("b")]].tolist() == pytest.approx([0.8, 0.2])
    assert p[1, [ord("a"), ord("b"), END]].tolist() == pytest.approx([0.25, 0.75, 0])


@pytest.mark.parametrize("seed", range(4))
def test_all_covers_equal_enumeration_on_a_tiny_alphabet(seed: int) -> None:
    rng = random.Random(seed)
    words = ["a", "b", "c", *{"".join(rng.choice("abc") for _ in range(rng.randint(2, 4))) for _ in range(6)}]
    model = random_model(seed, words)
    pieces, ends, head = [w.encode() for w in words], model.ends, (len(words),)
    next_p = cache(lambda path: softmax(model.logits(path)))
    for _ in range(8):
        text = "".join(rng.choice("abc") for _ in range(rng.randint(0, 6))).encode()
        got = AsBytes(model, covers="all").open().feed([[END, *text]])[0].exp()
        for at in range(len(text) + 1):
            masses = [enumerated(next_p, pieces, ends, head, text[:at] + bytes([b])) for b in b"abc"]
            masses.append(end_mass(next_p, pieces, ends, head, text[:at]))
            wanted = [mass / sum(masses) for mass in masses]
            assert got[at, [*b"abc", END]].tolist() == pytest.approx(wanted, abs=1e-6)


def test_two_spellings_of_a_word_make_the_same_text() -> None:
    """The text's probability is the product of its bytes', which telescopes to the mass of all covers."""
    model = random_model(9, ["a", "b", "ab", "ba"])
    text = b"abba"
    (values,) = AsBytes(model, covers="all").logprobs([[END, *text, END]])
    next_p = cache(lambda path: softmax(model.logits(path)))
    pieces = [w.encode() for w in ("a", "b", "ab", "ba")]
    # bos and eos may not stand inside a text, so bytes are conditional on that
    mass = 1.0
    for at in range(len(text) + 1):
        nexts = [enumerated(next_p, pieces, model.ends, (4,), text[:at] + c) for c in (b"a", b"b")]
        nexts.append(end_mass(next_p, pieces, model.ends, (4,), text[:at]))
        mass *= nexts[2 if at == len(text) else b"ab".index(text[at])] / sum(nexts)
    assert float(values.double().sum()) == pytest.approx(math.log(mass), abs=1e-5)


@pytest.mark.parametrize("covers", ["valid", "all"])
@pytest.mark.parametrize("law", [*laws.SESSION_LAWS, *laws.ANSWER_LAWS], ids=lambda law: law.__name__)
def test_laws(law: Callable[..., None], covers: str) -> None:
    class Letters(AsBytes):
        """Random tokens of the laws are letters that the model knows."""

        @property
        def ends(self) -> frozenset[int]:
            return frozenset(range(257)) - frozenset(b"abc ")

    model = Letters(FakeTokenModel.random(3), covers=covers)  # type: ignore[arg-type]
    law(model, *([["ab", "c a"]] if law in laws.ANSWER_LAWS else []))


def test_pruning_is_bounded_and_told() -> None:
    model = random_model(1, ["a", "b", "ab", "ba", "aba", "aa", "bb"])
    text = list(b"abaabbabaabb")
    exact = AsBytes(model, covers="all").open()
    few = AsBytes(model, covers="all", branches=6).open()
    wanted, got = exact.feed([[END, *text]])[0].exp(), few.feed([[END, *text]])[0].exp()
    assert exact.dropped == [0.0]  # type: ignore[attr-defined]
    assert 0 < few.dropped[0] < 1  # type: ignore[attr-defined]
    assert 1e-7 < (got - wanted).abs().max() < 0.3


def test_a_text_begins_anew_after_an_end() -> None:
    model = AsBytes(FakeTokenModel.random(4))
    got = model.open().feed([[97, 98, END, 99, 97]])[0]
    laws.close(got[2:], model.open().feed([[END, 99, 97]])[0])


def test_what_cannot_be_read_is_refused() -> None:
    model = FakeTokenModel.random(0)
    with pytest.raises(BadParameter, match="is not valid"):
        AsBytes(model, covers="some")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="no bos or eos"):
        AsBytes(FakeTokenModel.random(0, FakeTokenizer(bos=False, eos=False)))
    with pytest.raises(BadData, match="cannot spell byte 0x7A"):
        AsBytes(model).open().feed([list(b"az")])
    with pytest.raises(BadData, match="300 is no byte"):
        AsBytes(model).open().feed([[300]])


def test_an_answer_ends_with_the_context_window() -> None:
    model = FakeTokenModel.random(2)
    model.window = 6
    (answer,) = AsBytes(model).generate(["abc"], Sampling(max_tokens=50, temperature=1.0))
    assert len(answer.tokens) <= 4
    assert answer.finish_reason == "length"


@cache
def real(folder: Path, tokenizer: str | None = None) -> HFModel:
    return load_model(folder, tokenizer=tokenizer, device="cpu")


def stories(shared: Path, count: int, size: int) -> list[bytes]:
    lines = (shared / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()[:count]
    return [json.loads(line)["text"].encode()[:size] for line in lines]


def bits_per_byte(model: TokenModel, texts: Sequence[bytes]) -> float:
    values = model.logprobs([[END, *text] for text in texts])
    return -sum(float(v.double().sum()) for v in values) / math.log(2) / sum(map(len, texts))


def test_bytes_of_a_model_of_bytes_are_its_own(shared: Path) -> None:
    model, texts = real(shared / "models/rwkv4-tiny", "bytes"), stories(shared, 3, 150)
    own = model.logprobs([[0, *text] for text in texts])
    wanted = -sum(float(v.double().sum()) for v in own) / math.log(2) / sum(map(len, texts))
    assert bits_per_byte(AsBytes(model), texts) == pytest.approx(wanted, abs=1e-5)


def test_valid_covers_are_what_the_tokenizer_makes(shared: Path) -> None:
    """Masks of neighbours agree with the tokenizer on pairs of its tokens that are text."""
    model = real(shared / "models/stories260K")
    spelling = AsBytes(model).spelling
    masks, texts = spelling.valid, spelling.pieces
    assert masks is not None
    rng = random.Random(0)
    usable = [i for i, t in enumerate(texts) if t and t.isalpha() and t.isascii() and i > 258]
    for _ in range(300):
        a, b = rng.choice(usable), rng.choice(usable)
        mask = np.zeros(len(texts), bool)
        mask[spelling.trie.ids[masks.mask([a])]] = True
        written = "x" + ((texts[a] or b"") + (texts[b] or b"")).decode()
        own = model.tokenizer.encode(written, special=False)
        if own[: len(own) - 2] == model.tokenizer.encode("x", special=False) or not mask[b]:
            assert bool(mask[b]) == (own[-2:] == [a, b])


def test_bits_per_byte_of_a_team_of_any_tokenizers(shared: Path) -> None:
    texts = stories(shared, 2, 120)
    models = [AsBytes(real(shared / "models/stories260K")), AsBytes(real(shared / "models/rwkv4-tiny", "bytes"))]
    first, second, team = (bits_per_byte(model, texts) for model in (*models, Average(models, weight=[9, 1])))
    assert first < 1.0 < 3.0 < second
    assert first < team < second
    tokens = models[0].model.logprobs([models[0].model.tokenizer.encode(t.decode()) for t in texts])
    own = -sum(float(v.double().sum()) for v in tokens) / math.log(2) / sum(map(len, texts))
    assert own - 0.05 < first < own + 0.001  # a text cut inside a token is likelier than the whole token


def test_the_cost_is_at_most_two_tokens_a_byte(shared: Path) -> None:
    model, (text,) = real(shared / "models/stories260K"), stories(shared, 1, 200)
    session = AsBytes(model).open()
    for byte in (END, *text):
        session.feed([[byte]])
    ((usage,),) = (cost.values() for cost in session.spent())
    assert usage.total_tokens <= 2 * len(text)


def covers_of(model: HFModel, text: bytes) -> tuple[float, float]:
    """P(text | its leading space) by enumerating covers breadth first with fresh forward passes; what was left out."""
    spelling = AsBytes(model, covers="all").spelling
    usable = [(i, piece) for i, piece in enumerate(spelling.pieces) if piece]
    whole, total, left_out, open_ = b" " + text, 0.0, 0.0, [(spelling.head, b"", 1.0)]
    norm = 0.0
    while open_:
        again: list[tuple[tuple[int, ...], bytes, float]] = []
        for part in range(0, len(open_), 512):
            some = open_[part : part + 512]
            with torch.no_grad():
                p = model.module(torch.tensor([path for path, _, _ in some])).logits[:, -1].double().softmax(-1)
            for (path, spelt, weight), row in zip(some, p.tolist(), strict=True):
                for i, piece in usable:
                    now, mass = spelt + piece, weight * row[i]
                    norm += mass if not spelt and now.startswith(b" ") else 0.0
                    if now.startswith(whole):
                        total += mass
                    elif whole.startswith(now) and mass > 1e-11:
                        again.append(((*path, i), now, mass))
                    elif whole.startswith(now):
                        left_out += mass
        open_ = again
    return total / norm, left_out / norm


def check_strings(shared: Path, count: int, longest: int) -> float:
    """The largest error over `count` strings of up to `longest` bytes."""
    model, rng = real(shared / "models/stories260K"), random.Random(4)
    source, worst = b" ".join(stories(shared, 50, 400)), 0.0
    for _ in range(count):
        size = rng.randint(1, longest)
        at = rng.randrange(len(source) - size)
        text = source[at : at + size]
        try:
            text.decode()
        except UnicodeDecodeError:
            continue
        session = AsBytes(model, covers="all", prune=1e-10, branches=1000).open()
        session.feed([[END, *text]], last=True)
        wanted, _ = covers_of(model, text)
        worst = max(worst, abs(chain(session, wanted) - wanted))
    return worst


def chain(session: object, _: float) -> float:
    """P(text) as the session's covers have it: the weight of each times what is left of its distribution."""
    (row,) = session.rows  # type: ignore[attr-defined]
    total = 0.0
    for node, branch in row.states[-1]:
        assert node.p is not None
        rest = float(node.p[branch.longer : branch.stop].sum()) if branch.depth else 1.0
        total += math.exp(node.weight) * rest
    first = row.states[0]
    whole = sum(math.exp(n.weight) * (float(n.p[b.longer : b.stop].sum()) if b.depth else 1.0) for n, b in first)
    return total / whole


def test_all_covers_of_real_strings_equal_enumeration(shared: Path) -> None:
    assert check_strings(shared, 8, 5) < 1e-6


@pytest.mark.slow
def test_all_covers_of_two_hundred_strings_equal_enumeration(shared: Path) -> None:
    assert check_strings(shared, 200, 12) < 1e-6


def test_valid_covers_of_words_split_by_a_pattern() -> None:
    """GPT-2 style: with its end, a text of the tokenizer's own has about the probability of its own tokens."""
    import consort as c

    model = c.model("lab:target")
    assert isinstance(model, TokenModel) and model.tokenizer.eos is not None
    text = "it is one of the seas , and all keeps in it ."
    (own,) = model.logprobs([[*model.tokenizer.encode(text), model.tokenizer.eos]])
    (values,) = AsBytes(model).logprobs([[END, *text.encode(), END]])
    assert float(values.double().sum()) == pytest.approx(float(own.double().sum()), rel=0.02)


def test_plans_name_models_over_bytes() -> None:
    from consort.plan.build import build
    from consort.plan.expression import parse
    from consort.plan.objects import to_plan

    plan = {"as_bytes": {"model": "lab:pivot", "covers": "all", "prune": 1e-6}}
    model = build(parse(plan))
    assert isinstance(model, AsBytes)
    assert (model.covers, model.prune, to_plan(model)) == ("all", 1e-6, plan)
