"""Byte-pair encodings: learnt from texts, or read from the file that belongs to pretrained weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from trainables.core.contract import WeightsError
from trainables.engine.text.tokens import Tokens

_START, _PADDING, _END = "<s>", "<pad>", "</s>"
_SPECIAL = (_START, _PADDING, _END, "<unk>", "<mask>")  # numbered from 0, as RoBERTa has them
LEAST_VOCABULARY = len(_SPECIAL) + 256  # every byte is a token
_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """The ids that stand around a text, and how many ids there are."""

    start: int
    padding: int
    end: int
    num_tokens: int


def learnt_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level pairs that occur twice or more in `texts`: at most so many tokens, special ones included.

    No text has anything unknown in it, for single bytes are tokens as well (Radford et al. 2019).
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def read_bpe(path: Path) -> Tokenizer:
    """The tokenizer that a `tokenizer.json` holds.

    Raises:
        WeightsError: It cannot be read, or has none of RoBERTa's special tokens.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise WeightsError(f"{path} cannot be read as a tokenizer: {error}") from error
    missing = [name for name in (_START, _PADDING, _END) if tokenizer.token_to_id(name) is None]
    if missing:
        raise WeightsError(f"{path} has no {', '.join(missing)}; give the tokenizer of a RoBERTa")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """Those of a tokenizer that was learnt or read here."""
    ids: Any = [tokenizer.token_to_id(name) for name in (_START, _PADDING, _END)]
    start, padding, end = ids
    num_tokens = tokenizer.get_vocab_size(with_added_tokens=True)
    return SpecialIds(start=start, padding=padding, end=end, num_tokens=num_tokens)


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """The ids of each text, without special tokens."""
    sequences: list[list[int]] = []
    for start in range(0, len(texts), _AT_ONCE):
        part = list(texts[start : start + _AT_ONCE])
        sequences += [found.ids for found in tokenizer.encode_batch(part, add_special_tokens=False)]
    return Tokens.joined(sequences)
