"""Adapters: nothing at the start, readable by peft, equal to their delta."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadCheckpoint, BadParameter
from consort.train import Lora, attach_lora, read_adapter, save_adapter


def tiny():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


@pytest.fixture
def adapted(tmp_path):
    """A model whose adapter was moved away from nothing, and the folder it was written to."""
    model, lora, generator = tiny(), Lora(rank=2, alpha=6), torch.Generator().manual_seed(1)
    attach_lora(model, lora, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    save_adapter(model, tmp_path / "adapter", lora, base="base")
    return model, tmp_path / "adapter"


IDS = torch.tensor([[1, 2, 3, 4]])


def test_an_untrained_adapter_changes_nothing_and_only_it_learns():
    plain, model = tiny(), tiny()
    names = attach_lora(model, Lora(), generator=torch.Generator().manual_seed(0))
    assert len(names) == 14
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_peft_reads_what_we_write(adapted):
    from peft import PeftModel

    model, folder = adapted
    theirs = PeftModel.from_pretrained(tiny(), folder)
    assert torch.allclose(theirs(input_ids=IDS).logits, model(IDS).logits, atol=1e-5)


def test_the_delta_is_what_the_adapter_does(adapted):
    model, folder = adapted
    merged, delta = tiny(), read_adapter(folder)
    state = merged.state_dict()
    merged.load_state_dict(state | {name: state[name] + change for name, change in delta.items()})
    assert torch.allclose(merged(IDS).logits, model(IDS).logits, atol=1e-5)


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(BadParameter, match="c_attn"):
        attach_lora(tiny(), Lora(targets=("c_attn",)), generator=torch.Generator())


def test_a_folder_without_adapter_is_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match="adapter_config.json: does not exist"):
        read_adapter(tmp_path)
