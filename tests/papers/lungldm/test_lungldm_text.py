"""Prompts to tokens and features: the tiny T5, what a local Flan-T5 folder gives, and prompts that do not fit."""

import itertools
import warnings

import pytest
import torch
from transformers import T5EncoderModel

from lungnb.core import UserError
from lungnb.papers.lungldm.text import (
    encode,
    load_text_encoder,
    tiny_text_encoder,
    tokenize,
    word_tokenizer,
)

PROMPTS = [
    f"A person is {sound}, {sex}, {age}s, {smoker}{condition}"
    for sound, sex, age, smoker, condition in itertools.product(
        ("coughing", "breathing with crackles"),
        ("male", "female"),
        (20, 40),
        ("smoker", "non-smoker"),
        ("", ", heart failure"),
    )
]


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    encoder, tokenizer = tiny_text_encoder(PROMPTS)
    return encoder.eval(), tokenizer


def test_one_token_a_word_and_an_end(tiny):
    tokens, mask = tokenize(PROMPTS, tiny[1])
    for prompt, row, kept in zip(PROMPTS, tokens, mask, strict=True):
        words = prompt.lower().replace(",", " ,").split()
        assert tiny[1].convert_ids_to_tokens(row[: kept.sum()]) == [*words, "</s>"]
        assert (row[kept.sum() :] == 0).all()
    assert len(tiny[1]) == 3 + len({word for p in PROMPTS for word in p.lower().replace(",", " ,").split()})


def test_case_and_spaces_do_not_matter(tiny):
    first, again = tokenize(["A person is coughing, male", "a  PERSON is coughing,male"], tiny[1])[0]
    assert torch.equal(first, again)


def test_the_tokenizer_does_not_depend_on_the_order_of_the_prompts():
    assert word_tokenizer(PROMPTS).get_vocab() == word_tokenizer(PROMPTS[::-1]).get_vocab()


def test_the_empty_prompt_is_the_end_alone(tiny):
    tokens, mask = tokenize([""], tiny[1])
    assert tokens.tolist() == [[1]]
    assert mask.tolist() == [[1]]


def test_too_many_words_are_refused():
    word_tokenizer(f"word{k}" for k in range(252))
    with pytest.raises(UserError, match="253 different words"):
        word_tokenizer(f"word{k}" for k in range(253))


def test_a_word_off_the_grammar_is_warned_of(tiny):
    with pytest.warns(UserWarning, match="does not know 'alien', 'sneezing'; write prompts as"):
        tokenize(["A person is sneezing, male", "A alien is coughing"], tiny[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenize(PROMPTS, tiny[1])


def test_a_prompt_of_10_000_characters_is_cut_with_a_warning(tiny):
    prompt = ("coughing, male, " * 700)[:10_000].rstrip(", ")
    with pytest.warns(UserWarning, match=r"has 2,5\d\d tokens; what comes after the first 128 is not read") as told:
        tokens, mask = tokenize([prompt, PROMPTS[0]], tiny[1])
    assert len(told) == 1
    assert len(str(told[0].message)) < 200
    assert tokens.shape == mask.shape == (2, 128)


@torch.no_grad()
def test_features_do_not_depend_on_longer_prompts_beside_them(tiny):
    together, mask = encode(PROMPTS, *tiny)
    assert together.shape == (len(PROMPTS), mask.shape[1], 64)
    for k in (0, 5):
        alone, own = encode([PROMPTS[k]], *tiny)
        assert torch.allclose(together[k, : own.sum()], alone[0], atol=1e-5)


def test_the_tiny_encoder_is_trained_with_the_rest(tiny):
    tokens, mask = tokenize(PROMPTS[:2], tiny[1])
    states = tiny[0](input_ids=tokens, attention_mask=mask).last_hidden_state
    states.square().sum().backward()
    used = [p for p in tiny[0].parameters() if p.grad is not None and p.grad.any()]
    assert sum(p.numel() for p in tiny[0].parameters()) == 98_752
    assert len(used) == len(list(tiny[0].parameters()))
    tiny[0].zero_grad()


def test_prompts_are_encoded_in_batches(tiny, monkeypatch):
    rows, forward = [], T5EncoderModel.forward
    monkeypatch.setattr(
        T5EncoderModel,
        "forward",
        lambda self, input_ids, **k: rows.append(len(input_ids)) or forward(self, input_ids, **k),
    )
    states, mask = encode(["", *PROMPTS[:7]], *tiny, batch_size=4)
    assert rows == [4, 4]
    assert states.shape[:2] == mask.shape
    assert mask[0].sum() == 1
    assert not states.requires_grad


@torch.no_grad()
def test_an_encoder_from_a_local_folder_is_frozen_and_the_same(tiny, tmp_path):
    for part in tiny:
        part.save_pretrained(tmp_path)
    encoder, tokenizer = load_text_encoder(tmp_path)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.training
    for ours, theirs in zip(encode(PROMPTS, *tiny), encode(PROMPTS, encoder, tokenizer), strict=True):
        assert torch.equal(ours, theirs)


def test_a_folder_without_safe_weights_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="No T5 encoder could be had"):
        load_text_encoder(tmp_path)
    for part in tiny:
        part.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(tiny[0].state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="give a folder with its config, tokenizer and") as told:
        load_text_encoder(tmp_path)
    assert "\n" not in str(told.value)
