"""Plans: one expression, as YAML or as objects, for every verb."""

from consort.plan.build import build, load, model
from consort.plan.expression import Call, Node, Plan, Reference, dump, parse, read_plan
from consort.plan.objects import to_plan

__all__ = ["Call", "Node", "Plan", "Reference", "build", "dump", "load", "model", "parse", "read_plan", "to_plan"]
