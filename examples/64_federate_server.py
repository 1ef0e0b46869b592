"""A real server and two clients on loopback: what the commands `consort federate plan.yml out` (with `where: http`) and
`consort federate join URL --data FILE` do, in one script. Only tensors and numbers leave a client."""

import json
import secrets
import threading
from pathlib import Path

from consort import lab
from consort.federate import Federation
from consort.federate.http.hub import Hub
from consort.federate.http.joining import Joined
from consort.federate.member import member_of
from consort.federate.plan import parse_federate
from consort.federate.rounds import Rounds
from consort.federate.secure.rounds import SecureSum
from consort.federate.setup import Setup
from consort.plan import load

rows = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
for name, skill in (("ann", "mirror"), ("bob", "shout")):
    own = [row for row in rows if json.loads(row)["group"] == skill]
    Path(f"{name}.jsonl").write_text("\n".join(own))
tokens = {name: secrets.token_urlsafe() for name in ("ann", "bob")}  # each party is given its own
Path("tokens.txt").touch(mode=0o600)
Path("tokens.txt").write_text("".join(f"{name} {token}\n" for name, token in tokens.items()))
plan = {
    "model": "lab:base",
    "clients": list(tokens),
    "where": "http",
    "serve": {"tokens": "tokens.txt"},
    "trainable": {"rank": 2},
    "train": {"steps": 2, "batch": 8, "lr": 2e-3},
    "secure": {"bound": 1.0},  # the server sees the sum of the two changes, neither of them
}
setup, base = Setup(parse_federate(plan)), load("lab:base")
bench = setup.bench(base)


with Hub(tokens, Path("incoming"), setup.offered(base)) as hub:
    parties = []
    for name, token in tokens.items():
        joined = Joined(hub.url, token)
        member = member_of(*joined.plan(), base, Path(f"{name}.jsonl"))
        parties.append(threading.Thread(target=joined.work, args=(member,)))
    for party in parties:
        party.start()
    found = Federation(
        bench.first,
        hub.clients,
        setup.rule,
        Rounds(rounds=2, min_clients=2, workers=2),
        Path("run"),
        secure=SecureSum(1.0),
    ).run()
    hub.farewell()
for party in parties:
    party.join()
print("saved as", bench.save(found.state, Path("model")), "in model; hash", found.hash)
