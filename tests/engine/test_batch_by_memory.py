"""batch_size "auto": chosen by memory, once for each model; written down, and the same ever after."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from search import cli
from search.backends.local import execute_here
from search.ledger import Ledger
from search.preflight import Report
from search.preflight.node_checks import examine
from search.preflight.request import batch_sizes_of, request_for
from search.promotion import full_training
from search.run import Run
from search.sampling.warm_start import make_sampler
from search.space import SpaceError
from search.trial.batch_size import UNMEASURED, with_batch_size
from tests.support.toy_runs import SteadyMeter, made_space, sampler_for
from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.core.optional import MemoryProbe, notes_of
from trainables.engine import batch_by_memory
from trainables.engine.batch_by_memory import (
    StepMemory,
    choose_batch_size,
    chosen,
    kept_for_backward,
)
from trainables.engine.hparams import UNCHOSEN_BATCH_SIZE, TrainingHparams
from trainables.person_reid import Hparams as PersonHparams

AUTO = """
parameters: {lr: {min: 0.01, max: 0.1}, batch_size: {value: auto}, effective_batch_size: {values: [16, 48]}}
search:
  {trainable: classification, data: digits, ladder: {epochs: [1], subset: 64}, horizon: full,
   limits: {trials: 3}, defaults: {effective_batch_size: 48}}
"""


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path, precision="fp32")


@dataclass
class FakeMemory:
    """A device of 1,000 MiB on which the weights take 100 and an example takes 10."""

    whole_mib: float = 1000.0
    words: str = "of the fake"
    weights_mib: float = 100.0
    example_mib: float = 10.0
    asked: list[int] = field(default_factory=list)

    def used_mib(self, size: int) -> float:
        self.asked.append(size)
        used = self.weights_mib + size * self.example_mib
        return used if used <= self.whole_mib else math.inf


@pytest.mark.parametrize(
    ("guess", "asked"),
    [
        (64, [64, 128]),
        (16, [16, 32, 64, 128]),
        (512, [512, 256, 128, 64]),
    ],
)
def test_the_largest_power_of_two_below_85_percent_is_found_from_any_guess(
    guess: int, asked: list[int]
) -> None:
    memory = FakeMemory()
    assert chosen(memory, guess=guess, most=1024, num_examples=5000) == (
        "64: a step takes 740 MiB of 1000 MiB of the fake; 128 would take more than there is, over 85%"
    )
    assert memory.asked == asked


@pytest.mark.parametrize(
    ("memory", "most", "expected"),
    [
        # 64 take exactly 85 %, and one MiB more is too much.
        (FakeMemory(weights_mib=210), 1024, "64: a step takes 850 MiB"),
        (FakeMemory(weights_mib=211), 1024, "32: a step takes 531 MiB"),
        (FakeMemory(weights_mib=211), 1024, "64 would take 851 MiB, over 85%"),
        (
            FakeMemory(),
            16,
            "16: a step takes 260 MiB of 1000 MiB of the fake; the first rung has 51 examples",
        ),
        (FakeMemory(example_mib=0.1), 1024, "1024: a step takes 202 MiB of 1000 MiB of the fake; no more"),
        (FakeMemory(weights_mib=840), 1024, "2: even 2 examples take more than 850 MiB, 85% of the 1000 MiB"),
        (FakeMemory(weights_mib=5000), 1024, "2: even 2 examples take more than 850 MiB"),
    ],
)
def test_bounds_of_memory_and_data_are_kept_to_the_mib(memory, most, expected) -> None:
    assert expected in chosen(memory, guess=8, most=most, num_examples=51)


def test_what_a_step_keeps_is_counted_to_the_byte_and_without_the_weights() -> None:
    model = nn.Sequential(nn.Linear(10, 20), nn.Sigmoid(), nn.Linear(20, 5))
    with kept_for_backward(model) as kept:
        model(torch.ones(3, 10)).sum().backward()
    # The input, and the sigmoid's output, which it and the second layer keep both.
    assert sorted(kept.values()) == [3 * 10 * 4, 3 * 20 * 4]
    model = model.to("meta")
    with kept_for_backward(model) as kept:
        model(torch.ones(3, 10, device="meta")).sum().backward()
    assert sorted(kept.values()) == [3 * 10 * 4, 3 * 20 * 4]


def test_a_step_takes_four_copies_of_the_weights_and_its_examples() -> None:
    assert StepMemory(weights_mib=40, example_mib=1.5, num_examples=9).mib(8) == 52


def test_on_a_cpu_the_number_depends_on_the_side_and_never_on_the_machine(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_by_memory, "CPU_MIB", 60.0)
    hparams = Hparams(model="resnet20", batch_size="auto")
    small, large = Budget(epochs=1, resolution=8), Budget(epochs=2, resolution=16)

    def size(*budgets: Budget) -> int:
        at_top = replace(context, resolution=budgets[-1].resolution)
        return int(choose_batch_size(start, hparams, budgets, at_top).partition(":")[0])

    # The largest side decides for all rungs, whatever the lowest has.
    assert (size(small), size(large)) == (256, 128)
    assert size(small, large) == size(large)
    assert choose_batch_size(start, hparams, [small], replace(context, resolution=8)) == choose_batch_size(
        start, hparams, [small], replace(context, resolution=8, num_workers=7)
    )


def test_no_batch_is_larger_than_the_lowest_rungs_epoch(context: TrainingContext) -> None:
    hparams = Hparams(model="resnet20", batch_size="auto")
    budgets = [Budget(epochs=1, subset=50), Budget(epochs=3)]
    assert choose_batch_size(start, hparams, budgets, context).endswith("; the first rung has 50 examples")
    assert choose_batch_size(start, hparams, budgets, context).startswith("32: ")


def test_frozen_layers_and_missing_weights_change_no_choice(context: TrainingContext) -> None:
    plain = Hparams(model="resnet20", batch_size="auto")
    frozen = replace(plain, freeze_fraction=1.0, unfreeze_epoch=2, weights="file:/nowhere/at/all.pth")
    budgets = [Budget(epochs=1)]
    assert choose_batch_size(start, frozen, budgets, context) == choose_batch_size(
        start, plain, budgets, context
    )


def test_on_a_gpu_steps_are_measured_and_a_batch_that_was_halved_is_too_much(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's GPU is faked: 1,000 MiB, of which half a GPU is 500."""
    sizes: list[int] = []

    def measured(training: Any, budget: Budget) -> MemoryProbe:
        size = training._stepper._batch_size
        sizes.append(size)
        notes = {"memory": "halved"} if size > 128 else {}
        return MemoryProbe(peak_mib=100 + 2.5 * min(size, 128), what="of tensors", notes=notes)

    def on_cpu(hparams: Any, budget: Budget, context: TrainingContext) -> Any:
        return start(hparams, budget, replace(context, device="cpu"))

    monkeypatch.setattr(batch_by_memory, "probed_memory", measured)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (900 * 2**20, 1000 * 2**20))
    hparams, budgets = Hparams(model="resnet20", batch_size="auto"), [Budget(epochs=1)]
    on_gpu = replace(context, device="cuda")
    assert choose_batch_size(on_cpu, hparams, budgets, on_gpu, 0.5) == (
        "128: a step takes 420 MiB of 500 MiB of the GPU's memory; "
        "256 would take more than there is, over 85%"
    )
    assert choose_batch_size(on_cpu, hparams, budgets, on_gpu, 0.25) == (
        "32: a step takes 180 MiB of 250 MiB of the GPU's memory; 64 would take 260 MiB, over 85%"
    )


def test_a_gpu_that_has_no_room_left_raises_nothing(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(training: Any, budget: Budget) -> MemoryProbe:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(batch_by_memory, "probed_memory", out_of_memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 1000 * 2**20))
    text = choose_batch_size(
        lambda hparams, budget, context: start(hparams, budget, replace(context, device="cpu")),
        Hparams(model="resnet20", batch_size="auto"),
        [Budget(epochs=1)],
        replace(context, device="cuda"),
    )
    assert text == "2: even 2 examples take more than 850 MiB, 85% of the 1000 MiB of the GPU's memory"


@pytest.mark.gpu
def test_on_a_gpu_the_chosen_batch_trains_without_being_halved(context: TrainingContext) -> None:
    on_gpu = replace(context, device="cuda", resolution=64)
    budget, hparams = Budget(epochs=1, resolution=64), Hparams(model="convnext_atto", batch_size="auto")
    size = int(choose_batch_size(start, hparams, [budget], on_gpu, 0.02).partition(":")[0])
    row = start(replace(hparams, batch_size=size), budget, on_gpu).run_epoch(budget)
    assert "micro_batch" not in row
    assert row["peak_memory_mib"] <= 0.85 * 0.02 * torch.cuda.mem_get_info()[1] / 2**20


@pytest.mark.parametrize(
    ("given", "at_once", "step"),
    [
        ({"batch_size": 64}, 64, 64),
        ({"batch_size": 64, "grad_accum_steps": 3}, 64, 192),
        ({"batch_size": 64, "effective_batch_size": 256}, 64, 256),
        ({"batch_size": 64, "effective_batch_size": 96}, 48, 96),
        ({"batch_size": 32, "effective_batch_size": 33}, 17, 33),  # not 32 and 1, which BatchNorm refuses
        ({"batch_size": 16, "effective_batch_size": 16}, 16, 16),
        ({"batch_size": "auto"}, 32, 32),
        ({"batch_size": "auto", "effective_batch_size": 8}, 8, 8),
        ({"batch_size": "auto", "effective_batch_size": 256}, 32, 256),
    ],
)
def test_a_step_is_made_of_equal_batches(given: dict[str, Any], at_once: int, step: int) -> None:
    hparams = TrainingHparams(**given)
    assert (hparams.examples_at_once, hparams.step_size) == (at_once, step)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch_size": 64, "effective_batch_size": 32},
            "effective_batch_size must be batch_size or more, got 32 with batch_size 64",
        ),
        (
            {"effective_batch_size": 256, "grad_accum_steps": 2},
            "give effective_batch_size or grad_accum_steps, and leave the other out",
        ),
        ({"batch_size": 0}, "batch_size must be 1 or more, or auto, got 0"),
        ({"effective_batch_size": 0}, "effective_batch_size must be 1 or more, or null, got 0"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingHparams(**given)


def test_persons_come_in_whole_groups_of_whatever_auto_becomes() -> None:
    PersonHparams(batch_size="auto", metric_loss="triplet", images_per_identity=4)
    with pytest.raises(
        ValueError, match="multiple of images_per_identity with metric_loss triplet, got auto"
    ):
        PersonHparams(batch_size="auto", metric_loss="triplet", images_per_identity=6)


def test_steps_of_an_effective_size_learn_what_one_batch_of_it_learns(context: TrainingContext) -> None:
    small = Budget(epochs=1, subset=128)
    common: dict[str, Any] = {"model": "mnist_cnn", "lr": 0.01}  # without BatchNorm
    whole = start(Hparams(batch_size=64, **common), small, context).run_epoch(small)
    pieces = start(Hparams(batch_size=16, effective_batch_size=64, **common), small, context)
    assert pieces.run_epoch(small)["train_loss"] == pytest.approx(whole["train_loss"], abs=1e-5)
    assert notes_of(pieces)["grad_accum_steps"] == "64 examples a step, 16 at a time"


@pytest.mark.parametrize(
    ("batch_size", "num_examples", "expected"),
    [(16, 17, [9, 8]), (16, 32, [16, 16]), (16, 33, [11, 11, 11]), (2, 3, [3]), (2, 5, [3, 2])],
)
def test_no_batch_of_a_step_is_a_single_example_where_there_is_batchnorm(
    context: TrainingContext, batch_size: int, num_examples: int, expected: list[int]
) -> None:
    hparams = Hparams(model="resnet20", batch_size=batch_size, effective_batch_size=64)
    stepper = start(hparams, Budget(epochs=1, subset=64), context)._stepper
    assert [len(part) for part in stepper._parts(torch.arange(num_examples))] == expected


@pytest.mark.parametrize(
    ("hparams", "size"),
    [
        ({"batch_size": "auto", "model": "a"}, 64),
        ({"batch_size": "auto", "model": "a", "effective_batch_size": None}, 64),
        ({"batch_size": "auto", "model": "a", "effective_batch_size": 16}, 16),
        ({"batch_size": "auto", "model": "a", "effective_batch_size": 96}, 48),
        ({"batch_size": "auto", "model": "b", "effective_batch_size": 64}, 8),
        ({"batch_size": "auto", "model": "unknown"}, UNMEASURED),
        ({"batch_size": 100, "model": "a"}, 100),
    ],
)
def test_a_trials_number_is_what_was_chosen_for_its_model(hparams: dict[str, Any], size: int) -> None:
    choices = {"a": "64: reason", "b": "8: reason"}
    assert with_batch_size(hparams, choices) == {**hparams, "batch_size": size}


def test_what_nothing_chose_is_the_same_number_everywhere() -> None:
    assert UNMEASURED == UNCHOSEN_BATCH_SIZE == TrainingHparams(batch_size="auto").examples_at_once


def test_the_node_with_the_least_memory_decides_for_each_model() -> None:
    reports = [
        Report(batch_sizes={"a": "64: x", "b": "8: x"}),
        Report(batch_sizes={"a": "128: y", "b": "4: y"}),
    ]
    assert batch_sizes_of(reports) == {"a": "64: x", "b": "4: y"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parameters.batch_size={values: [auto, 64]}", "auto cannot be one of several values"),
        ("search.defaults={batch_size: 32}", "is fixed at 'auto', got 32"),
        ("parameters.batch_size.value=automatic", "batch_size"),
        (
            "search={trainable: toy, data: none, ladder: {epochs: [1]}}",
            "must be a whole number",
        ),
        (
            "search.ablations={sizes: {batch_size: [auto, 8]}}",
            "batch_size: auto cannot be a value of an ablation",
        ),
    ],
)
def test_a_space_says_what_auto_cannot_be(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        made_space(tmp_path, AUTO, overrides=[override])
    assert message in str(error.value)


def test_preflight_chooses_for_each_model_of_a_space(tmp_path: Path) -> None:
    more = ["parameters.model={values: [resnet20, mnist_cnn]}", "search.resources.gpus_per_trial=0"]
    space = made_space(tmp_path, AUTO, overrides=[*more, "search.precision=fp32"])
    request = request_for(space, source="space.yaml", folder=tmp_path / "results" / "run")
    report = examine(request)
    assert report.problems == ()
    assert report.batch_sizes.keys() == {"resnet20", "mnist_cnn"}
    assert f"batch_size: resnet20 {report.batch_sizes['resnet20']}" in report.notes
    assert examine(replace(request, chooses_batch_size=False)).batch_sizes == {}


def test_a_run_writes_the_number_down_and_keeps_it_when_it_is_resumed(tmp_path: Path) -> None:
    space = made_space(tmp_path, AUTO, overrides=["search.precision=fp32"])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"), batch_sizes={"resnet20": "32: why"})
    task = run.next_task()
    assert task is not None
    assert (task.hparams["batch_size"], task.hparams["effective_batch_size"]) == (24, 48)
    resumed = Run(space, sampler_for(space), run.ledger, batch_sizes={"resnet20": "8: another machine"})
    assert resumed.history.sessions.batch_sizes == {"resnet20": "32: why"}
    execute_here(resumed, SteadyMeter())
    trials = resumed.history.trials.values()
    assert {trial.hparams["batch_size"] for trial in trials} <= {16, 24}
    assert {trial.rows[0].notes["batch_size"] for trial in trials} == {"chosen for this model: 32: why"}
    assert resumed.history.trials["trial-0000"].hparams["batch_size"] == 24
    sessions = [event for event in run.ledger.events() if event["event"] == "session_started"]
    assert [event["batch_sizes"] for event in sessions] == [{"resnet20": "32: why"}] * 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.initial_points=[{lr: 0.2}, {lr: 0.3}]"],
        ["method=grid"],
        ["search.trials=[{lr: 0.3}, {lr: 0.1}, {lr: 0.2}]"],
        ["search.scheduler.mode=freeze_thaw", "search.initial_points=[{lr: 0.2}]"],
    ],
    ids=["initial points", "grid", "list", "freeze_thaw"],
)
def test_a_resumed_search_proposes_no_point_again_and_the_same_points(
    tmp_path: Path, overrides: list[str]
) -> None:
    """A journal has the number, where the sampler proposed "auto"."""
    fixed = ["parameters.lr={values: [0.1, 0.2, 0.3]}", "parameters.effective_batch_size={value: 48}"]
    space = made_space(tmp_path, AUTO, overrides=[*fixed, "search.defaults={lr: 0.1}", *overrides])
    sizes = {"resnet20": "32: why"}

    def started(ledger: Ledger) -> Run:
        return Run(space, make_sampler(space), ledger, batch_sizes=sizes)

    def proposed(run: Run, most: int) -> list[float]:
        tasks = [task for _ in range(most) if (task := run.next_task()) is not None]
        return [task.hparams["lr"] for task in tasks]

    whole = proposed(started(Ledger.create(tmp_path / "whole")), 4)
    assert sorted(whole) == [0.1, 0.2, 0.3]
    killed = started(Ledger.create(tmp_path / "killed"))
    assert proposed(killed, 2) == whole[:2]
    assert proposed(started(killed.ledger), 4) == whole  # the first two continue


def test_a_promotion_trains_with_the_searchs_number(tmp_path: Path) -> None:
    space = full_training(made_space(tmp_path, AUTO))
    chosen_before = {**space.default_hparams(space.trainable.load()), "batch_size": 24}
    assert with_batch_size(chosen_before, {"resnet20": "8: this machine"}) == chosen_before


def test_train_chooses_too_and_resumes_with_the_number_of_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auto.yaml").write_text(AUTO)
    sets = ["--set", "search.precision=fp32", "--set", "search.ladder.epochs=[2]"]
    command = ["--space", "./auto.yaml", *sets, "--hparam", "effective_batch_size=null", "--out", "out"]
    assert cli.run("train", command) == 0
    assert "batch_size=64" in capsys.readouterr().out  # as many as there are examples
    monkeypatch.setattr(batch_by_memory, "CPU_MIB", 1.0)
    assert cli.run("train", command) == 0
    assert "batch_size=64" in capsys.readouterr().out
