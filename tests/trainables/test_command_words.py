"""Commands given as text, as people paste them from a shell."""

from __future__ import annotations

import re

import pytest

from trainables.command.template import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "python train.py \\\n  --lr {lr} \\\n  --out x\n",
            ["python", "train.py", "--lr", "{lr}", "--out", "x"],
        ),
        (
            "python train.py \\ --lr {lr} \\ data",
            ["python", "train.py", "--lr", "{lr}", "data"],
        ),  # folded by YAML
        ("python my\\ train.py", ["python", "my train.py"]),
        (
            'bash -c "cd sub && python train.py $0" {lr}',
            ["bash", "-c", "cd sub && python train.py $0", "{lr}"],
        ),
        (
            "python t.py --pad '<pad>' --match 'a$b' -q \"a | b\"",
            ["python", "t.py", "--pad", "<pad>", "--match", "a$b", "-q", "a | b"],
        ),
        ("python t.py --monitor metrics/mAP50(B)", ["python", "t.py", "--monitor", "metrics/mAP50(B)"]),
        ("/usr/bin/env A=1 python t.py", ["/usr/bin/env", "A=1", "python", "t.py"]),
        ("resume=True model=${envvar:M}", ["resume=True", "model=${envvar:M}"]),
    ],
)
def test_a_command_is_split_as_by_a_shell(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "got", "remedy"),
    [
        ("python t.py | tee log.txt", "'|'", "what it prints is in the trial's stdout.txt"),
        ("python t.py >log.txt 2>&1", "'>log.txt'", "what it prints is in the trial's stdout.txt"),
        ("cd sub && python t.py", "'&&'", "folder and env under search.command say where"),
        (
            "conda activate x; python t.py",
            "'x;'",
            "put the line into a script of your own and write bash SCRIPT",
        ),
        ("nohup python t.py &", "'&'", "folder and env"),
        ("python t.py --name run-`date`", "'run-`date`'", "write bash SCRIPT"),
        (
            "CUDA_VISIBLE_DEVICES=0 python t.py",
            "'CUDA_VISIBLE_DEVICES=0'",
            "write search.command.env: {CUDA_VISIBLE_DEVICES: ...}",
        ),
        ('python t.py --data "$DATA/photos"', "'$DATA/photos'", "write ${envvar:DATA} for the variable"),
        ("python t.py --data=~/photos", "'--data=~/photos'", "write ${envvar:HOME} for the variable"),
    ],
)
def test_what_only_a_shell_does_is_refused_with_what_to_write(text: str, got: str, remedy: str) -> None:
    message = f"{got} needs a shell, and a command is run without one; "
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        words_of(text)
    assert remedy in str(refused.value)
