"""Files beside the weights, without the code that they ask for: `auto_map` names Python files of a stranger."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from consort.core.errors import ConsortError
from consort.core.files import machine_errors
from consort.weights.disk.paths import present, read_json

log = logging.getLogger(__name__)

MARK = b"auto_map"


def files_beside(
    folder: Path, names: tuple[str, ...], *, allow_remote_code: bool = False
) -> Mapping[str, Path | bytes]:
    """Those of `names` that are in `folder`; a JSON file that asks for code of its own without that request, told."""
    found: dict[str, Path | bytes] = dict(present(folder, names))
    if allow_remote_code:
        return found
    for name, path in found.items():
        if name.endswith(".json") and name != "tokenizer.json" and isinstance(path, Path):
            cleaned = _cleaned(path, path.stat().st_mtime_ns)
            found[name] = path if cleaned is None else cleaned
    return found


@lru_cache(256)
def _cleaned(path: Path, changed_ns: int) -> bytes | None:
    """The file without `auto_map`; None where it has none. Told once for each state of the file."""
    with machine_errors(path):
        if MARK not in path.read_bytes():
            return None
    try:
        value = read_json(path)
    except ConsortError:  # copied as it is: whoever reads it will say what is wrong
        return None
    if "auto_map" not in value:
        return None
    log.warning("%s asks for code of its own (auto_map), which is left out", path)
    kept = {key: inner for key, inner in value.items() if key != "auto_map"}
    return (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()
