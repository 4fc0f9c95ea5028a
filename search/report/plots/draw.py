"""Which table becomes which picture."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from search.ledger import Ledger
from search.ledger.history import History

# Picture: its table, the module that draws it, and the function in there.
_PLOTS = {
    "curves.png": ("history.csv", "curves", "curves"),
    "confusion.png": ("confusion.csv", "confusion", "counts"),
    "confusion_normalised.png": ("confusion_normalised.csv", "confusion", "shares"),
    "per_class.png": ("per_class.csv", "classes", "per_class"),
    "confused_pairs.png": ("confused_pairs.csv", "classes", "confused_pairs"),
}


def draw_plots(folder: Path, title: str) -> Iterator[str]:
    """Draw every table in `folder` that there is a picture for, and say of each that failed why.

    Args:
        title: What the tables are of; it stands above each picture.
    """
    for name, (table, module, function) in _PLOTS.items():
        if not (folder / table).is_file():
            continue
        try:
            draw: Callable[[Path, Path, str], None] = getattr(
                importlib.import_module(f"search.report.plots.{module}"), function
            )
            draw(folder / table, folder / name, title)
        except Exception as error:  # a picture is never worth a run; its data is there
            yield f"{folder / name} not drawn ({type(error).__name__}: {error}); its data is {table}"


def draw_promotion(history: History, ledger: Ledger) -> Iterator[str]:
    """Draw what each training of a promotion left, and say of each picture that failed why."""
    for trial in history.trials.values():
        title = f"{trial.trial_id} (hparams of {trial.parent_trial}, seed {trial.seed})"
        yield from draw_plots(ledger.trial_folder(trial.trial_id), title)
