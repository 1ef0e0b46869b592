"""How long the program takes to say what it can do: CPU seconds of fresh interpreters, beside importing torch.

`consort methods` is measured with four plug-ins installed too: a distribution laid down in a temporary folder.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

RUNS = 5
TARGETS = {"consort --help": 0.25, "consort methods, four plug-ins": 0.6}
COMMANDS = {
    "consort --help": "from consort.cli.border import run; run(['--help'])",
    "consort methods": "from consort.cli.border import run; run(['methods'])",
    "consort methods, four plug-ins": "import sys; from consort.cli.border import run; run(['methods']); "
    "assert not {'torch', 'four.one'} & {*sys.modules}",
    "import torch": "import torch",
    "import transformers' AutoModel": "from transformers import AutoModelForCausalLM",
}
PLUG_IN = '''
from consort.ensemble.confidences import confidence

@confidence()
class {name}:
    """Always sure."""

    def __call__(self, answer):
        return 1.0
'''


def install(site: Path) -> None:
    """Four plug-ins, as an installer leaves them."""
    (site / "four").mkdir()
    info = site / "four_plug_ins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: four-plug-ins\nVersion: 1.0\n")
    names = ("one", "two", "three", "four")
    for name in names:
        (site / "four" / f"{name}.py").write_text(PLUG_IN.format(name=name.title()))
    points = "".join(f"{name} = four.{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[consort.confidence]\n{points}")


def seconds(code: str, site: str) -> float:
    """Median CPU time, of the program and the system for it, of a fresh interpreter running `code`."""
    paths = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH", "")]))
    taken = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": paths})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        install(Path(folder))
        for name, code in COMMANDS.items():
            target = f"   target {TARGETS[name]:.2f} s" if name in TARGETS else ""
            print(f"{name:32} {seconds(code, folder if 'plug-ins' in name else ''):7.2f} s CPU{target}")
