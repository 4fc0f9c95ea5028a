"""From a source's name in a space to functions as token ids, in three parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from trainables.contract import DataError, Env
from trainables.engine.text.bpe import SpecialIds, encoded, learnt_bpe, read_bpe, special_ids
from trainables.engine.text.functions import Functions, functions_key, labels_of, read_functions
from trainables.engine.text.splits import LabelledSplits, labelled_splits
from trainables.engine.text.stored import Arrays, digest, stored_arrays
from trainables.engine.text.tokens import Tokens

_VERSION = "1"  # of what the cache holds
_MOST_TOKENS = 1024  # read of a function where no resolution is given: VulBERTa's


@dataclass(frozen=True, eq=False)
class FunctionData:
    """Functions as token ids without the special ones, with what a model must know of the tokenizer.

    Attributes:
        num_cut: Functions that are longer than what is read of them.
        num_leaked: Functions of validation and test that are in training as well.
    """

    tokens: Tokens
    special: SpecialIds
    splits: LabelledSplits
    num_cut: int
    num_leaked: int

    def class_weights(self) -> Tensor:
        """What evens out the classes of the training part: n / (2 x members), (2,)."""
        counts = torch.bincount(self.splits.train.labels, minlength=2)
        return counts.sum() / (2 * counts)

    def notes(self) -> dict[str, str]:
        """How long they are read, and what is doubtful about their parts."""
        total, most = len(self.tokens), self.splits.score_resolution
        notes = {"tokens": f"{self.num_cut} of {total} functions are longer than {most} tokens and cut there"}
        if self.num_leaked:
            notes["copies"] = (
                f"{self.num_leaked} functions of validation and test are in training, to the letter"
            )
        return notes


def load_functions(env: Env, *, vocabulary: int, tokenizer: Path | None, most: int | None) -> FunctionData:
    """The functions of a run, split the same way in every trial of it; kept for the next trial.

    Args:
        vocabulary: Tokens of the encoding that is learnt from the training part.
        tokenizer: A file with the one that pretrained weights need; nothing is learnt then.
        most: Tokens of a function that a pretrained model can read, special ones included.

    Raises:
        DataError: Unknown, missing or unfit data, or more tokens to read than the model can.
    """
    if most and env.resolution and env.resolution > most:
        raise DataError(
            f"these weights read {most} tokens at most, and the ladder's resolution is {env.resolution}"
        )
    known = functions_key(env.data)
    own = digest(tokenizer.read_bytes()) if tokenizer else str(vocabulary)
    key = digest(_VERSION, known, own, str(env.data_seed))
    found = _stored(env.cache_dir, key, env.data, env.data_seed, vocabulary, tokenizer)
    tokens = Tokens(found["ids"], found["starts"])
    longest = min(int(tokens.lengths.max()) + 2, most or _MOST_TOKENS)
    read = env.resolution or longest
    start, padding, end, num_tokens, num_leaked = found["numbers"].tolist()
    return FunctionData(
        tokens=tokens,
        special=SpecialIds(start=start, padding=padding, end=end, num_tokens=num_tokens),
        splits=labelled_splits(
            torch.from_numpy(found["labels"]),
            found["parts"],
            source=env.data,
            seed=env.data_seed,
            score_resolution=read,
        ),
        num_cut=int((tokens.lengths + 2 > read).sum()),
        num_leaked=num_leaked,
    )


@lru_cache(maxsize=2)
def _stored(folder: Path, key: str, name: str, seed: int, vocabulary: int, tokenizer: Path | None) -> Arrays:
    def make() -> Arrays:
        functions = read_functions(name)
        parts = functions.split(seed)
        if tokenizer:
            return _arrays(functions, parts, read_bpe(tokenizer))
        trained = [text for text, part in zip(functions.texts, parts, strict=True) if part == "train"]
        return _arrays(functions, parts, learnt_bpe(trained, vocabulary))

    return stored_arrays(folder, f"functions-{key}", make)


def _arrays(functions: Functions, parts: np.ndarray, tokenizer: Tokenizer) -> Arrays:
    tokens, special = encoded(tokenizer, functions.texts), special_ids(tokenizer)
    numbers = (special.start, special.padding, special.end, special.num_tokens, functions.num_leaked(parts))
    return {
        "ids": tokens.ids,
        "starts": tokens.starts,
        "labels": labels_of(functions).numpy(),
        "parts": parts,
        "numbers": np.array(numbers),
    }


def check_functions(env: Env) -> list[str]:
    """What is to be known of the source that `env.data` names; it is read, not tokenised.

    Raises:
        DataError: No such source, or its lines or parts cannot be used.
    """
    functions = read_functions(env.data)
    parts = functions.split(env.data_seed)
    labelled_splits(labels_of(functions), parts, source=env.data, seed=env.data_seed, score_resolution=1)
    num_projects, num_bad = len(set(functions.projects)), sum(functions.targets)
    found = [f"{len(functions.texts)} functions of {num_projects} projects, {num_bad} with a target of 1"]
    if num_leaked := functions.num_leaked(parts):
        found.append(f"{num_leaked} functions of validation and test are in training, to the letter")
    return found
