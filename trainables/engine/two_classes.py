"""Scores of guessing with two classes, one of which is the positive one."""

from __future__ import annotations

from trainables.core.contract import by_guessing


def guesses_of_two(num_positive: int, num_examples: int) -> dict[str, float]:
    """Scores of a model that sees no example, and the number of examples.

    Accuracy is the fraction of the more common class. Of all guesses, "positive" every time has the largest
    F1 (Lipton, Elkan and Narayanaswamy 2014); its precision is the fraction of positives, which is also the
    area under the precision-recall curve of random scores.

    Args:
        num_examples: At least 1.
    """
    share = num_positive / num_examples
    guessed = {
        "accuracy": max(share, 1 - share),
        "f1": 2 * share / (1 + share),
        "precision": share,
        "pr_auc": share,
    }
    return {
        **{by_guessing(name): value for name, value in guessed.items()},
        "num_examples": float(num_examples),
    }
