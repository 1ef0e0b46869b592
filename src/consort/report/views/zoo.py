"""How alike the models of a zoo are, and which were merged with each other."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import abreast, card, figure, joined, number, paragraph, tag
from consort.report.views.registry import view
from consort.report.zoo import Kinship, kinship_charts, signals_table


@view(title="How alike the models are", order=35)
def zoo(report: Report, found: Any) -> Markup | None:
    """`details.zoo`: {models, weights, deltas, threshold, clusters: [{name, models, fit}], harmful: {name: why}}.

    And, where a base is known, signals: [{models, mean, worst: {signal: {map, value}}}].
    """
    kin = Kinship.model_validate(found)
    charts = [figure(*one) for one in kinship_charts(kin.models, kin.weights, kin.deltas, kin.threshold)]
    told = [
        paragraph(joined([tag("b", c.name), f", {number(c.fit)} on fit: {', '.join(c.models)}"])) for c in kin.clusters
    ]
    told += [paragraph(f"{name} was left out as harmful: {why}", "note") for name, why in kin.harmful.items()]
    drawn = abreast(*charts, card(*told, title="Clusters") if told else None)
    return joined([drawn, signals_table(kin.signals)]) if kin.signals else drawn
