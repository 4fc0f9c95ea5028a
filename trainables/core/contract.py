"""The words that trainables and the search share. Standard library only: no torch, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Mode = Literal["min", "max"]
ValidationResolution = Literal["top", "rung"]
Horizon = Literal["full", "rung", "anytime"]
DataSpec = str | Mapping[str, Any]  # what `search.data` is: a name, or a mapping; see `core.data_source`


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one trial may use.

    Attributes:
        epochs: Epochs the training has done when it has used this budget, counted from its start.
        subset: Training examples per epoch: a fraction in (0, 1] or, as an int, a count. None is all.
        resolution: Side of the square training images in pixels. None is the data's own.
        validation: Examples that are scored after an epoch: a fraction of the validation set or, as an int, a
            maximum. None is as `TrainingContext.validation_subset` says.
    """

    epochs: int
    subset: float | int | None = None
    resolution: int | None = None
    validation: float | int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.epochs < 1:
            problems.append(f"epochs must be at least 1, got {self.epochs}")
        for name in ("subset", "validation"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value <= 1:
                problems.append(f"a {name} fraction must be in (0, 1], got {value}")
            if isinstance(value, int) and value < 1:
                problems.append(f"a {name} count must be at least 1, got {value}")
        if self.resolution is not None and self.resolution < 1:
            problems.append(f"resolution must be at least 1 px, got {self.resolution}")
        if problems:
            raise ValueError("; ".join(problems))


_DECIDES_RESULT = {"decides_result": True}  # marks fields that `TrainingContext.settings` gives


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Where and on what a training runs: everything that is not searched for.

    Attributes:
        data: A data source as the space names it, such as "mnist5k" or {"imagefolder": "/photos"}; what
            `data_source.read_source` reads.
        data_seed: The run's seed: it decides splits and subsets, so all trials see the same data.
        seed: The trial's seed: weights, order of examples, augmentation.
        cache_dir: Folder for decoded data; shared by all trials of a node.
        device: A torch device name.
        resolution: Side in pixels of the top rung's images, and of test images. None is the data's own.
        validation_subset: Share or count of the validation set that is scored; None is all, as
            is a count above it.
        validation_resolution: "top" scores validation at `resolution` at every rung, so that all
            scores compare. "rung" scores at the resolution of the epoch's training, so that those
            of one rung do: for networks that do not carry over to larger images.
        horizon: "full" and "rung": learning rates anneal over the epochs of the budget that `start`
            is given. "anytime": they must not, for no end is known; the score after each epoch shall
            compare with an annealed one all the same. A trainable without a schedule may ignore it.
        num_processes: Processes that the training may use, each with a device of its own; 1 leaves it in this
            one.
        num_workers: Threads that decode images where `cache_dir` has no room for them.
        cache_gib: What decoded data may take in `cache_dir`; None is what its disk has free.
        folder: The training's own, on storage that all nodes share, for what `state_dict` cannot hold; it
            lasts as long as the checkpoint. None: there is none, and `state_dict` must hold all.
        auto_precision: What the precision "auto" means on a CPU in this run, with the reason, as
            "bf16: 1.9 times as fast ..."; decided once for all its trials. Empty: as this machine says.
        progress_file: Where decoding and long epochs write how far they are (`core.progress`); None: nowhere.
        is_overfit: Train on the same few examples in one order without augmentation, and score those
            instead of validation: whether the model can overfit them.
        is_rehearsal: Nothing will be trained: data is read as far as a batch needs it, and nothing is
            downloaded or decoded ahead. `device` is then "meta", where models have shapes and no values, or
            "cpu".
    """

    data: DataSpec = field(metadata=_DECIDES_RESULT)
    data_seed: int = field(metadata=_DECIDES_RESULT)
    seed: int = field(metadata=_DECIDES_RESULT)
    cache_dir: Path
    device: str = "cpu"
    precision: Precision = field(default="auto", metadata=_DECIDES_RESULT)
    resolution: int | None = None
    validation_subset: float | int | None = field(default=None, metadata=_DECIDES_RESULT)
    validation_resolution: ValidationResolution = field(default="top", metadata=_DECIDES_RESULT)
    horizon: Horizon = field(default="full", metadata=_DECIDES_RESULT)
    num_processes: int = 1
    num_workers: int = 0
    folder: Path | None = None
    is_overfit: bool = False
    cache_gib: float | None = None
    auto_precision: str = ""
    is_rehearsal: bool = False
    progress_file: Path | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the result beside hparams and budget, by name, as plain data.

        Saved states carry it, so that none is resumed with other settings, and config.yaml has it. Device,
        folders and threads are left out: they change how long a training takes, not what it comes to.
        """
        return {
            each.name: getattr(self, each.name) for each in fields(self) if "decides_result" in each.metadata
        }


class Training(Protocol):
    """One live training. It is advanced from outside, and saved and restored between epochs."""

    epochs_done: int

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        """Train one epoch at `budget`, evaluate on validation, and return plain floats.

        The trainable's metric is among them. `num_examples` counts the training examples seen. An
        epoch may go without evaluation, and then returns no `val_` value at all; never the last
        one of the budget.

        Beside the metric it may say how many examples were scored and what guessing comes to, under the
        names that `num_examples` and `by_guessing` give: conclusions then count the set's size, and know
        when a score is no better than guessing. `test` likewise.

        Raises:
            Diverged: The loss became NaN or infinite.
        """
        ...

    def test(self) -> Mapping[str, float]:
        """Evaluate on the test set. Promotion alone calls it, once per final training.

        The metric is among the values, with `test_` for `val_` in its name.
        """
        ...

    def notes(self) -> Mapping[str, str]:
        """Automatic choices with their reasons, such as the precision; written to the trial's row.

        They may change from epoch to epoch: memory that ran out, an epoch trained again.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-identical continuation needs: tensors, numbers, text, dicts and lists.

        What `torch.load(weights_only=True)` refuses (arrays, objects) must not be in it.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which a `state_dict()` of the same hparams returned."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file of pretrained weights that must be on disk before a trial starts.

    Attributes:
        source: "hub" is Hugging Face's; "torchvision" and "url" lie in torch.hub's cache.
        location: `repo_id/filename`, URL, or path.
        alternatives: Other locations that do as well, in the order in which they are tried.
        size_mib: Where it is known, or can be estimated, before the file is there.
    """

    source: Literal["hub", "torchvision", "url", "file"]
    location: str
    alternatives: tuple[str, ...] = ()
    size_mib: float | None = field(default=None, compare=False)


def no_weights(hparams: Any) -> Sequence[WeightFile]:
    """The answer of a trainable that starts from random weights."""
    return ()


def unchecked(needed: TrainingContext | str) -> Sequence[str]:
    """The answer of a trainable whose data or device cannot be checked beforehand."""
    return ()


def no_choice(context: TrainingContext) -> str:
    """The answer of a trainable that computes in one number format only."""
    return ""


def no_batch_size(*_: Any) -> str:
    """The answer of a trainable that has no batch_size "auto"."""
    return ""


def as_given(hparams: Any) -> Mapping[str, Any]:
    """The answer of a trainable whose own defaults overfit a few examples."""
    return {}


@dataclass(frozen=True, kw_only=True)
class OverfitTarget:
    """The score that a training reaches when it overfits a few examples.

    Attributes:
        score: The metric on these examples.
        epochs: Most epochs it may take, of one step each where the examples are one batch.
        num_examples: Number of examples that the target holds for.
        overrides: From given hparams to those that the target holds for, where a recipe's are for trained
            weights or thousands of steps. They replace defaults only: what was set stays.
    """

    score: float
    epochs: int = 100
    num_examples: int = 32
    overrides: Callable[[Any], Mapping[str, Any]] = as_given


@dataclass(frozen=True, kw_only=True)
class Example:
    """What a trainable can be tried out with in seconds, on any machine.

    Attributes:
        data: A source without files of its own.
        hparams: Those that make the model small; the others keep their defaults.
    """

    data: DataSpec = "digits"
    hparams: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters that have been published, for a search to begin with.

    Attributes:
        source: Where they are published.
        only_with: Values of others without which they mean nothing: a rate of SGD is none of AdamW.
    """

    source: str
    hparams: Mapping[str, Any]
    only_with: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MetricScale:
    """What a metric's values can be, and what kind of number it is: what its intervals are made by.

    Attributes:
        low: The smallest value there can be; None: there is none, or none that is known.
        high: The largest one.
        kind: "mean": the mean over the scored examples of values from `low` to `high`, such as accuracy or
            the average precision of queries. "spearman", "pearson", "kendall": correlations over the scored
            examples. "other": of its spread over examples nothing is known.
        guessing: What guessing comes to, whatever the data. None: it depends on the data, and each set's
            scores bring it (`by_guessing`), or it is unknown.
    """

    low: float | None = None
    high: float | None = None
    kind: Literal["mean", "spearman", "pearson", "kendall", "other"] = "other"
    guessing: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number beside the metric that a training reports: what a space may optimise too, or bound.

    Attributes:
        mode: Whether less or more of it is better.
        unit: As an axis writes it, such as "ms"; empty where it has none.
    """

    mode: Mode
    unit: str = ""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f'mode must be "min" or "max", got {self.mode!r}')


UNKNOWN_SCALE = MetricScale()
MEAN_FRACTION = MetricScale(low=0.0, high=1.0, kind="mean")  # accuracy, top-5 accuracy, Rank-1, ...
FRACTION = MetricScale(low=0.0, high=1.0)  # F1, average precision over classes, ...
LOSS = MetricScale(low=0.0)


def by_guessing(metric: str) -> str:
    """The name under which scores may say what `metric` comes to by guessing: "val_accuracy_by_guessing".

    For accuracy that is the share of the commonest class among the labels of the scored set.
    """
    return f"{metric}_by_guessing"


def num_examples(metric: str) -> str:
    """The name under which scores may say how many examples `metric` was scored on: "val_num_examples"."""
    part, _, name = metric.partition("_")
    return f"{part}_num_examples" if name and part in ("val", "test") else "num_examples"


def is_about_scores(name: str) -> bool:
    """Whether a value is what `by_guessing` or `num_examples` names: of the scored set, not of the model."""
    return name.endswith("_by_guessing") or name in {"val_num_examples", "test_num_examples", "num_examples"}


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What a file in `trainables/` exports as TRAINABLE.

    Attributes:
        hparams: A frozen dataclass. Its defaults are the default configuration (trial 0);
            its `__post_init__` raises ValueError for values that make no sense.
        metric: Name of the value that ranks trials; `run_epoch` returns it.
        start: Makes a training. The budget is the horizon that learning-rate schedules span.
        data_sources: What `search.data` may name: subclasses of `data_source.DataSource`. A space's paths
            are resolved and checked by them. Empty: its data means something to the trainable alone.
        weights: The files that `start` will want for given hparams.
        check_data: Quick check of the data before a run, within seconds and without decoding it: returns
            notes or a `data_summary.DataSummary`, raises DataError if the data cannot be used.
        rehearse: Quick check of what `start` and the first epoch at each of these budgets, the largest last,
            would refuse: builds the model, splits the data and forms a batch, but trains nothing. Returns
            notes, raises what a training would. `engine.rehearsal.rehearsing(start)` is one for whatever
            `engine.assembly.assemble` puts together; None: `start` is called, and its training thrown away.
        check_device: The same for the device that `TrainingContext.device` will name; raises RuntimeError.
        choose_precision: What the precision "auto" would mean in these surroundings, as in
            `TrainingContext.auto_precision`; empty where nothing is to be chosen.
        choose_batch_size: From `start`, hparams whose batch_size is "auto", the budgets of the rungs, the
            surroundings and the share of a GPU that a trial has, to what "auto" comes to there, with the
            reason, as "64: a step takes 2834 MiB ...".
        rebuild: Builds the module of a trained model again, from its `model_folder.ModelCard` and its weights
            by name; what `jouletune.load_model` calls. None: its trainings leave no model that is used
            without them.
        overfit: What `TrainingContext.is_overfit` must come to; None where no weights are learnt.
        has_test: False where there is no test set: `test` is not called then.
        is_data_parallel: Its trainings can run in several processes, each with a share of every batch:
            `start` gives what `engine.assembly.assemble` made, whose loss is a mean over examples.
        resolution_unit: What a budget's resolution counts: pixels of a side, or tokens, nodes, ...
        scales: What is known of the values that it reports, by their names without `val_`. Of a metric that
            is not among them nothing is assumed: intervals are not clipped, and count seeds alone.
        measures: The numbers beside the metric that a space may name as objective or constraint, by name.
            `run_epoch` returns them with the metric; or a method `measure` of the training knows them before
            its first epoch (`optional.measured_by`). Empty: a space gives each with its direction.
        scored_unit: What a test set counts, in the plural: images, pairs, queries, ...
        no_effect_anytime: Hparams that do nothing where `TrainingContext.horizon` is "anytime".
        example: What tests try it out with.
        recipes: What others have published for it: where a search begins that knows no earlier run.
    """

    hparams: type
    metric: str
    mode: Mode
    start: Callable[[Any, Budget, TrainingContext], Training]
    data_sources: tuple[type, ...] = ()
    weights: Callable[[Any], Sequence[WeightFile]] = no_weights
    check_data: Callable[[TrainingContext], Sequence[str]] = unchecked
    check_device: Callable[[str], Sequence[str]] = unchecked
    choose_precision: Callable[[TrainingContext], str] = no_choice
    choose_batch_size: Callable[[Any, Any, Sequence[Budget], TrainingContext, float], str] = no_batch_size
    rehearse: Callable[[Any, Sequence[Budget], TrainingContext], Sequence[str]] | None = None
    rebuild: Callable[[Any, Mapping[str, Any]], Any] | None = None
    resolution_unit: str = "px"
    scales: Mapping[str, MetricScale] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    scored_unit: str = "examples"
    no_effect_anytime: tuple[str, ...] = ()
    overfit: OverfitTarget | None = None
    has_test: bool = True
    is_data_parallel: bool = False
    example: Example = field(default_factory=Example)
    recipes: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not (isinstance(self.hparams, type) and is_dataclass(self.hparams)):
            problems.append(f"hparams must be a dataclass (the class itself), got {self.hparams!r}")
        if not (isinstance(self.metric, str) and self.metric):
            problems.append(f"metric must be the name of a value that run_epoch gives, got {self.metric!r}")
        if self.mode not in get_args(Mode):
            problems.append(f'mode must be "min" or "max", got {self.mode!r}')
        calls = ("start", "weights", "check_data", "check_device")
        problems += [
            f"{name} must be a function, got {getattr(self, name)!r}"
            for name in calls
            if not callable(getattr(self, name))
        ]
        if problems:
            raise ValueError("; ".join(problems))


class UnknownTrainable(ValueError):
    """No trainable has this name, or a file gives none; the message says what is expected."""


class Diverged(Exception):
    """A loss became NaN or infinite; the message says where."""


class BadResult(ValueError):
    """A trainable returned something else than plain numbers with its metric among them."""


class ScriptFailed(Exception):
    """A program that a training runs ended with an error; the lines after the first are its last ones.

    Attributes:
        error_name: The Python error in its last line, such as MemoryError; empty where there is none.
    """

    def __init__(self, text: str, error_name: str = "") -> None:
        super().__init__(text)
        self.error_name = error_name


class DataError(Exception):
    """Data is missing, unreadable or unfit; the message says what to do."""


class DataNotHere(DataError):
    """Data that the first trial will download: nothing is wrong with it, but it cannot be checked yet."""


class WeightsError(Exception):
    """Pretrained weights are missing, damaged or another model's; the message says what to do."""
