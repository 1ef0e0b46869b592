"""Summaries against their sources: which sentence is doubted, by what evidence, and does a blend know better?

The sources are about invented countries; half of the summaries have one planted error (a number, a negation, a name).
A summary sentence that its source does not bear out is what `alignscore` looks for; `ngram_precision` is the baseline.
With real texts `nli:` is the folder of any NLI checkpoint, and `consort check FILE` does the same from a shell.
"""

import random

import numpy as np

from consort import lab
from consort.cooperate.detect import detectors
from consort.cooperate.detect.quality import auroc, interval
from consort.lab.statements import ERRORS, plant
from consort.models.detecting import Case

rng = random.Random(0)
summaries = [plant(rng, ERRORS[i % 3] if i % 2 else None) for i in range(60)]
cases = [Case(one.answer, source=one.source) for one in summaries]
wrong = np.array([one.error is not None for one in summaries])
groups = [str(i) for i in range(len(cases))]

baseline = detectors.get("ngram_precision")(n=2)
entailed = detectors.get("alignscore")(nli=str(lab.path("nli")), words=1, joining="max")
for detector in (detectors.get("length")(), baseline, entailed):
    doubts = np.array([finding.doubt for finding in detector.detect(cases)])
    low, high = interval(auroc, doubts, wrong, groups, draws=200)
    print(f"{detector.name:16} AUROC {auroc(doubts, wrong):.3f} [{low:.3f}, {high:.3f}]")

# Where a summary is wrong: its most doubted sentence, and the sentence of the source that speaks most against it.
findings = detectors.get("summac")(nli=str(lab.path("nli")), joining="max").detect(cases)
found = [max(range(len(f.spans)), key=lambda i: f.spans[i].doubt) for f in findings]
located = [place == one.sentence for place, one in zip(found, summaries, strict=True) if one.error]
print(f"{np.mean(located):.2f} of the errors stand in the most doubted sentence")
assert np.mean(located) > 0.8
shown = next(i for i, one in enumerate(summaries) if one.error == "number")
span = findings[shown].spans[found[shown]]
print(f"doubted ({span.doubt:.2f}): {cases[shown].answer[span.start : span.end]!r}")
print(f"the source has: {span.evidence[0].text!r}")

# A blend learns from the first half what each is worth; it is tried on the second.
half = len(cases) // 2
blend, report = detectors.get("blend")([baseline, entailed]).fit(cases[:half], wrong[:half].tolist(), groups[:half])
told = np.array([finding.doubt for finding in blend.detect(cases[half:])])
crossed, fresh = report["auroc_cross_fitted"], auroc(told, wrong[half:])
print(f"blend: {crossed:.3f} cross-fitted on what it learned from, {fresh:.3f} on the other half")
assert fresh > 0.8
