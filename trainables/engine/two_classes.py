"""Scores of guessing with two classes, one of which is to be found."""

from __future__ import annotations

from trainables.core.contract import by_guessing


def guesses_of_two(num_positive: int, num_examples: int) -> dict[str, float]:
    """Scores of a model that sees no example, and how many examples there are.

    Accuracy is the share of the commoner class. Of all guesses the one that says "positive" every time has
    the largest F1 (Lipton, Elkan and Narayanaswamy 2014); its precision is the share of positives, which is
    also the area under the curve of precision and recall of random scores.

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
