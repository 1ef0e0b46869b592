"""Secrets as people write them, in prose, JSON, code, addresses and headers: none of them reaches the remote model."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import unicodedata

import pytest

from consort.cooperate.private.cloud import Private
from consort.cooperate.private.recognisers import DEFAULT, RECOGNISERS
from consort.cooperate.private.spans import found
from consort.core.types import Completion, Sampling

DRAWN = string.ascii_letters + string.digits

PHONES = """
(N##) N##-#### | N##.N##.#### | +1-N##-N##-#### | 020 N### #### | +44 (0)20 N### #### | 030/N###### | 0171 N###### |
06 ## ## ## ## | 01.##.##.##.## | +39 06 ### ##### | 6## ## ## ## | (11) 9####-#### | +91 N#### ##### | 0N#### ##### |
13######### | 090-####-#### | (02) N### #### | 08-### ### ## | 044 ### ## ## | 06-######## | 8 (495) ###-##-## |
+971 50 ### #### | +31 (0)6 ######## | Tel. N######### | call me at N##-#### | 0######### | 电话：N##########
"""
EMAILS = """
{l}@{h} | <{l}@{h}> | mailto:{l}@{h} | "{l}"@{h} | {l}%40{h} | {l} (at) {h} | {l} [at] {d} | {l} @ {h} | {l} at {d} |
{l}&#64;{h} | cc={l}@{h} | [{l}@{h}](x) | {l}\\u0040{h} | {l}{{at}}{h} | {l}＠{h}
"""
ADDRESSES = """
https://x.example/?token={} | https://x.example/cb#access_token={}&state=1 | https://x.example/?a=1&client_secret={} |
https://bob:{}@host.example/p | postgres://bob:p@{}@db:5432/x | https://{}@github.com/a | redis://:{}@cache:6379 |
https://x.example/?X-Amz-Signature={} | https://x.example/reset?code={} | https://x.example/?session_id={}
"""
GIVEN = """
{"password": "%"} | {"user": "b", "api_key": "%", "n": 1} | password = '%' | export DB_PASSWORD=% | db_password: % |
Authorization: Bearer % | X-Api-Key: % | const apiKey = `%`; | {\\"password\\": \\"%\\"} |
os.environ['API_TOKEN'] = '%' |
my password is % | Passwort: % | <password>%</password> | --password % | --token=% | mysql -u b -p% | PIN: % | 密码是%
"""
FRAMES = (
    "Please summarise: {} was noted.",
    "{}",
    '{{"note": "{}", "n": 3}}',
    "x = '{}'",
    "电话是{}，谢谢",
    "Room AB12 please pay {} today",
    "order 12 {} 3 items",
)


def one_of(rng: random.Random, table: str) -> str:
    return rng.choice([" ".join(cell.split()) for cell in table.split("|")])


def drawn(rng: random.Random, letters: str, count: int) -> str:
    return "".join(rng.choice(letters) for _ in range(count))


def phone(rng: random.Random) -> tuple[str, str]:
    text = re.sub("[N#]", lambda m: rng.choice("123456789" if m[0] == "N" else string.digits), one_of(rng, PHONES))
    return re.sub(r"^\D*(?=[+(\d])", "", text), text


def email(rng: random.Random) -> tuple[str, str]:
    local = rng.choice(["jo+news", "zoë", "мария", "o'brien", "राजेश", "王伟+a.b"]) + str(rng.randrange(10**4))
    host = rng.choice(["example.com", "mail.example.co.uk", "münchen.de", "пример.рф", "xn--mnchen-3ya.de"])
    return local, one_of(rng, EMAILS).format(l=local, h=host, d=host.replace(".", " dot "))


def card(rng: random.Random) -> tuple[str, str]:
    body = [4, *(rng.randrange(10) for _ in range(14))]
    number = "".join(map(str, [*body, -sum(n if i % 2 else sum(divmod(2 * n, 10)) for i, n in enumerate(body)) % 10]))
    gap = rng.choice(["-", "–", " ", ".", "", " - ", "\n", "\u00a0", "  ", "_", "/"])
    return number, gap.join(number[i : i + 4] for i in range(0, 16, 4))


def iban(rng: random.Random) -> tuple[str, str]:
    bank = {"DE": 18, "FR": 23, "NL": 14, "CH": 17, "NO": 11, "MT": 27}
    country = rng.choice(sorted(bank))
    tail = drawn(rng, string.digits, bank[country])
    number = f"{country}{98 - int(tail + ''.join(str(int(c, 36)) for c in country) + '00') % 97:02}{tail}"
    gap = rng.choice(["", " ", "-", "\u00a0", "."])
    text = gap.join(number[i : i + 4] for i in range(0, len(number), 4))
    return number, rng.choice([text, text.lower(), f"IBAN{text}", f"IBAN: {text}"])


def key(rng: random.Random) -> tuple[str, str]:
    plain = rng.choice(["sk-", "ghp_", "xoxb-", "AKIA", ""]) + drawn(rng, DRAWN, 40)
    made = {
        "plain": plain,
        "letters": drawn(rng, string.ascii_letters, 32),
        "hex": drawn(rng, "0123456789abcdef", rng.choice([32, 40, 64])),
        "base64": base64.b64encode(plain.encode() * rng.choice([1, 16])).decode(),
        "base32": base64.b32encode(plain.encode()).decode(),
        "base16": base64.b16encode(drawn(rng, "0123456789abcdef", 32).encode()).decode(),
    }
    text = made[rng.choice(sorted(made))]
    return text, text


def address(rng: random.Random) -> tuple[str, str]:
    token = drawn(rng, DRAWN, rng.choice([8, 12, 24]))
    return token, one_of(rng, ADDRESSES).format(token)


def given(rng: random.Random) -> tuple[str, str]:
    secret = rng.choice(["hunter", "Tr0ub4dor&", "correct-horse", "pässwört"]) + drawn(rng, string.digits, 5)
    return secret, one_of(rng, GIVEN).replace("%", secret)


class Recording:
    """A remote model that keeps all it gets and says it again, in small pieces where it streams."""

    name = "cloud"

    def __init__(self, step: int) -> None:
        self.received: list[str] = []
        self.step = step

    def generate(self, prompts, sampling=Sampling()):
        self.received += [json.dumps([prompt, sampling.stop], ensure_ascii=False) for prompt in prompts]
        return [Completion(prompt if isinstance(prompt, str) else prompt[-1]["content"]) for prompt in prompts]

    def stream(self, prompt, sampling=Sampling()):
        [answer] = self.generate([prompt], sampling)
        yield from (answer.text[i : i + self.step] for i in range(0, len(answer.text), self.step))
        return answer


def bare(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold())


@pytest.mark.parametrize("kind", [phone, email, card, iban, key, address, given], ids=lambda f: f.__name__)
def test_no_planted_secret_leaves(kind) -> None:
    rng = random.Random(kind.__name__)
    for _ in range(60):
        secret, written = kind(rng)
        text = rng.choice(FRAMES).format(written)
        cloud = Recording(rng.randrange(1, 5))
        model = Private(cloud)
        assert model.generate([text])[0].text == text
        assert "".join(model.stream(text)) == text
        chat = [{"role": "system", "content": f"known: {written}"}, {"role": "user", "content": text, "x": [written]}]
        model.generate([chat])
        assert len(cloud.received) == 3
        assert not any(bare(secret) in bare(got) for got in cloud.received), text


@pytest.mark.parametrize("ending", ["'s", "’s", "s'", "-", "_x", "'S", "ʼs"])
def test_names_in_the_possessive(ending: str) -> None:
    cloud = Recording(2)
    model = Private(cloud, words=["Zoë O'Brien"])
    for name in (
        "Zoë O'Brien",
        "ZOË O'BRIEN",
        unicodedata.normalize("NFD", "zoë o’brien"),
        "Zoë\nO'Brien",
        "zoë_obrien",
    ):
        model.generate([f"see {name}{ending} car"])
    assert len(cloud.received) == 5
    assert not any("brien" in bare(got) or "zo" in bare(got) for got in cloud.received)


def test_a_block_of_a_private_key_is_one_secret() -> None:
    block = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nshort\n-----END RSA PRIVATE KEY-----"
    for text in (block, block.replace("\n", "\\n"), block[:50]):
        spans = found(f"a {text}", [RECOGNISERS.get("api_key")()])
        assert [(s.start, s.stop) for s in spans] == [(2, 2 + len(text))]


@pytest.mark.parametrize(
    "text",
    [
        "The token is a unit of text, and the secret is out: nobody knows.",
        "token = tokenizer.encode(text)\npassword = input()\nself.key = key\nmax_tokens: 512",
        "Sort 10 20 30 40 50 60 70 and 2024-11-29 10:30, 01/02/2026 10:30, paper 2304.12102, 3.14159 26535.",
        "getElementsByTagNameAndClassName, INTERNATIONALISATION, https://x.example/@user?q=1",
        "in 2014 and sir curtly of 19 and 20 and live in the twin",
    ],
)
def test_ordinary_words_and_numbers_are_left_alone(text: str) -> None:
    assert not found(text, [RECOGNISERS.get(name)() for name in DEFAULT])
