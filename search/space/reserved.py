"""Names that sweep files give to what is no hyperparameter here, and where each of them goes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LADDER = "search.ladder says how long trials train: write ladder: {epochs: [1, 3, 9]}"
_SEEDS = (
    "seeds are repeats: search.seed is the search's, promotion trains each configuration with promote.seeds "
    "of them, and search.repeats repeats a list or design"
)
_RESOLUTION = "search.ladder.resolution says the sizes of images: write ladder: {resolution: [14, 20, 28]}"
_SUBSET = "search.ladder.subset says how much data is used: write ladder: {subset: [0.25, 0.5, 1.0]}"
_DATA = "search.data says what is trained on"
_MACHINE = "search.resources says what a trial has: write resources: {gpus_per_trial: 1}"

_ANSWERS: Mapping[str, tuple[str, ...]] = {
    _LADDER: ("epochs", "num_epochs", "n_epochs", "max_epochs", "epoch", "until", "max_steps", "num_steps"),
    _SEEDS: ("seed", "random_seed", "random_state", "manual_seed", "data_seed"),
    _RESOLUTION: ("resolution", "image_size", "img_size", "input_size", "imgsz"),
    _SUBSET: ("subset", "subset_size", "data_fraction"),
    _DATA: ("data", "dataset", "data_dir", "data_path", "dataset_name"),
    _MACHINE: ("device", "gpu", "gpus", "num_gpus", "accelerator"),
    "search.precision says it: auto, fp32, bf16 or fp16": ("precision", "amp", "fp16", "bf16"),
    "search.patience says it: epochs without improvement": ("patience", "early_stopping_patience"),
    "each trial has a folder of its own": ("checkpoint_dir", "output_dir"),
    "{python} in run is the Python that runs this": ("python",),
}
_BY_NAME = {name: answer for answer, names in _ANSWERS.items() for name in names}


def where_it_goes(name: str) -> str | None:
    """What a space says instead of a parameter `name`; None of a name that means nothing here."""
    plain = re.sub(r"[-\s]", "_", name.rpartition(".")[2]).lower()
    return _BY_NAME.get(plain)
