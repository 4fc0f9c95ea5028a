"""Which classifiers of text there are, and the files of their weights. No torch here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from trainables.contract import WeightFile

HUB = "hub/"
FILE = "file:"
BUILT: dict[str, dict[str, Any]] = {
    "roberta_tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    },
    "roberta_small": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "roberta_base": {  # VulBERTa's
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def why_no_model(name: str) -> str:
    """Why there is no model of this name, with the nearest ones; empty where there is, or may be."""
    if name in BUILT or (name.startswith(HUB) and name.count("/") == 2):
        return ""
    near = difflib.get_close_matches(name, BUILT, n=3) or [*BUILT]
    return f"no model is named {name!r}; near are {', '.join(near)} (or {HUB}OWNER/NAME)"


def weight_files(name: str, weights: str) -> tuple[WeightFile, ...]:
    """The files that a model is built from: its configuration, its tokenizer and its weights, in this order.

    A model with random weights needs the first alone, and no file if the program knows how it is built.

    Raises:
        ValueError: There is no such model, or no hub has weights for it.
    """
    if reason := why_no_model(name):
        raise ValueError(reason)
    if weights.startswith(FILE):
        path = Path(weights.removeprefix(FILE)).expanduser()
        names = (path.with_name(_CONFIG), path.with_name(_TOKENIZER), path)
        return tuple(WeightFile(source="file", location=str(each)) for each in names)
    if name in BUILT and weights == "hub":
        raise ValueError(
            f"no hub has weights for {name}; set weights to none or file:PATH, or model to a hub's"
        )
    if name in BUILT:
        return ()
    repository = name.removeprefix(HUB)
    config, tokenizer = (
        WeightFile(source="hub", location=f"{repository}/{each}") for each in (_CONFIG, _TOKENIZER)
    )
    safe, pickled = (f"{repository}/{each}" for each in _WEIGHTS)
    last = WeightFile(source="hub", location=safe, alternatives=(pickled,))
    return (config,) if weights == "none" else (config, tokenizer, last)
