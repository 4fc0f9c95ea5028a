"""Pairs of syntax trees, and the siamese transformer that says which are clones."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.code_clones import TRAINABLE, Hparams
from trainables.code_clones import data as clone_data
from trainables.code_clones.batches import CloneBatch, CloneBatches
from trainables.code_clones.data import CloneData, load_clones, shared_words, word_ids
from trainables.code_clones.data_sources import PAIR_SOURCES
from trainables.code_clones.edits import clone_of, with_noise
from trainables.code_clones.metrics import CloneMetrics, best_threshold
from trainables.code_clones.network import TreeEncoder, clone_loss, likenesses
from trainables.code_clones.pairs import Pairs, made_pairs, read_pairs
from trainables.code_clones.training import start
from trainables.code_clones.trees import bracketed_tree, python_tree
from trainables.core.contract import Budget, DataError, TrainingContext
from trainables.core.data_source import read_source
from trainables.engine.text.python_stdlib import StdlibFunction

CODE = "def f(a, b):\n    c = a + 1\n    return len(c) < b"


def pairs_of(data: str) -> Pairs:
    return read_pairs(read_source(data, PAIR_SOURCES))


def context(data: str, folder: Path, **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=folder / "cache", **settings)


def loaded(data: str, folder: Path, **settings) -> CloneData:
    return load_clones(context(data, folder, **settings), vocabulary=100)


def table(folder: Path, rows: list[str], header: str = "first,second,label") -> str:
    (folder / "pairs.csv").write_text("\n".join([header, *rows]))
    return f"pairs:{folder / 'pairs.csv'}"


def sources(folder: Path, num: int = 40) -> str:
    """Half of the pairs are of sources with equal trees, one loops and the other only adds."""
    for number in range(num):
        body = "for i in a:\n        print(i)" if number % 2 else "b = a + 1"
        (folder / f"s{number}.py").write_text(f"def f{number}(a):\n    {body}\n")
    rows = [f"s{n}.py,s{(n + 2) % num}.py,1" for n in range(num)]
    return table(folder, [*rows, *(f"s{n}.py,s{(n + 1) % num}.py,0" for n in range(num))])


def encoder(**changes) -> TreeEncoder:
    sizes = {"width": 8, "hidden": 16, "heads": 2, "layers": 1, "features": 6, "drop_rate": 0.0}
    torch.manual_seed(0)
    return TreeEncoder(20, 10, **{**sizes, **changes}).eval()


def batch_of(labels: list[int], *, is_tuning: bool) -> CloneBatch:
    ids = torch.zeros(len(labels), 2, 2, 1, dtype=torch.int64)
    return CloneBatch(ids, torch.ones(len(labels), 2), torch.tensor(labels).float(), is_tuning)


def test_a_tree_is_read_in_two_orders() -> None:
    tree = bracketed_tree("A [ B [ D E ] C ]")
    assert tree.before() == ["Source", "A", "B", "D", "E", "C"]
    assert tree.after() == ["D", "E", "B", "C", "A", "Source"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("A [ B", "1 brackets are not closed"),
        ("A ]", "a bracket closes that was never opened"),
        ("[ A ]", "a bracket opens before any word"),
    ],
)
def test_brackets_that_do_not_match_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bracketed_tree(text)


def test_python_keeps_operators_kinds_of_constants_and_names_from_outside() -> None:
    assert python_tree(CODE).before() == [
        *("Source", "FunctionDef", "arg", "arg", "Assign", "Name", "BinOp_Add", "Name", "Constant_int"),
        *("Return", "Compare_Lt", "Call", "Name_len", "Name", "Name"),
    ]


def test_renaming_and_other_constants_change_no_tree() -> None:
    renamed = CODE.replace("a", "x").replace("1", "2").replace("f(", "g(")
    assert renamed != CODE
    assert python_tree(renamed) == python_tree(CODE)
    assert python_tree(CODE.replace("len", "sum")) != python_tree(CODE)


def test_edits_keep_what_a_function_does() -> None:
    code = (
        "def f(a, b):\n    total = 1\n    for i in a:\n        if i < b:\n            total += i\n"
        "        else:\n            total -= 1\n    return max(total, b)"
    )
    edited = ast.unparse(clone_of(ast.parse(code), np.random.default_rng(0), fraction=1.0))
    for part in (" > ", "if not ", "kept = max("):
        assert part in edited
    assert "+=" not in edited
    assert "total" not in edited
    results = []
    for text in (code, edited):
        names: dict = {}
        exec(text, names)
        results.append([names["f"](range(n), 3) for n in range(8)])
    assert results[0] == results[1]


def test_names_that_are_shared_with_outside_are_kept() -> None:
    code = "def f(a):\n    global seen\n    seen = a\n    return self"
    edited = ast.unparse(clone_of(ast.parse(code), np.random.default_rng(0), fraction=1.0))
    assert "seen = v0_" in edited


def test_made_pairs_hold_every_function_in_one_part() -> None:
    trees = [ast.parse(f"def f(a):\n    {'; '.join(f'g{n}(a, {k})' for k in range(6))}") for n in range(40)]
    functions = [StdlibFunction("m", f"f{n}", tree.body[0]) for n, tree in enumerate(trees)]  # type: ignore[arg-type]
    pairs = made_pairs(functions)
    parts = pairs.split(seed=5)
    assert [int((parts == part).sum()) for part in ("train", "val", "test")] == [56, 12, 12]
    assert (sum(pairs.labels), len(pairs.labels), len(pairs.trees)) == (40, 80, 160)
    assert pairs.num_shared(parts) == 0
    others = [(one, other) for one, other, is_clone in _rows(pairs) if not is_clone]
    assert all(pairs.trees[one] != pairs.trees[other] for one, other in others)
    assert pairs == made_pairs(functions)


def test_the_noise_of_a_clone_pair_is_of_two_habits_and_that_of_others_the_same() -> None:
    trees = [ast.parse(f"def f(a):\n    {'; '.join(f'g{n}(a, {k})' for k in range(6))}") for n in range(40)]
    pairs = made_pairs([StdlibFunction("m", f"f{n}", tree.body[0]) for n, tree in enumerate(trees)])  # type: ignore[arg-type]
    for first, second, is_clone in _rows(pairs):
        by_print = [
            "Name_print" in words or "Name_warnings" in words for words in _words(pairs, first, second)
        ]
        noise = [sorted(w for w in words if "Name_g" not in w) for words in _words(pairs, first, second)]
        if is_clone:
            assert noise[0] != noise[1]
        else:
            assert by_print[0] == by_print[1]
            assert noise[0] == noise[1]


def _words(pairs: Pairs, *numbers: int) -> list[list[str]]:
    return [pairs.trees[number].before() for number in numbers]


def test_noise_changes_nothing_of_what_a_function_returns() -> None:
    code = "def f(a):\n    b = a + 1\n    return b * 2"
    noise = ast.parse("counter = 3\nif not counter:\n    counter = 4").body
    noisy = with_noise(ast.parse(code).body[0], noise, np.random.default_rng(0))
    names: dict = {}
    exec(ast.unparse(noisy), names)
    assert names["f"](4) == 10
    assert ast.unparse(noisy).index("counter = 3") < ast.unparse(noisy).index("if not counter")
    assert ast.unparse(noisy).endswith("return b * 2")


@pytest.mark.slow
def test_training_sees_the_functions_that_random_weights_do_not(tmp_path: Path) -> None:
    budget = Budget(epochs=4, resolution=96)
    hparams = Hparams(lr=1e-3, width=64, hidden=128, heads=4, features=128, drop_rate=0.0, layers=1)
    training = start(hparams, budget, context("python-stdlib", tmp_path, resolution=96))
    before = training.test()["test_f1"]
    for _ in range(budget.epochs):
        training.run_epoch(budget)
    assert training.test()["test_f1"] > before + 0.1


def _rows(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.first, pairs.second, pairs.labels, strict=True))


def test_a_table_names_python_files_and_trees_of_any_language(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.tree").write_text("Unit [ Decl Call ]")
    pairs = pairs_of(
        table(tmp_path, ["a.py,b.tree,0,train", "b.tree,b.tree,1,val"], "first,second,label,part")
    )
    assert [tree.before() for tree in pairs.trees] == [
        ["Source", "Assign", "Name", "Constant_int"],
        ["Source", "Unit", "Decl", "Call"],
    ]
    assert _rows(pairs) == [(0, 1, 0), (1, 1, 1)]
    assert pairs.split(seed=0).tolist() == ["train", "val"]


def test_every_problem_of_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = ")
    (tmp_path / "b.tree").write_text("A [")
    name = table(tmp_path, ["a.py,b.tree,2,train", "a.py,c.py,1,dev"], "first,second,label,part")
    with pytest.raises(DataError) as caught:
        TRAINABLE.check_data(context(name, tmp_path))
    assert str(caught.value) == (
        f"{tmp_path / 'pairs.csv'} has 5 problems: line 2: label must be 0 or 1, got '2'; "
        "line 3: part must be one of train, val, test, got 'dev'; "
        "a.py cannot be read: invalid syntax (<unknown>, line 1); "
        "b.tree cannot be read: 1 brackets are not closed; c.py cannot be read: No such file or directory"
    )


def test_a_table_without_its_columns_or_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column second, label; it needs first, second, label"):
        pairs_of(table(tmp_path, ["a"], "first"))
    with pytest.raises(DataError, match="has 1 problems: it has no pairs"):
        pairs_of(table(tmp_path, []))


@pytest.mark.parametrize("name", ["clones", "pairs:", "pairs:/nowhere.csv"])
def test_a_source_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DataError, match=r"python-stdlib, pairs:FILE|does not exist; give pairs:"):
        pairs_of(name)


def test_sources_that_parts_share_are_reported(tmp_path: Path) -> None:
    name = sources(tmp_path)
    pairs = pairs_of(name)
    num_shared = pairs.num_shared(pairs.split(seed=0))
    assert num_shared > 0
    note = shared_words(num_shared)
    assert note.startswith(f"{num_shared} sources of validation and test are in training pairs too")
    assert loaded(name, tmp_path).notes()["shared"] == note
    assert TRAINABLE.check_data(context(name, tmp_path)) == ["80 pairs of 40 sources, 40 of clones", note]


def test_the_most_frequent_words_have_ids_and_single_ones_none() -> None:
    assert word_ids([["b", "a", "b"], ["a", "b", "c"]], 10) == {"b": 2, "a": 3}
    assert word_ids([["b", "a", "b"], ["a", "b", "c"]], 1) == {"b": 2}


def test_trees_are_read_once_and_anew_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = sources(tmp_path)
    first = loaded(name, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(clone_data, "read_pairs", None)  # a call would fail
        clone_data._stored.cache_clear()
        second = loaded(name, tmp_path)
    assert np.array_equal(first.after.ids, second.after.ids)
    assert torch.equal(first.pairs, second.pairs)
    (tmp_path / "s0.py").write_text("pass")
    assert loaded(name, tmp_path).before.lengths[0] == 2
    assert len(list((tmp_path / "cache").glob("clones-*.npz"))) == 2


def test_a_batch_holds_both_trees_in_both_orders_up_to_the_resolution(tmp_path: Path) -> None:
    data = loaded(sources(tmp_path), tmp_path, resolution=5)
    batch = (
        CloneBatches(data, context("", tmp_path))
        .epoch(Budget(epochs=1, resolution=4), 0)
        .batch(torch.tensor([3]))
    )
    assert batch.ids.shape == (1, 2, 2, 4)
    assert batch.lengths.tolist() == [[4, 4]]
    for tree, number in enumerate(data.pairs[data.splits.train.rows[3]].tolist()):
        for order, tokens in enumerate((data.before, data.after)):
            start_of = tokens.starts[number]
            assert batch.ids[0, tree, order].tolist() == tokens.ids[start_of : start_of + 4].tolist()


def test_padding_and_the_company_of_others_change_no_likeness() -> None:
    net, ids = encoder(), torch.randint(2, 20, (1, 2, 2, 4))
    alone = CloneBatch(ids, torch.tensor([[4, 4]]), torch.ones(1))
    padded = CloneBatch(torch.nn.functional.pad(ids, (0, 3)), torch.tensor([[4, 4]]), torch.ones(1))
    with torch.no_grad():
        torch.testing.assert_close(likenesses(net, alone), likenesses(net, padded))


def test_likeness_is_the_same_both_ways_and_certain_of_nothing() -> None:
    net, ids = encoder(), torch.randint(2, 20, (1, 2, 2, 4))
    batch = CloneBatch(ids, torch.tensor([[4, 4]]), torch.zeros(1))
    equal = replace(batch, ids=ids[:, :1].expand(-1, 2, -1, -1))
    with torch.no_grad():
        torch.testing.assert_close(likenesses(net, batch), likenesses(net, replace(batch, ids=ids.flip(1))))
        assert float(likenesses(net, equal)) == pytest.approx(1 - 1e-4)
        assert float(clone_loss(likenesses(net, equal), equal)) == pytest.approx(9.21, abs=0.01)


def test_each_order_has_a_transformer_of_its_own() -> None:
    net, ids = encoder(), torch.randint(2, 20, (1, 2, 4))
    with torch.no_grad():
        one, other = (net(each, torch.tensor([4])) for each in (ids, ids.flip(1)))
    assert not torch.allclose(one, other)


def test_the_threshold_is_the_one_of_the_largest_f1() -> None:
    likeness = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.2])
    assert best_threshold(likeness, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])) == pytest.approx(0.7)
    assert best_threshold(likeness, torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])) == pytest.approx(0.9)


def test_the_test_is_scored_at_the_threshold_of_validation() -> None:
    measured = CloneMetrics()
    tuning = batch_of([1, 1, 0], is_tuning=True)
    measured.update(torch.tensor([0.9, 0.8, 0.3]), tuning)
    measured.update(torch.tensor([0.85, 0.7, 0.1, 0.95]), batch_of([1, 1, 0, 0], is_tuning=False))
    scores = measured.compute()
    assert scores["threshold"] == pytest.approx(0.8)
    assert {name: scores[name] for name in ("f1", "precision", "recall", "accuracy")} == {
        "f1": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "accuracy": 0.5,
    }
    measured.update(torch.tensor([0.9, 0.8, 0.3]), tuning)
    assert measured.compute()["f1"] == 1.0


def test_the_test_brings_the_validation_pairs_for_their_threshold(tmp_path: Path) -> None:
    data = loaded(sources(tmp_path), tmp_path)
    batches = CloneBatches(data, context("", tmp_path))
    num = {flag: sum(len(b) for b in batches.test() if b.is_tuning is flag) for flag in (True, False)}
    assert num == {True: len(data.splits.val), False: len(data.splits.test)}
    assert all(batch.is_tuning for batch in batches.validation(Budget(epochs=1)))
    assert [piece.is_tuning for piece in next(batches.test()).split(1)][:2] == [True, True]


def test_it_tells_loops_from_sums(tmp_path: Path) -> None:
    hparams = Hparams(**{**TRAINABLE.example.hparams, "batch_size": 16})
    training = start(hparams, budget := Budget(epochs=4), context(sources(tmp_path), tmp_path))
    scores = [training.run_epoch(budget) for _ in range(4)]
    assert scores[-1]["val_f1"] == 1.0
    assert scores[-1]["val_loss"] < 0.5 * scores[0]["train_loss"]
    assert training.test()["test_f1"] == 1.0


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ValueError, match="layers must be 1 or more, got 0") as caught:
        Hparams(layers=0, width=20, heads=8, drop_rate=1.0, layer_decay=0.5)
    assert str(caught.value) == (
        "layer_decay below 1 needs a classifier of timm; set it to 1, got 0.5; "
        "layers must be 1 or more, got 0; drop_rate must be in [0, 1), got 1.0; "
        "width must be a multiple of heads, got 20 and 8"
    )
