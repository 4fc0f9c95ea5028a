"""Tells jouletune of an epoch: copy this file, or the function alone, to your script. It needs nothing."""

import json


def report(epoch, **metrics):
    """Print the scores of epoch `epoch`, counted from 1, as a line of JSON."""
    print(json.dumps({"epoch": epoch, **metrics}, default=float), flush=True)
