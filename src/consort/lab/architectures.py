"""The shapes of the tiny models, each with fresh weights that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from consort.lab.folder import CONTEXT

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def llama(
    vocabulary: int, *, seed: int, hidden: int = 128, layers: int = 4, inner: int = 352, heads: int = 4
) -> PreTrainedModel:
    """A Llama with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return fresh(lambda: LlamaForCausalLM(config), seed)


def qwen2(
    vocabulary: int, *, seed: int, hidden: int = 128, layers: int = 3, inner: int = 320, heads: int = 4
) -> PreTrainedModel:
    """A Qwen2 (biases on q, k, v; two query heads share a key) with tied embeddings."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return fresh(lambda: Qwen2ForCausalLM(config), seed)


def gpt2(vocabulary: int, *, seed: int) -> PreTrainedModel:
    """A GPT-2 of three layers by 96, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=96,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return fresh(lambda: GPT2LMHeadModel(config), seed)


def fresh(build: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    """A model whose random weights come from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
