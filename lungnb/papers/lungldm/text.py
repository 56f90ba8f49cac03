"""Prompts to features: Flan-T5, or a tiny T5 whose tokenizer knows the words of the prompt grammar; and every prompt that a
clip can have in training (docs/papers/lungldm.md, section 3.3)."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from lungnb.core import UserError
from lungnb.data.prompts import DROP, FIELDS, prompt

MAX_TOKENS = 128
UNCONDITIONAL = ""  # the prompt of a dropped condition
SPECIAL = ("<pad>", "</s>", "<unk>")  # with T5's numbers 0, 1, 2

#: T5Config of the encoder for use without a hub: 98,752 parameters, to be trained with the U-Net.
TINY_T5 = {"vocab_size": 256, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
TINY_T5 |= {"feed_forward_proj": "gated-gelu", "dropout_rate": 0.0}


def load_text_encoder(source: str | Path) -> tuple[T5EncoderModel, PreTrainedTokenizerBase]:
    """The frozen encoder and tokenizer of a Flan-T5: a hub name such as "google/flan-t5-base", or a local folder.

    Raises UserError if they cannot be had from there as safetensors.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        encoder = T5EncoderModel.from_pretrained(source, use_safetensors=True)
    except Exception as error:  # the hub, the network and the file each have errors of their own
        raise UserError(
            f"No T5 encoder could be had from {str(source)!r} ({first_line(error)}); give a folder with its config, tokenizer "
            "and model.safetensors, or use the tiny encoder."
        ) from error
    return encoder.requires_grad_(False).eval(), tokenizer


def tiny_text_encoder(texts: Iterable[str]) -> tuple[T5EncoderModel, PreTrainedTokenizerFast]:
    """An untrained T5 encoder of 98,752 parameters and a tokenizer that knows the words in `texts`."""
    return T5EncoderModel(T5Config(**TINY_T5)), word_tokenizer(texts)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word in `texts`, in lower case, and for the comma; others become <unk>.

    Raises UserError if there are more words than the tiny encoder has embeddings for.
    """
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(","), "isolated")])
    words = sorted({word.lower() for text in texts for word, _ in split.pre_tokenize_str(text)} - {","})
    vocabulary = [*SPECIAL, ",", *words]
    if len(vocabulary) > TINY_T5["vocab_size"]:
        raise UserError(
            f"The prompts have {len(words)} different words, but the tiny text encoder holds "
            f"{TINY_T5['vocab_size'] - len(SPECIAL) - 1}; use a Flan-T5, or fewer conditions."
        )
    words_only = Tokenizer(WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>"))
    words_only.normalizer, words_only.pre_tokenizer = normalizers.Lowercase(), split
    words_only.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    pad, end, unknown = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=words_only, pad_token=pad, eos_token=end, unk_token=unknown, model_max_length=MAX_TOKENS
    )


def tokenize(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask (B, L) int64 of prompts; L is that of the longest, at most 128.

    Warns, one sentence each, of a prompt that is cut off and of words that the tokenizer does not know.
    """
    lengths = [len(tokens) for tokens in tokenizer(list(prompts), verbose=False)["input_ids"]]
    for text, n in zip(prompts, lengths, strict=True):
        if n > MAX_TOKENS:
            cut = f"The prompt {text[:60]!r} has {n:,} tokens; what comes after the first {MAX_TOKENS} is not read."
            warnings.warn(cut, stacklevel=2)
    options = {"padding": True, "truncation": True, "max_length": MAX_TOKENS, "return_offsets_mapping": True}
    found = tokenizer(list(prompts), **options, return_tensors="pt")
    unknown = set()
    for row, place in (found["input_ids"] == tokenizer.unk_token_id).nonzero().tolist():
        first, last = found["offset_mapping"][row, place]
        unknown.add(prompts[row][first:last][:60])
    if unknown:
        words = ", ".join(map(repr, sorted(unknown)))
        hint = "write prompts as 'A person is coughing, male, 40s, smoker'."
        warnings.warn(f"The text encoder does not know {words}; {hint}", stacklevel=2)
    return found["input_ids"], found["attention_mask"]


@torch.no_grad()
def encode(
    prompts: Sequence[str], encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, L, D) and mask (B, L) of prompts, on the encoder's device."""
    tokens, mask = (x.to(encoder.device) for x in tokenize(prompts, tokenizer))
    pairs = zip(tokens.split(batch_size), mask.split(batch_size), strict=True)
    return torch.cat([encoder(input_ids=t, attention_mask=m).last_hidden_state for t, m in pairs]), mask


@dataclass(frozen=True)
class PromptTable:
    """Every prompt that the clips can have in training: `texts`, of which the first is that of a dropped condition.

    number: (N, 16), for each clip and each choice of the fields that are stated the index of its prompt.
    """

    texts: list[str]
    number: torch.Tensor

    def draw(self, rows: torch.Tensor, generator: torch.Generator, condition_dropout: float) -> torch.Tensor:
        """Indices (B,) into texts for the clips `rows` (B,): fields are left out each but the sound, with the chance DROP,
        and the whole prompt with `condition_dropout`, clip by clip (docs/papers/lungldm.md, section 3.5)."""
        n_fields = len(FIELDS) - 1  # the sound is always stated
        stated = torch.rand(len(rows), n_fields, generator=generator, device=rows.device) >= DROP
        choice = (stated * 2 ** torch.arange(n_fields, device=rows.device)).sum(dim=1)
        dropped = torch.rand(len(rows), generator=generator, device=rows.device) < condition_dropout
        return self.number[rows, choice].masked_fill(dropped, 0)

    def whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Indices (B,) of the prompts that state all that is known."""
        return self.number[rows, -1]


def prompt_table(events: pd.DataFrame, device: torch.device | str = "cpu") -> PromptTable:
    """The prompts of the clips in `events`. Clips of the same fields share them, so each is written once."""
    fields = events[list(FIELDS)].astype(object)
    kind = fields.groupby(list(FIELDS), dropna=False, sort=False).ngroup().to_numpy()
    index, number = {UNCONDITIONAL: 0}, []
    for row in fields.drop_duplicates().to_dict("records"):
        number.append([])
        for choice in range(2 ** len(FIELDS[1:])):
            stated = {name: row[name] for k, name in enumerate(FIELDS[1:]) if choice >> k & 1}
            text = prompt({"sound": row["sound"], **stated})
            number[-1].append(index.setdefault(text, len(index)))
    return PromptTable(list(index), torch.from_numpy(np.array(number)[kind]).to(device))


def first_line(error: Exception) -> str:
    """What a library says, as part of one sentence."""
    return str(error).strip().split("\n")[0]
