"""Errors in clinical notes: is there one, in which sentence, and what should it say?

The notes are invented, in the shape of a public task's files (MEDIQA-CORR 2024): at most one sentence of each is wrong.
A pair scorer of our own says how a guideline bears on a sentence; `factcheck` finds and locates, three detectors vote
on the correction. Nothing here is medical advice.
"""

import csv
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from consort.cooperate.detect import detectors
from consort.cooperate.detect.guarding.edits import proposals
from consort.cooperate.detect.pairs import pair_scorer
from consort.cooperate.detect.sentences import sentences
from consort.cooperate.detect.words import words_of
from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.core.types import Usage
from consort.knowledge.text_index import TextIndex
from consort.models.detecting import Case

TREATED = {
    "streptococcal pharyngitis": ("penicillin", "500"), "otitis media": ("amoxicillin", "875"),
    "type 2 diabetes": ("metformin", "850"), "essential hypertension": ("lisinopril", "10"),
    "hypothyroidism": ("levothyroxine", "100"), "community pneumonia": ("doxycycline", "200"),
    "gout flare": ("colchicine", "1"), "migraine": ("sumatriptan", "50"), "scabies": ("ivermectin", "12"),
    "giardiasis": ("metronidazole", "250"), "oral herpes": ("aciclovir", "400"), "angina": ("nitroglycerin", "5"),
}  # fmt: skip
GUIDELINES = [f"{what.capitalize()} is treated with {drug} {dose} mg." for what, (drug, dose) in TREATED.items()]
COLUMNS = ("Text ID", "Text", "Error Flag", "Error Sentence ID", "Error Sentence", "Corrected Sentence")


@pair_scorer()
class Guideline:
    """A guideline that names the sentence's illness entails it, as far as its drug and dose agree, else contradicts."""

    name = key = "guideline"

    def score(self, premises, hypotheses):
        return np.array([self._row(*pair) for pair in zip(premises, hypotheses, strict=True)])

    def _row(self, premise, hypothesis):
        illness = premise.lower().split(" is treated")[0]
        if illness not in hypothesis.lower():
            return (0.0, 1.0, 0.0)
        wanted = words_of(premise.split(" with ")[1])
        agreed = sum(word in words_of(hypothesis) for word in wanted) / len(wanted)
        return (agreed, 0.0, 1 - agreed) if agreed == 1 else (0.0, agreed, 1 - agreed + 0.5)

    def spent(self):
        return Usage()


def note(rng, number):
    """A row of the task: in half of the notes the drug or the dose of one sentence is another's."""
    illnesses = rng.sample(list(TREATED), 2)
    age, days = rng.randrange(20, 80), rng.randrange(2, 9)
    said = [f"For {what} the patient was given {TREATED[what][0]} {TREATED[what][1]} mg daily." for what in illnesses]
    text = [f"A {age}-year-old patient was seen after {days} days of illness.", *said, "The patient went home."]
    flag, at = rng.random() < 0.5, rng.choice((1, 2))
    right = text[at]
    if flag:
        drug, dose = TREATED[illnesses[at - 1]]
        other_drug, other_dose = TREATED[rng.choice([w for w in TREATED if w not in illnesses])]
        text[at] = (
            right.replace(drug, other_drug) if rng.random() < 0.6 else right.replace(f" {dose} mg", f" {other_dose} mg")
        )
        flag = text[at] != right
    row = (
        f"note-{number}",
        " ".join(text),
        int(flag),
        at if flag else -1,
        text[at] if flag else "NA",
        right if flag else "NA",
    )
    return dict(zip(COLUMNS, row, strict=True))


def corrected(sentence, evidence, judges):
    """What most judges hold for the best of the sentences that differ by one span from the doubted one."""
    candidates = list(islice(proposals(sentence, evidence), 12))
    votes = Counter()
    for judge in judges:
        found = judge.detect([Case(one, source=evidence) for one in candidates])
        votes[min(range(len(candidates)), key=lambda i: (found[i].doubt if found[i].doubt is not None else 1, i))] += 1
    return candidates[votes.most_common(1)[0][0]] if candidates else sentence


rng = random.Random(0)
file = Path("notes.csv")
with file.open("w", newline="") as opened:
    writer = csv.DictWriter(opened, COLUMNS)
    writer.writeheader()
    writer.writerows(note(rng, number) for number in range(80))
with file.open(newline="") as opened:
    rows = list(csv.DictReader(opened))

checker = detectors.get("factcheck")(Bm25(index=TextIndex.of(GUIDELINES)), Guideline(), k=3)
judges = [checker, detectors.get("alignscore")(Guideline()), detectors.get("summac")(Guideline())]
findings = checker.detect([Case(row["Text"]) for row in rows])
flagged = located = right = wrong = 0
for row, finding in zip(rows, findings, strict=True):
    truth, said = row["Error Flag"] == "1", finding.doubt is not None and finding.doubt > 0.5
    flagged += truth == said
    wrong += truth
    if truth and said:
        worst = max((s for s in finding.spans if s.doubt is not None), key=lambda s: s.doubt)
        place = [s.start for s in sentences(row["Text"])].index(worst.start)
        located += place == int(row["Error Sentence ID"])
        sentence = row["Text"][worst.start : worst.end]
        right += corrected(sentence, worst.evidence[0].text, judges) == row["Corrected Sentence"]
base = max(wrong, len(rows) - wrong) / len(rows)
print(f"{len(rows)} notes, {wrong} with an error; always saying the commoner is right for {base:.3f}")
print(f"flags right for {flagged / len(rows):.3f}; of the errors, {located / wrong:.3f} found in their sentence")
print(f"and {right / wrong:.3f} corrected to the letter")
