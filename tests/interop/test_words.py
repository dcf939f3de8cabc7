"""A tokenizer of a few words: one token each, others are spelled."""

import pytest

pytest.importorskip("tokenizers")

from tgdp_jax.interop.tokenizer import read_tokenizer, write_tokenizer
from tgdp_jax.interop.words import word_tokenizer

WORDS = ("a", "at", "the", "circle", "centre", "red", "triangle", "left")


def test_every_word_is_one_token_and_others_are_spelled(tmp_path):
    words = word_tokenizer(WORDS, 10)
    start, end = (words.vocab[words.special[name]] for name in ("bos_token", "eos_token"))
    for word in WORDS:
        assert words([word]).ids[0].tolist() == [start, words.vocab[f"{word}</w>"], *[end] * 8]
    ids = words(["a red cat"]).ids[0].tolist()
    names = {number: token for token, number in words.vocab.items()}
    assert [names[i] for i in ids[1:5]] == ["a</w>", "red</w>", "c", "at</w>"]
    # Whatever order they are given in, and read again from its files.
    assert word_tokenizer(reversed(WORDS), 10) == words
    write_tokenizer(tmp_path / "tokenizer", words)
    assert (
        read_tokenizer(tmp_path / "tokenizer", longest=10)(["a red cat at the left"]).ids
        == words(["a red cat at the left"]).ids
    ).all()
