"""GenFuser (2306.02561, section 4): the best candidates are put before a model that writes one answer from them.

The paper trains a seq2seq model for this. Here any language model is prompted, or a seq2seq folder of transformers is
used as the paper uses its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, Any

import torch

from consort.core.errors import BadCheckpoint, BadParameter, ConsortError, Unsupported
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.after import strategy
from consort.ensemble.after.mixture_of_agents import AGGREGATE
from consort.ensemble.after.pair_ranker import PairJudge, ranked
from consort.ensemble.answers.candidates import Candidates, gather
from consort.ensemble.answers.prompts import with_answers
from consort.ensemble.answers.samples import checked_template
from consort.ensemble.answers.text_similarity import consensus, unigram_f1
from consort.ensemble.calls import checked_members
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of
from consort.models.cost import distinct
from consort.models.decoding.sampling import adjusted, check, check_bias, choose, key
from consort.models.hf.quiet import quiet
from consort.models.judges.classifiers import SAFE, folder_of
from consort.weights import Checkpoint


@strategy(
    paper="2306.02561",
    example={"fuser": 0},
    exempt={"order_of_members_is_free": "the fuser, which is one of the members here, answers"},
)
class GenFuser:
    """Ask all models, rank their answers, and let a fuser write one answer from the `top` best.

    `fuser`: a language model, asked by `instruction` with {answers} in it; or `seq2seq`: a folder of an
    encoder-decoder, which reads request and candidates after the marks of the paper. `ranker`: a PairRM folder;
    without one candidates are ranked by how many words they share with the others. A single candidate is returned
    as it is; if the fuser fails, so is the best. `details` has `answered_by` and whose answers were `fused`.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        fuser: LanguageModel | None = None,
        seq2seq: Checkpoint | None = None,
        ranker: Checkpoint | None = None,
        top: Annotated[int, Range(1, 20)] = 3,
        instruction: str | None = None,
    ) -> None:
        self.models, labels = checked_members(models)
        self.fuser, self.seq2seq, self.ranker, self.top = fuser, seq2seq, ranker, top
        self.instruction = instruction
        self.wording = checked_template(AGGREGATE if instruction is None else instruction, "instruction", "answers")
        if (fuser is None) == (seq2seq is None):
            raise BadParameter("one fuser is needed", field="fuser", hint="give fuser: or seq2seq:, not both")
        writer: Any = SeqToSeq(seq2seq) if seq2seq is not None else fuser
        self.writer = writer
        self.judge = None if ranker is None else PairJudge(ranker)
        *self.labels, self.last_label = distinct([*labels, self.writer.name])
        self.name = f"gen_fuser({', '.join(m.name for m in self.models)}; {self.writer.name})"

    @property
    def members(self) -> Sequence[object]:
        """The models that it asks."""
        return (*self.models, *(() if self.judge is None else (self.judge,)), self.writer)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        for judge in (self.judge, self.writer):  # a folder that cannot be used is said before anyone is asked
            if isinstance(judge, PairJudge | SeqToSeq):
                judge.open()
        rows = gather(self.models, self.labels, prompts, sampling)
        return [self._fused(row, sampling.of_rows([i])) for i, row in enumerate(rows)]

    def _fused(self, row: Candidates, sampling: Sampling) -> Completion:
        order = self._order(row)[: self.top]
        if len({row.texts[i] for i in order}) < 2:
            return row.completion(self, order[0] if order else 0, fused=())
        texts = [row.texts[i] for i in order]
        try:
            if isinstance(self.writer, SeqToSeq):
                answer = self.writer.write(row.prompt, texts, sampling)
            else:
                [answer] = self.writer.generate([with_answers(row.prompt, self.wording, texts)], sampling)
        except (ConsortError, OSError) as fault:
            row.ledger.enter(self.last_label, self.writer, fault)
            return row.completion(self, order[0], fused=())
        row.ledger.enter(self.last_label, self.writer, answer)
        fused = tuple(row.labels[i] for i in order)
        return row.ledger.completion(self, answer, answered_by=self.last_label, fused=fused)

    def _order(self, row: Candidates) -> list[int]:
        if self.judge is not None and row.answers:
            return ranked(row, self.judge)
        rest, order = list(range(len(row.answers))), []
        alike = unigram_f1(row.texts)
        while rest:
            order.append(rest.pop(consensus(alike[rest][:, rest])))
        return order


class SeqToSeq:
    """An encoder-decoder of transformers that was trained to fuse, read from its folder at first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.name = checkpoint, checkpoint.name
        self._loaded: tuple[Any, Any] | None = None

    def write(self, prompt: Prompt, candidates: Sequence[str], sampling: Sampling) -> Completion:
        """One answer from candidates, the best first. Raises BadCheckpoint for a folder that is no seq2seq model."""
        tokenizer, model = self.open()
        marks = (f" <candidate{number}> {text}" for number, text in enumerate(candidates, 1))
        begun = perf_counter()
        batch = tokenizer(f"{text_of(prompt)}{''.join(marks)}", truncation=True, return_tensors="pt")
        check(sampling, 1)
        if sampling.grammar is not None:  # then the best candidate, which obeys it, is the answer
            raise Unsupported("an encoder-decoder does not obey a grammar", field="grammar", hint="take fuser:")
        check_bias(sampling, int(model.config.vocab_size))
        with torch.inference_mode():
            written, ended = self._written(model, batch, sampling)
        text = tokenizer.decode(written, skip_special_tokens=True).strip()
        cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        usage = Usage(batch["input_ids"].shape[1], len(written), 1, perf_counter() - begun)
        finish = "stop" if ended or cuts else "length"
        text = text[: min(cuts, default=len(text))]
        return Completion(text, tuple(written), None, finish, usage, {self.name: usage})

    @staticmethod
    def _written(model: Any, batch: Any, sampling: Sampling) -> tuple[list[int], bool]:
        """The tokens that the decoder draws, and whether the last of them is an end."""
        prompt, written = batch["input_ids"][0].tolist(), list[int]()
        own = key(sampling.seeds[0] if sampling.seeds else sampling.seed, prompt, 0)
        settings = model.generation_config
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        start, encoded = settings.decoder_start_token_id, model.get_encoder()(**batch)
        for position in range(sampling.max_tokens):
            ids = torch.tensor([[start, *written]])
            mask = batch["attention_mask"]
            logits = model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=ids).logits[:, -1].float()
            settled = adjusted(logits, sampling, [prompt], [written], [end for end in ends if end is not None])
            written.append(int(choose(settled, sampling, [own], position)))
            if written[-1] in ends:
                return written, True
        return written, False

    def open(self) -> tuple[Any, Any]:
        """Tokenizer and model. Raises BadCheckpoint for a folder that is no encoder-decoder."""
        if self._loaded is None:
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            folder = folder_of(self.checkpoint)
            try:
                with quiet():
                    model = AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True, **SAFE).eval()
                    self._loaded = AutoTokenizer.from_pretrained(folder, **SAFE), model
            except (OSError, ValueError) as fault:
                hint = "a folder of an encoder-decoder with its tokenizer"
                raise BadCheckpoint(f"cannot be read as a fuser: {fault}", field=self.name, hint=hint) from None
        return self._loaded
