"""CPU time a byte of a model over bytes with a large vocabulary, beside one forward pass of the model.

    python benchmarks/bytes.py [--vocabulary 150000] [--bytes 200]

The model is random (about 50 M parameters, 150,000 tokens, byte pair encoding with cl100k's pattern); the text is its
own source. The first pass includes what a tokenizer's tables take, the second finds them on disk.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from typing import Any

import torch

from consort.models import AsBytes, HFModel, HFTokenizer

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TEXT = "The fusion of models over bytes is exact: any two of them share the 256 bytes, whatever their tokenizers do. "


def tokenizer(size: int) -> HFTokenizer:
    """Words of up to four letters with and without a space before, each made by merges of the one shorter."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {name: i for i, name in enumerate(letters)}
    common = "etaoinshrdlucmfwypvbgk"
    merges = [("Ġ", c) for c in common]
    for n in (1, 2, 3):
        for start in ("", "Ġ"):
            merges += [(start + "".join(w[:-1]), w[-1]) for w in product(common, repeat=n + 1)]
    kept = []
    for a, b in merges:
        if len(ids) < size - 2 and a in ids and a + b not in ids:
            ids[a + b] = len(ids)
            kept.append((a, b))
    core = Tokenizer(models.BPE(ids, kept))
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "</s>"])
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>"))


def model(texts: HFTokenizer) -> HFModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True}
    module = LlamaForCausalLM(LlamaConfig(vocab_size=texts.vocab_size, **shape, **heads)).eval()
    return HFModel("random", module, texts)


def seconds(work: Any, count: int) -> float:
    begun = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - begun) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabulary", type=int, default=150_000)
    parser.add_argument("--bytes", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = model(tokenizer(options.vocabulary))
    count = sum(p.numel() for p in base.module.parameters()) / 1e6
    session = base.open()
    session.feed([base.tokenizer.encode(TEXT)])
    forward = seconds(lambda: session.feed([[5]], last=True), 20)
    print(f"{count:.1f} M parameters, {base.tokenizer.vocab_size} tokens: {forward * 1e3:.1f} ms a forward pass")
    text = (TEXT * (options.bytes // len(TEXT) + 1)).encode()[: options.bytes]
    for name in ("first", "again"):
        begun = time.thread_time()
        own = AsBytes(base)
        opened = time.thread_time() - begun
        bytewise = own.open()
        bytewise.feed([[256]])
        begun = time.thread_time()
        for byte in text:
            bytewise.feed([[byte]], last=True)
        each = (time.thread_time() - begun) / len(text)
        cost = f"{each * 1e3:.1f} ms a byte = {each / forward:.2f} forward passes (at most 3)"
        print(f"{name}: opened in {opened:.1f} s, {cost}", flush=True)


if __name__ == "__main__":
    main()
