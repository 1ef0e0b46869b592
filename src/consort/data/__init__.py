"""Task files and the small YAML reader; nothing here imports numpy or torch."""

from consort.data.prompts import load_pairs, load_prompts
from consort.data.settings import Options
from consort.data.task import Task, load_task
from consort.data.yaml import dump_yaml, load_yaml

__all__ = ["Options", "Task", "dump_yaml", "load_pairs", "load_prompts", "load_task", "load_yaml"]
