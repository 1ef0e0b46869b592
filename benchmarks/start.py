"""How long the program takes to say what it can do, against importing torch and transformers; fresh interpreters."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 5
COMMANDS = {
    "consort --help": "from consort.cli.border import run; run(['--help'])",
    "consort methods": "from consort.cli.border import run; run(['methods'])",
    "import torch": "import torch",
    "import transformers' AutoModel": "from transformers import AutoModelForCausalLM",
}


def seconds(code: str) -> float:
    """Median wall time of a fresh interpreter running `code`."""
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    measured = {name: seconds(code) for name, code in COMMANDS.items()}
    reference = measured["consort --help"]
    for name, taken in measured.items():
        print(f"{name:32} {taken:7.2f} s   {taken / reference:6.1f} x consort --help")
