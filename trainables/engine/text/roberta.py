"""RoBERTa with a classifying head: built small with random weights, or from a folder of given ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, RobertaConfig

from trainables.engine.pretrained import check_loaded, fitting
from trainables.engine.text.batches import TextBatch
from trainables.engine.text.bpe import SpecialIds
from trainables.engine.text.names import BUILT, weight_files
from trainables.weights import required

_AUTO: Any = AutoModelForSequenceClassification
_NUM_CLASSES = 2
_UNUSED_PLACES = 2  # RoBERTa counts places from its padding id + 1


@dataclass(frozen=True)
class Given:
    """The files that a model is built from, on this machine; None of those that it needs not."""

    config: Path | None = None
    tokenizer: Path | None = None
    weights: Path | None = None

    def most_tokens(self) -> int | None:
        """Tokens of a text that pretrained weights have places for; None where there are none."""
        if self.weights is None or self.config is None:
            return None
        return int(_config(self.config).max_position_embeddings) - _UNUSED_PLACES


def given_files(name: str, weights: str) -> Given:
    """The files of the named model with these weights; see `names.weight_files`.

    Raises:
        ValueError: There is no such model.
        WeightsError: A file is missing; the message says which and what to do.
    """
    return Given(*(required(file) for file in weight_files(name, weights)))


def build_roberta(name: str, given: Given, *, special: SpecialIds, most: int, drop_rate: float) -> nn.Module:
    """The named model with a new head of two classes, `classifier`, on the CPU.

    The head is VulBERTa-MLP's, which is RoBERTa's: two linear layers over the first token. Given weights
    say by the configuration beside them how the model is built, whatever its name.

    Args:
        special: Of the tokenizer that texts are read with.
        most: Tokens of a text that a model of random weights has places for.
        drop_rate: Dropout of all layers, and before both of the head's.

    Raises:
        ValueError: The configuration is of another kind of model.
        WeightsError: The weights are damaged or another model's.
    """
    config = _config(given.config) if given.config else RobertaConfig(type_vocab_size=1, **BUILT[name])
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = drop_rate
    config.classifier_dropout, config.num_labels = drop_rate, _NUM_CLASSES
    if given.weights:
        return _pretrained(name, config, given.weights)
    config.vocab_size, config.max_position_embeddings = special.num_tokens, special.padding + 1 + most
    config.bos_token_id, config.eos_token_id = special.start, special.end
    config.pad_token_id = special.padding
    built: nn.Module = _AUTO.from_config(config)
    return built


def _config(path: Path) -> Any:
    config: Any = AutoConfig.from_pretrained(path)
    if config.model_type != "roberta":
        raise ValueError(f"{path} is of the kind {config.model_type}; here is roberta")
    return config


def _pretrained(name: str, config: Any, path: Path) -> nn.Module:
    with fitting(path, name):
        model: Any = _AUTO.from_pretrained(
            path.parent, config=config, ignore_mismatched_sizes=True, local_files_only=True
        )
        check_loaded(model, model.classifier, path)
    built: nn.Module = model
    return built


def logits_of_texts(model: nn.Module, batch: TextBatch) -> Tensor:
    """What a classifier of text says of a batch: logits (batch, 2)."""
    logits: Tensor = model(input_ids=batch.ids, attention_mask=batch.is_token.long()).logits
    return logits
