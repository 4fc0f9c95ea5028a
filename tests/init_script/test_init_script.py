"""Spaces written for scripts: each kind of argument parser, its defaults as trial 0, what is left open."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from search.init_script import UnreadableScript, write_space
from search.init_script.flag import Flag
from search.init_script.ranges import default_of, place_of, range_of
from search.init_script.read import Script
from search.init_script.scores import Scores
from search.init_script.write import space_text
from search.space import SPACES, load_space
from search.space.space import Space
from tests.support.documents import ROOT, block_of, blocks_of
from trainables.command.template import filled, words_of

ARGPARSE = """
    import argparse  # for pictures of hydrangeas
    flags = argparse.ArgumentParser()
    flags.add_argument("--lr", type=float, default=0.03)
    flags.add_argument("--batch-size", type=int, default=48)
    flags.add_argument("--opt", choices=["sgd", "adam"], default="adam")
    flags.add_argument("--epochs", type=int, default=27)
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument("--output-dir", default="out")
    flags.add_argument("--amp", action="store_true")
    flags.parse_args()
    raise SystemExit("it would train now")
"""
HELP_DEFAULTS = """
    import argparse
    flags = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    group = flags.add_argument_group("optimisation")
    group.add_argument("-l", "--learning-rate", dest="rate", type=float, default="3e-2")
    group.add_argument("--batch-size", type=int, default=48)
    flags.add_argument("--max-epochs", type=int, default=27)
    flags.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True)
    flags.parse_known_args()
    raise SystemExit("it would train now")
"""
SUBCLASS = """
    import argparse
    class Parser(argparse.ArgumentParser):
        def parse_args(self, *args, **more):
            return super().parse_args(*args, **more)
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--lr", type=float, default=0.03)
    flags = Parser(parents=[parent])
    flags.add_argument("--batch_size", type=int, default=48)
    flags.add_argument("--num_epochs", type=int, default=27)
    flags.parse_args()
    raise SystemExit("it would train now")
"""
CLICK = """
    import click
    @click.command()
    @click.option("--lr", default=0.03)
    @click.option("--batch-size", type=int, default=48)
    @click.option("--epochs", type=int, default=27)
    @click.option("--amp/--no-amp", default=True)
    def main(**flags):
        raise SystemExit("it would train now")
    main()
"""
TYPER = """
    import typer
    def main(lr: float = 0.03, batch_size: int = 48, epochs: int = 27, amp: bool = True):
        raise SystemExit("it would train now")
    typer.run(main)
"""
HUGGING_FACE = """
    from dataclasses import dataclass
    from transformers import HfArgumentParser
    @dataclass
    class Arguments:
        learning_rate: float = 0.03
        per_device_train_batch_size: int = 48
        num_train_epochs: float = 27.0
        output_dir: str = "out"
    HfArgumentParser(Arguments).parse_args_into_dataclasses()
    raise SystemExit("it would train now")
"""
SUBPARSERS = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("score").add_argument("--lr", type=float, default=9.0)
    train = commands.add_parser("train")
    train.add_argument("--lr", type=float, default=0.03)
    train.add_argument("--batch-size", type=int, default=48)
    parser.parse_args()
    raise SystemExit("it would train now")
"""
CLICK_GROUP = """
    import click
    @click.group()
    def main(): pass
    @main.command()
    @click.option("--lr", default=9.0)
    def score(**flags): pass
    @main.command()
    @click.option("--lr", default=0.03)
    @click.option("--batch-size", default=48)
    def train(**flags):
        raise SystemExit("it would train now")
    main()
"""
# Fire, as far as it is asked.
FIRE = "def Fire(component=None): raise SystemExit('it would train now')"
FIRE_GLOBALS = """
    import fire
    def score(lr=9.0): pass
    def train(lr=0.03, batch_size=48): pass
    fire.Fire()
"""
FIRE_CLASS = """
    import fire
    class Trainer:
        def __init__(self, lr=0.03): pass
        def score(self): pass
        def train(self, batch_size=48): pass
    fire.Fire(Trainer)
"""
# Libraries that need not be installed: what they print for --help, or a stand-in that behaves alike.
TYRO_HELP = """
    print('''usage: train.py [-h] [--lr FLOAT] [--batch-size INT]

    ╭─ options ─────────────────────────────────────╮
    │ -h, --help          show this help            │
    │ --epochs INT        (default: 27)             │
    │ --batch-size INT    images in a step,         │
    │                     (default: 48)             │
    ╰───────────────────────────────────────────────╯
    ╭─ optimizer options ───────────────────────────╮
    │ --optimizer.lr FLOAT   (default: 0.03)        │
    ╰───────────────────────────────────────────────╯''')
"""
TYPER_HELP = """
    print(''' Usage: train.py [OPTIONS]

    ╭─ Options ───────────────────────────────────────────────────╮
    │ --lr                          FLOAT       [default: 0.03]   │
    │ --batch-size                  INTEGER     [default: 48]     │
    │ --epochs                      INTEGER     [default: 27]     │
    │ --opt                         <sgd|adam>  [default: adam]   │
    │ --amp             --no-amp                [default: no-amp] │
    │ --install-completion          <bool>      Install it for    │
    │                                           the current shell │
    │ --help                                    Show this message │
    ╰─────────────────────────────────────────────────────────────╯''')
"""
ABSL_HELP = """
    print('''A trainer.
    flags:
      --batch_size: images in a step
        (default: '48')
        (an integer)
      --epochs: how long
        (default: '27')
      --lr: its rate
        (default: '0.03')
        (a number)''')
"""
HYDRA = """
    if False:
        import hydra
    # a stand-in for hydra.main: --cfg job prints the configuration
    import sys
    assert sys.argv[1:] == ["--cfg", "job"]
    print("optimizer: {lr: 0.03, name: adam}\\nbatch_size: 48\\nepochs: 27\\ndata: null")
    print("head: {lr: '${optimizer.lr}'}\\nroot: ???")
"""
SHELL = """\
#!/bin/sh
cat <<X
usage: train [options]
  -l, --lr LR           learning rate (default: 0.03)
      --batch-size N    images a step [default: 48]
      --epochs N        how long (default: 27)
      --opt {sgd,adam}  optimiser (default: adam)
X
"""
# Lightning's parser, as far as it is asked: one of argparse with subcommands whose defaults are nested.
JSONARGPARSE = """
    import argparse, types

    class ArgumentParser(argparse.ArgumentParser):
        def get_defaults(self, skip_validation):
            given = {action.dest: action.default for action in self._actions if action.dest != "help"}
            return types.SimpleNamespace(as_dict=lambda: given)
"""
LIGHTNING = """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    fit = parser.add_subparsers(dest="subcommand", parser_class=ArgumentParser).add_parser("fit")
    fit.add_argument("--model.lr", type=float, default=0.03)
    fit.add_argument("--data.batch_size", type=int, default=48)
    fit.add_argument("--trainer.max_epochs", type=int, default=27)
    fit.add_argument("--trainer.default_root_dir", default=None)
    fit.add_argument("--ckpt_path", default=None)
    parser.parse_args()
"""
KINDS = {
    "argparse": ARGPARSE,
    "argparse with defaults in its help": HELP_DEFAULTS,
    "a subclass of argparse": SUBCLASS,
    "click": CLICK,
    "typer": TYPER,
    "Hugging Face": HUGGING_FACE,
    "tyro": TYRO_HELP,
    "typer with its own click": TYPER_HELP,
    "absl": ABSL_HELP,
    "Hydra": HYDRA,
}


def written(folder: Path, script: str, name: str = "train.py") -> tuple[Space, str]:
    """The space that is written for a script, read again, and its text."""
    path = folder / name
    path.write_text(script if name != "train.py" else textwrap.dedent(script))
    path.chmod(0o755)
    write_space(path, out=folder / "train.yaml")
    return load_space(str(folder / "train.yaml"), spaces_dir=SPACES), (folder / "train.yaml").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_trial_0_of_the_space_is_the_scripts_own_defaults(tmp_path: Path, kind: str) -> None:
    space, _ = written(tmp_path, KINDS[kind])
    assert space.trainable.command
    defaults = space.trainable.command["defaults"]
    by_last_part = {name.rpartition(".")[2]: value for name, value in defaults.items()}
    assert by_last_part.get("lr", by_last_part.get("learning_rate")) == 0.03
    assert by_last_part.get("batch_size", by_last_part.get("per_device_train_batch_size")) == 48
    assert [rung.epochs for rung in space.ladder.rungs] == [3, 9, 27]
    assert space.parameters.keys() >= set(defaults) - {"opt", "optimizer.name"}


def test_a_help_texts_choices_are_values_and_completion_is_no_flag_of_the_script(tmp_path: Path) -> None:
    space, text = written(tmp_path, TYPER_HELP)
    assert list(space.parameters) == ["lr", "batch_size", "opt"]
    assert "completion" not in text


@pytest.mark.parametrize(
    "script",
    [SUBPARSERS, CLICK_GROUP, FIRE_GLOBALS, FIRE_CLASS],
    ids=["argparse", "click", "fire", "fire's class"],
)
def test_a_subcommands_flags_are_those_that_follow_its_name(tmp_path: Path, script: str) -> None:
    path = tmp_path / "train.py"
    (tmp_path / "fire.py").write_text(FIRE)
    path.write_text(textwrap.dedent(script))
    write_space(path, out=tmp_path / "train.yaml", arguments=["train"])
    command = load_space(str(tmp_path / "train.yaml"), spaces_dir=SPACES).trainable.command
    assert command
    assert command["run"] == ["{python}", "train.py", "train"]
    assert sorted(command["defaults"].values()) == [0.03, 48]


def test_flags_of_a_subcommand_of_lightning_are_its_own_and_its_checkpoint_is_no_output(
    tmp_path: Path,
) -> None:
    path = tmp_path / "main.py"
    (tmp_path / "jsonargparse.py").write_text(textwrap.dedent(JSONARGPARSE))
    path.write_text(textwrap.dedent(LIGHTNING))
    write_space(path, out=tmp_path / "main.yaml", arguments=["fit"])
    command = load_space(str(tmp_path / "main.yaml"), spaces_dir=SPACES).trainable.command
    assert command
    assert command["defaults"] == {"model.lr": 0.03, "data.batch_size": 48}
    flags = ["--trainer.max_epochs", "{epochs}", "--trainer.default_root_dir", "{checkpoint_dir}"]
    assert command["run"] == ["{python}", "main.py", "fit", *flags]


def test_a_subcommand_whose_parser_cannot_be_asked_is_read_by_its_own_help(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    unset = 'default=lambda: __import__("os").environ["LR_OF_NO_ONE"], type=float, help="[default: 0.03]"'
    path.write_text(textwrap.dedent(CLICK_GROUP).replace("default=0.03", unset))
    write_space(path, out=tmp_path / "train.yaml", arguments=["train"])
    command = load_space(str(tmp_path / "train.yaml"), spaces_dir=SPACES).trainable.command
    assert command
    assert command["defaults"]["lr"] == 0.03


@pytest.mark.parametrize("script", [CLICK_GROUP, SUBPARSERS, FIRE_GLOBALS])
def test_flags_that_are_all_in_subcommands_are_refused_with_their_names(tmp_path: Path, script: str) -> None:
    (tmp_path / "fire.py").write_text(FIRE)
    with pytest.raises(UnreadableScript, match=r'subcommands \(score, train\).* --arguments "score"'):
        written(tmp_path, script)


def test_a_program_that_is_no_python_is_read_by_its_help(tmp_path: Path) -> None:
    space, _ = written(tmp_path, SHELL, "train")
    assert space.trainable.command
    assert space.trainable.command["run"] == ["./train", "--epochs", "{epochs}"]
    assert space.trainable.command["defaults"] == {"batch_size": 48, "lr": 0.03, "opt": "adam"}


def test_the_search_gives_what_it_knows_and_the_rest_is_a_comment(tmp_path: Path) -> None:
    space, text = written(tmp_path, ARGPARSE)
    assert space.trainable.command
    places = "--epochs {epochs} --seed {seed} --output-dir {checkpoint_dir}"
    assert space.trainable.command["run"] == ["{python}", "train.py", *places.split()]
    assert list(space.parameters) == ["lr", "batch_size", "opt"]
    assert "#   --amp = false" in text
    assert "# 2 of" not in text


def test_what_a_script_logs_and_where_is_seen_in_its_source_without_running_it(tmp_path: Path) -> None:
    script = ARGPARSE + '    import wandb\n    wandb.log({"loss": 1, "val/acc": 2, "val/loss": 3})\n'
    space, text = written(tmp_path, script)
    assert space.trainable.command
    assert (space.trainable.command["metrics"], space.metric, space.mode) == ("wandb", "val/acc", "max")
    assert "# a name that the script logs" in text


@pytest.mark.parametrize(
    ("writing", "metrics", "metric"),
    [
        (
            'w = csv.writer(open(folder + "/log.csv", "w")); w.writerow(["Epoch", "Val Loss", "Val Acc"])',
            '{csv: {file: "{checkpoint_dir}/**/log.csv", epoch: "Epoch"}}',
            "Val Acc",
        ),
        (
            'w = csv.DictWriter(open("a/run.csv", "w"), fieldnames=["epoch", "val_loss"])',
            '{csv: "{checkpoint_dir}/**/run.csv"}',
            "val_loss",
        ),
        (
            'rows.append({"epoch": 1, "test_acc": 0.5}); pd.DataFrame(rows).to_csv("h.csv")',
            '{csv: "{checkpoint_dir}/**/h.csv"}',
            "test_acc",
        ),
        (
            'open("h.csv", "a").write("epoch,val_acc\\n")',
            '{csv: "{checkpoint_dir}/**/h.csv"}',
            "val_acc",
        ),
        (
            'pd.read_csv("train.csv"); csv.reader(open("test.csv")); '
            'open(f"{out}/fold{k}_log.csv", "w").write("epoch,val_acc\\n")',
            '{csv: "{checkpoint_dir}/**/fold*_log.csv"}',
            "val_acc",
        ),
    ],
    ids=["writer", "DictWriter", "pandas", "text", "beside tables that are read"],
)
def test_a_table_that_a_script_writes_is_seen_with_its_columns(
    tmp_path: Path, writing: str, metrics: str, metric: str
) -> None:
    space, text = written(tmp_path, textwrap.dedent(ARGPARSE) + f"{writing}\n")
    assert f"    metrics: {metrics}  # by its source\n" in text
    assert (space.metric, space.mode) == (metric, "min" if "loss" in metric else "max")


@pytest.mark.parametrize(
    ("logging", "is_noted"),
    [
        ('print(f"Test set: accuracy {0.9:.0%}")', True),
        ("print('Accuracy: 97%')", True),
        ("pass", True),
        ('print({"epoch": 1, "val_acc": 0.9})', False),
        ('import wandb; wandb.log({"val/acc": 0.9})', False),
        ("from torch.utils.tensorboard import SummaryWriter", False),
    ],
)
def test_a_script_that_leaves_no_scores_is_noted_before_it_is_searched(
    tmp_path: Path, logging: str, is_noted: bool
) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(ARGPARSE) + f"{logging}\n")
    note = write_space(tmp_path / "train.py", out=tmp_path / "space.yaml").note
    line = 'print(json.dumps({"epoch": epoch, "val_acc": accuracy}), flush=True)'
    assert note == is_noted * (
        f"no scores that a search can read were found in train.py: print a line in each epoch, {line}, or "
        "name the file that it writes as metrics (docs/own-script.md)"
    )


def test_a_flag_that_must_be_given_is_named(tmp_path: Path) -> None:
    more = "flags.add_argument('--data', required=True); flags.add_argument('lr_file', help='rates')"
    _, text = written(tmp_path, ARGPARSE.replace("flags.parse_args()", f"{more}\n    flags.parse_args()"))
    assert "# The script also needs these: add them to run.\n#   --data VALUE\n#   LR_FILE: rates\n" in text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("print('I take nothing')", "has no flags: a search sets hyperparameters by flags such as --lr"),
        ("def broken(:", "SyntaxError: "),
        (
            "if False:\n    import hydra\nprint('Loading data ...')\nprint('lr: 0.1')",
            "prints more than its configuration with --cfg job, and begins with 'Loading data ...",
        ),
    ],
)
def test_a_script_without_readable_flags_is_refused_with_its_own_words(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(UnreadableScript) as raised:
        written(tmp_path, script)
    assert message in str(raised.value)
    assert not (tmp_path / "train.yaml").exists()


@pytest.mark.parametrize("name", ["my train.py", "it's {here}.py"])
def test_a_scripts_name_stays_one_word_of_its_command(tmp_path: Path, name: str) -> None:
    script = Script(path=Path(name), library="argparse", words=("{python}", name, "fit"), flags=())
    run = yaml.safe_load(space_text(script, Scores(source="", metric=""), name="a.yaml"))["search"][
        "command"
    ]["run"]
    values = {"python": "python"}
    assert filled(words_of(run), values, {}) == ["python", name, "fit"]


def test_a_notebook_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "train.ipynb").write_text("{}")
    with pytest.raises(UnreadableScript, match="is a notebook, which takes no flags: save it as a script"):
        write_space(tmp_path / "train.ipynb")


def test_an_existing_space_is_not_replaced(tmp_path: Path) -> None:
    written(tmp_path, ARGPARSE)
    before = (tmp_path / "train.yaml").read_text()
    with pytest.raises(ValueError, match=r"train\.yaml exists already"):
        write_space(tmp_path / "train.py")
    assert (tmp_path / "train.yaml").read_text() == before


@pytest.mark.parametrize(
    ("flag", "entry"),
    [
        (Flag(name="lr", spelled="--lr", default=0.1), (0.001, 1.0)),
        (Flag(name="optim.learning_rate", spelled="--optim.learning_rate", default=3e-4), (3e-6, 3e-3)),
        (Flag(name="weight-decay", spelled="--weight-decay", default=0.0), [0, 1e-5, 1e-4, 1e-3, 1e-2]),
        (Flag(name="wd", spelled="--wd", default=0.05), (5e-4, 5.0)),
        (Flag(name="wd", spelled="--wd", default=-1), None),
        (Flag(name="drop", spelled="--drop", default=-1.0), None),
        (Flag(name="lr", spelled="--lr", default="1e-3,1e-4"), None),
        (Flag(name="lr", spelled="--lr", default=[1e-3]), None),
        (Flag(name="lr", spelled="--lr", default=float("inf")), None),
        (Flag(name="batch_size", spelled="--batch_size", default=2), [1, 2, 4, 8]),
        (Flag(name="dropout", spelled="--dropout", default=0.7), (0.0, 0.7)),
        (Flag(name="momentum", spelled="--momentum", default=0.9), (0.8, 0.99)),
        (Flag(name="lora_r", spelled="--lora_r", default=8), [2, 4, 8, 16, 32]),
        (Flag(name="workers", spelled="--workers", default=4), None),
        (Flag(name="lr_decay_every", spelled="--lr_decay_every", default=4), None),
        (Flag(name="warmup", spelled="--warmup", kind="bool", default=True), None),
    ],
)
def test_a_range_is_around_the_default_of_a_name_that_is_known(flag: Flag, entry: object) -> None:
    found = range_of(flag)
    if found is None:
        assert entry is None
    else:
        assert (found.entry.get("values") or (found.entry["min"], found.entry["max"])) == entry


@pytest.mark.parametrize(
    ("name", "default", "place"),
    [
        *(("epochs", 5, "epochs"), ("num-train-epochs", 3.0, "epochs"), ("max_epochs", None, "epochs")),
        *(
            ("seed", 0, "seed"),
            ("output_dir", "out", "checkpoint_dir"),
            ("project", "runs", "checkpoint_dir"),
            ("ckpt_dir", None, "checkpoint_dir"),
        ),
        *(
            ("warmup_epochs", 5, None),
            ("seed_everything", True, None),
            ("log_every", 10, None),
            ("model", "r18", None),
            ("checkpoint_path", None, None),
        ),
    ],
)
def test_what_the_search_itself_gives_a_script(name: str, default: object, place: str | None) -> None:
    assert (
        place_of(
            Flag(
                name=name,
                spelled=f"--{name}",
                default=default,
                kind=type(default).__name__ if default is not None else "",
            )
        )
        == place
    )


def test_a_flag_without_a_default_starts_within_its_range() -> None:
    assert default_of(Flag(name="lr", spelled="--lr", kind="float")) == 0.001


def test_the_guides_script_gives_the_line_that_the_guide_shows(tmp_path: Path) -> None:
    guide = ROOT / "docs/own-script.md"
    (tmp_path / "digits.py").write_text(block_of(guide, "python"))
    written = write_space(tmp_path / "digits.py", out=tmp_path / "first.yaml")
    (shown,) = [
        line for block in blocks_of(guide, "text") for line in block.splitlines() if "argparse" in line
    ]
    assert shown == f"wrote ./first.yaml: {written.summary}"
