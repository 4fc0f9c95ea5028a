"""The export-model command: a trained model as a file for other runtimes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.cli.parser import CommandParser
from search.printable import printable

_EPILOG = """examples:
  {command} results/lr_bs/promotion/trials/trial-0000/model --onnx digits.onnx

The file is written once ONNX Runtime and PyTorch agree on 32 images, to 1e-4. It takes any number of
images of the model's size, scaled as model.json says.

exit status: 0 written; 2 unusable input, a package is missing, or the outputs differ: nothing is written"""


def parser(prog: str = "jouletune export-model") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Write a trained model as an ONNX file, checked against PyTorch. Needs the extra `onnx`.",
        epilog=_EPILOG,
    )
    flags.add_model()
    flags.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write")
    return flags


def main(options: argparse.Namespace) -> int:
    """Export, print what was compared, and return the exit status."""
    from trainables.engine.inference import export_model  # torch, 3 s that --help does without

    try:
        written = export_model(options.model, onnx=options.onnx, trainable=options.trainable)
    except (ValueError, OSError, ImportError) as error:
        print(f"jouletune export-model: error: {printable(str(error))}", file=sys.stderr)
        return 2
    print(
        f"{written.path}: {written.num_bytes / 1e6:.3g} MB; ONNX Runtime differs from PyTorch by "
        f"{written.difference:.1e} at most over {written.num_checked} images"
    )
    return 0
