"""What weights hold, told by a hash of their content: equal weights have equal hashes, however their files are cut."""

from __future__ import annotations

import hashlib

import torch

from consort.weights.checkpoint import Checkpoint, leaves


def content_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, in the order of names; 64 hexadecimal digits.

    Of a checkpoint that is computed from others (an adapter over its base) it is that of their hashes in order. Each
    tensor is read once; the order of tensors in files, shards and metadata play no part.
    """
    sources = leaves(checkpoint)
    if len(sources) > 1:
        digest = hashlib.sha256()
        for source in sources:
            digest.update(content_hash(source).encode())
        return digest.hexdigest()
    source, digest = sources[0], hashlib.sha256()
    for name in sorted(source.keys()):
        spec = source.spec(name)
        digest.update(f"{name}\0{str(spec.dtype).removeprefix('torch.')}\0{list(spec.shape)}\0".encode())
        digest.update(source[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
