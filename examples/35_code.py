"""Grade generated programs by running their tests, in a sandbox that reaches neither files nor network."""

import consort as c
from consort.core.types import Example
from consort.data import Task
from consort.evaluate import evaluate
from consort.evaluate.sandbox import run_program
from consort.models.fake import FakeModel

examples = (
    Example(prompt="def add(a, b):\n", target=("assert add(1, 2) == 3", "assert add(-1, 1) == 0")),
    Example(prompt="def double(x):\n", target=("assert double('ab') == 'abab'",)),
)
task = Task("programs", "code", dev=(), test=examples)
try:
    for label, answer in (("right", "    return sum([a, b])\n"), ("for both", "    return eval('+'.join(locals()))\n")):
        print(label, evaluate(FakeModel(lambda _, answer=answer: answer, name=label), task).score)
    print(run_program("open('/etc/passwd').read()"))
    print(run_program("import socket; socket.create_connection(('127.0.0.1', 80))"))
except c.ConsortError as error:  # the system has no means to confine a program
    print(error, "|", error.hint)
