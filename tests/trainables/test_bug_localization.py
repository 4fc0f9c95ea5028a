"""Reports and files: how they are read, what is known of each pair, and how files are ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_reciprocal_rank

from search.trial.overfit import try_to_overfit
from trainables.bug_localization import TRAINABLE, Hparams
from trainables.bug_localization.batches import CandidateBatch, ReportBatches
from trainables.bug_localization.data import ReportData, load_project, load_report_data
from trainables.bug_localization.data_sources import StdlibReports
from trainables.bug_localization.features import class_names, history
from trainables.bug_localization.losses import ranking_loss
from trainables.bug_localization.project import Project, Report
from trainables.bug_localization.ranking import RankingDetails, mean_values, ranking_values
from trainables.bug_localization.stdlib import undocumented
from trainables.bug_localization.table import read_table
from trainables.bug_localization.training import start
from trainables.bug_localization.words import rvsm, term_counts, terms, weighted
from trainables.core.contract import Budget, DataError, DataSpec, TrainingContext

MONTH_S = 30.44 * 86_400
BUDGET = Budget(epochs=2)


def report(files: Sequence[int], month: float, *, fixed: float | None = None, text: str = "crash") -> Report:
    return Report(
        name=f"bug {month}",
        summary=text,
        description="",
        files=tuple(files),
        reported_s=month * MONTH_S,
        fixed_s=(month if fixed is None else fixed) * MONTH_S,
    )


def project(*reports: Report, texts: Sequence[str] = ("", "", "")) -> Project:
    return Project(reports, tuple(f"{name}.java" for name in "ABC"[: len(texts)]), tuple(texts))


def test_names_count_as_a_whole_and_in_their_parts() -> None:
    assert terms("the parseHTTPHeader(x) of max_size2") == [
        "parsehttpheader",
        "parse",
        "http",
        "header",
        "max",
        "size2",
        "size",
    ]


def test_rvsm_is_a_cosine_times_what_the_length_is_worth() -> None:
    """Files `alpha beta` and `alpha alpha gamma`; alpha is in both, so weighs nothing."""
    files, reports = term_counts(["alpha beta", "alpha alpha gamma"], ["beta alpha", "gamma beta", "delta"])
    half, long = 1 / 2, 1 / (1 + math.exp(-1))
    expected = [[half, 0], [half / math.sqrt(2), long / math.sqrt(2)], [0, 0]]
    assert rvsm(files, reports) == pytest.approx(np.array(expected))


def test_a_weight_is_of_the_logarithm_of_the_number() -> None:
    counts, _ = term_counts(["alpha alpha beta", "gamma"], [])
    weights = weighted(counts, counts).toarray()[0]
    alpha, beta = (math.log(2) + 1, 1.0)
    assert weights == pytest.approx(np.array([alpha, beta, 0]) / math.hypot(alpha, beta))


def test_a_report_knows_what_was_fixed_before_it_came_and_nothing_later() -> None:
    """File A was fixed in months 1 and 6, the second for a report of month 2."""
    reports = project(report([0], 1), report([0], 2, fixed=6), report([1], 5), report([0], 9))
    _, counts = term_counts([], [one.text for one in reports.reports])
    found = history(reports, weighted(counts, counts), np.ones(4, dtype=bool))
    assert found.frequency[:, 0].tolist() == [0, 1, 1, 2]
    assert found.recency[:, 0] == pytest.approx([0, 1 / 2, 1 / 5, 1 / 4])
    assert found.frequency[:, 1].tolist() == [0, 0, 0, 1]


def test_what_is_fixed_at_the_moment_a_report_comes_is_not_before_it() -> None:
    reports = project(report([0], 1), report([0], 1))
    _, counts = term_counts([], ["alpha beta", "alpha"])
    found = history(reports, weighted(counts, counts), np.ones(2, dtype=bool))
    assert found.frequency.sum() == 0


def test_a_report_that_may_not_be_learnt_from_is_in_no_history() -> None:
    reports = project(report([0], 1), report([0], 2), report([0], 3))
    _, counts = term_counts([], ["alpha", "alpha beta", "beta"])
    found = history(reports, weighted(counts, counts), np.array([True, False, True]))
    assert found.frequency[:, 0].tolist() == [0, 1, 1]


def test_likeness_is_to_all_earlier_reports_of_the_file_together() -> None:
    texts = ["alpha", "beta", "alpha beta"]
    reports = project(*(report([0], month, text=text) for month, text in enumerate(texts)))
    _, counts = term_counts([], texts)
    vectors = weighted(counts, counts)
    found = history(reports, vectors, np.ones(3, dtype=bool)).similarity[:, 0]
    together = vectors[:2].sum(0)
    cosine = float((vectors[2] @ together.T).item() / np.linalg.norm(together))
    assert found == pytest.approx([0, 0, cosine])
    assert cosine == pytest.approx(1)


def test_the_longest_class_name_of_a_file_in_the_summary_counts() -> None:
    reports = project(
        report([0], 1, text="B and TreeView fail; Tree too"),
        texts=("class Tree {} class TreeView {}", "interface Other", "enum Tree"),
    )
    assert class_names(reports).tolist() == [[8, 1, 4]]


TABLE = "bug_id\tsummary\tdescription\treport_time\tcommit_timestamp\tfiles\n"


def written(folder: Path, rows: str, header: str = TABLE) -> Path:
    for name in ("src/A.java", "src/B.java", "README.md"):
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_text(f"class {Path(name).stem} {{}}")
    table = folder / "bugs.tsv"
    table.write_text(header + rows)
    return table


def test_a_table_is_read_with_its_times_and_the_files_of_its_kind(tmp_path: Path) -> None:
    table = written(
        tmp_path,
        "7\tlater\ttext\t1970-01-03T02:00:00+02:00\t200000\tsrc/B.java src/A.java\n"
        "5\tfirst\ttext\t1970-01-01 00:01:00\t10\tsrc/A.java old/C.java\n"
        "6\tgone\ttext\t1970-01-02 00:00:00\t\told/C.java\n",
    )
    found = read_table(table, tmp_path / "tree")
    assert found.paths == ("src/A.java", "src/B.java")
    assert [(one.name, one.files, one.reported_s, one.fixed_s) for one in found.reports] == [
        ("5", (0,), 60.0, 60.0),  # it cannot be fixed before it came
        ("7", (0, 1), 172_800.0, 200_000.0),
    ]
    assert found.notes == {
        "reports": "1 files that reports name are not in the tree, such as old/C.java; "
        "1 of 3 reports have no other and are left out"
    }


def test_a_table_without_times_is_in_its_order(tmp_path: Path) -> None:
    table = written(tmp_path, "a\tb\tsrc/A.java\nc\td\tsrc/B.java\n", "summary\tdescription\tfiles\n")
    found = read_table(table, tmp_path / "tree")
    assert [one.reported_s for one in found.reports] == [0.0, 86_400.0]
    assert found.notes["times"].startswith("the table has no times")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("summary\tfiles\n", "", "has 1 problems: it has no column description, only summary, files"),
        (
            TABLE,
            "1\ta\tb\tsoon\t\tsrc/A.java\n2\ta\tb\t1\tnan\tsrc/A.java\n",
            "2 problems: row 1: report_timestamp must be seconds since 1970 or a date .* got 'soon'; row 2: ",
        ),
        (TABLE, "1\ta\tb\t1\t\tsrc/X.java\n", "no file that it names is in .*, such as src/X.java; give the"),
    ],
)
def test_a_table_that_cannot_be_used_says_all_that_is_wrong(
    tmp_path: Path, header: str, rows: str, message: str
) -> None:
    table = written(tmp_path, rows, header)
    with pytest.raises(DataError, match=message):
        read_table(table, tmp_path / "tree")


def test_a_missing_table_and_tree_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no\.tsv does not exist; .*none does not exist; write data: {reports: FILE"
    ):
        read_table(tmp_path / "no.tsv", tmp_path / "none")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("bugs", "no data source is named 'bugs'; there are python-stdlib, {name: python-stdlib, split: "),
        ("reports:bugs.tsv", "reports needs tree too: {reports: bugs.tsv, tree: FOLDER}"),
        ({"name": "python-stdlib", "split": "files"}, "split must be time or report, got 'files'"),
    ],
)
def test_an_address_that_names_nothing_is_refused(
    context: TrainingContext, data: DataSpec, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        TRAINABLE.check_data(replace(context, data=data))


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="python-stdlib", data_seed=0, seed=1, cache_dir=tmp_path)


@pytest.fixture
def data(context: TrainingContext) -> ReportData:
    return load_report_data(context)


def test_docstrings_leave_a_source_and_its_lines_stay() -> None:
    source = (
        b'"""A module."""\nimport os\ndef f(): "A function."; return 1\nclass C:\n    """A\n    class."""\n'
    )
    text, docstrings = undocumented(source)
    assert docstrings == ["A module.", "A function.", "A class."]
    assert text.split("\n") == [" ", "import os", "def f():  ; return 1", "class C:", "     ", "", ""]


def test_no_docstring_can_be_read_in_the_file_it_was_taken_out_of() -> None:
    found, _ = load_project(StdlibReports())
    flat = [" ".join(text.split()) for text in found.texts]
    linked = [(one, flat[file]) for one in found.reports for file in one.files]
    assert len(linked) >= 300
    assert [one.name for one, text in linked if f"{one.summary}. {one.description}".strip() in text] == []


def test_the_parts_follow_each_other_in_time(data: ReportData) -> None:
    times = [[data.project.reports[row].reported_s for row in data.rows[part]] for part in data.rows]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])
    sizes = [len(part) / len(data.project.reports) for part in times]
    assert sizes == pytest.approx([0.7, 0.15, 0.15], abs=0.01)


def test_a_split_by_report_mixes_times_and_learns_from_training_reports_only(
    context: TrainingContext,
) -> None:
    data = load_report_data(replace(context, data={"name": "python-stdlib", "split": "report"}))
    trained = set(data.rows["train"].tolist())
    last = int(data.rows["test"].max())
    files = data.project.reports[last].files
    before = [row for row in trained if row < last and set(files) & set(data.project.reports[row].files)]
    assert not trained >= set(range(last))
    assert data.features[last, list(files), 4].sum() == sum(
        len(set(files) & set(data.project.reports[row].files)) for row in before
    )


def test_features_are_made_once_for_all_processes_of_a_node(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.bug_localization import data as module

    first = load_report_data(context)
    module._loaded.cache_clear()
    monkeypatch.setattr(module, "fill_features", lambda *_, **__: pytest.fail("made again"))
    assert np.array_equal(load_report_data(context).features, first.features)
    module._loaded.cache_clear()


def test_features_that_do_not_fit_the_cache_are_made_in_memory_and_reported(
    context: TrainingContext, data: ReportData
) -> None:
    small = load_report_data(replace(context, cache_dir=context.cache_dir / "small", cache_gib=1e-6))
    assert np.array_equal(small.features, data.features)
    assert "of limits.cache_gib 1e-06 are left" in small.notes["cache"]


def whole(batches: ReportBatches, budget: Budget, epoch: int = 0) -> CandidateBatch:
    part = batches.epoch(budget, epoch)
    (indices,) = part.steps(10_000, drop_single=False)
    return part.batch(indices.sort().values)


def test_the_resolution_is_the_number_of_wrong_files(context: TrainingContext, data: ReportData) -> None:
    batches = ReportBatches(data, context, negative_pool=2.0)
    found = whole(batches, Budget(epochs=1, resolution=7))
    wrong = found.is_candidate & ~found.is_relevant
    assert wrong.sum(1).tolist() == [7] * len(found)
    right = [data.project.reports[row].files for row in found.rows.tolist()]
    assert found.is_relevant.sum(1).tolist() == list(map(len, right))
    assert whole(batches, Budget(epochs=1)).is_candidate[0].sum() - len(right[0]) == 50


def test_held_out_reports_rank_all_files_at_every_rung(context: TrainingContext, data: ReportData) -> None:
    batches = ReportBatches(data, context, negative_pool=2.0)
    (found,) = batches.validation(Budget(epochs=1, resolution=7))
    assert found.features.shape == (len(data.rows["val"]), len(data.project.paths), 5)
    assert bool(found.is_candidate.all())


def test_wrong_files_are_drawn_anew_each_epoch_and_the_same_for_one_seed(
    context: TrainingContext, data: ReportData
) -> None:
    one, same = (ReportBatches(data, context, negative_pool=2.0) for _ in range(2))
    assert torch.equal(whole(one, BUDGET).files, whole(same, BUDGET).files)
    assert not torch.equal(whole(one, BUDGET).files, whole(one, BUDGET, epoch=1).files)


def test_a_larger_pool_makes_wrong_files_harder(context: TrainingContext, data: ReportData) -> None:
    def mean_rvsm(pool: float) -> float:
        found = whole(ReportBatches(data, context, negative_pool=pool), Budget(epochs=1, resolution=5))
        return float(found.features[..., 0][found.is_candidate & ~found.is_relevant].mean())

    assert mean_rvsm(1.0) < mean_rvsm(4.0) < mean_rvsm(1e6)


def batch_of(is_relevant: list[list[int]], is_candidate: list[list[int]]) -> CandidateBatch:
    relevant = torch.tensor(is_relevant).bool()
    return CandidateBatch(
        features=torch.zeros(*relevant.shape, 5),
        is_relevant=relevant,
        is_candidate=torch.tensor(is_candidate).bool(),
        rows=torch.arange(len(relevant)),
        files=torch.arange(relevant.shape[1]).expand(relevant.shape),
    )


@pytest.mark.parametrize("name", ["squared", "cross_entropy", "listwise"])
def test_what_is_filled_up_costs_nothing(name: str) -> None:
    loss = ranking_loss(name, positive_weight=10.0)
    padded = batch_of([[1, 0, 0]], [[1, 1, 0]])
    bare = batch_of([[1, 0]], [[1, 1]])
    cost = loss(torch.tensor([[0.3, 0.8, 9.0]]), padded)
    assert cost == pytest.approx(float(loss(torch.tensor([[0.3, 0.8]]), bare)))


def test_losses_are_what_they_say() -> None:
    scores, batch = torch.tensor([[0.5, 0.0]]), batch_of([[1, 0]], [[1, 1]])
    assert float(ranking_loss("squared", positive_weight=3.0)(scores, batch)) == pytest.approx(0.75 / 4)
    assert float(ranking_loss("listwise", positive_weight=3.0)(scores, batch)) == pytest.approx(
        math.log(1 + math.exp(-0.5))
    )


def test_ranks_are_scored_as_they_are_defined() -> None:
    """Right files at ranks 2 and 6 of 7."""
    scores = torch.tensor([0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    right = torch.tensor([0, 1, 0, 0, 0, 1, 0]).bool()
    values = {name: float(value) for name, value in ranking_values(scores, right).items()}
    expected = {"mrr": 1 / 2, "map": (1 / 2 + 2 / 6) / 2, "top1": 0, "top5": 1, "top10": 1, "top20": 1}
    assert values == pytest.approx(expected)


def test_scores_below_0_are_ranked_like_others() -> None:
    """By torchmetrics alone a right file with a score below 0 is not found, wherever it is ranked."""
    scores, right = torch.tensor([-0.2, -0.1, -0.3]), torch.tensor([1, 0, 0]).bool()
    assert mean_values(iter([(scores, right), (-scores, right)]))["mrr"] == pytest.approx(1 / 2)
    assert float(retrieval_reciprocal_rank(scores, right)) == 0.0


def test_the_table_of_the_test_says_where_the_files_came(context: TrainingContext, data: ReportData) -> None:
    training = start(Hparams(), BUDGET, context)
    scores = training.test()
    ranks = training.test_tables()["ranks"]
    assert len(ranks.rows) == len(data.rows["test"])
    place = ranks.columns.index("rank")
    assert sum(1 / row[place] for row in ranks.rows) / len(ranks.rows) == pytest.approx(
        scores["test_mrr"], abs=1e-6
    )
    assert training.test_tables() == {}


def test_details_leave_out_what_is_filled_up(data: ReportData) -> None:
    details = RankingDetails(data)
    details.update(torch.tensor([[0.1, 0.2, 9.0]]), batch_of([[1, 0, 0]], [[1, 1, 0]]))
    name, _, rank, *paths = details.tables()["ranks"].rows[0]
    assert (name, rank, paths) == ("docstring-0000", 2, list(data.project.paths[:2]))


def test_learning_beats_rvsm_alone(context: TrainingContext) -> None:
    """On the same held-out docstrings; chance is 0.04."""
    budget = Budget(epochs=4)
    training = start(Hparams(**TRAINABLE.example.hparams, loss="listwise"), budget, context)
    alone = float(training.notes()["rvsm_alone"].split(",")[0].removeprefix("val_mrr "))
    for _ in range(4):
        values = training.run_epoch(budget)
    assert alone > 0.2
    assert values["val_mrr"] > alone


def test_values_that_make_no_sense_are_refused_together() -> None:
    with pytest.raises(ValueError, match=r"layer_decay below 1 .*; negative_pool must be 1 or more, got 0.5"):
        Hparams(negative_pool=0.5, layer_decay=0.5)


@pytest.mark.slow
def test_files_that_do_not_belong_to_their_reports_are_not_overfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ReportData.relevant
    monkeypatch.setattr(
        ReportData, "relevant", lambda self, row: right(self, (row + 7) % len(self.project.reports))
    )
    context = TrainingContext(data=TRAINABLE.example.data, data_seed=0, seed=0, cache_dir=tmp_path)
    hparams = Hparams(**TRAINABLE.example.hparams)
    result = try_to_overfit(TRAINABLE, hparams, context, num_examples=TRAINABLE.overfit.num_examples)
    assert not result.has_passed, str(result)
