"""Every shell line of the documents is run as it stands there, in order, made small by the flags below."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.box_annotations import annotation, coco_file
from tests.support.documents import ROOT, block_of, blocks_of
from tests.support.market_folders import market_folder
from tests.support.vulnerable_functions import functions_file, made_functions
from tests.support.weight_files import fill_hub_cache

DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "results/README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SKILL.md",
]
TIMEOUT_S = 300
# The spaces of docs/ecosystems.md: the program that each starts, and what stands in for it.
ECOSYSTEMS: Mapping[str, tuple[str, str]] = {
    "timm": ("train.py", "summary_csv.py"),
    "yolo": ("bin/yolo", "csv_of_every_epoch.py"),
    "lightning": ("main.py", "csv_logger.py"),
    "huggingface": ("run_image_classification.py", "trainer_state.py"),
    "lora": ("lora.py", "lora.py"),
}

# One worker: each of two would spend 7 s of a core on loading torch, for an epoch of a fraction of a second.
_TWO = "--trials 2 --no-report --set search.resources.workers=1"
_ONE_RUNG = (
    "--set 'search.ladder={epochs: [1], subset: 0.1, resolution: 14}' --set search.validation_subset=0.2"
)
_DIGITS = f"{_ONE_RUNG} --set search.data=digits"
_LIGHT = "--set 'parameters.model.values=[resnet18, mobilenetv3_large_100]'"  # their weights are in the cache
_TWO_RUNGS = "--set 'search.ladder={epochs: [1, 2]}'"
_SMALL_DETECTOR = "--set parameters.model.value=rt_detr_tiny"
_FEW = "--set 'search.ladder={epochs: [1], subset: 0.3, resolution: 32}'"

# What makes a line small: the flags of the first pattern that is found in it are appended.
SHORTER: Mapping[str, str] = {
    r"search\.py --space lr_bs.*--dry-run": _DIGITS,
    r"preflight\.py --space finetune": f"{_LIGHT} {_FEW}",
    r"search\.py --space finetune.*--dry-run": f"{_LIGHT} {_FEW}",
    r"search\.py --space finetune": f"{_TWO} {_LIGHT} {_FEW}",
    r"train\.py --space finetune.*--smoke": f"--smoke 32 {_LIGHT} {_FEW}",
    r"search\.py .*--dry-run": "",
    r"search\.py --space detection": f"{_TWO} {_FEW} --budget-size 32 {_SMALL_DETECTOR}",
    r"person_reid\.yaml": f"{_TWO} {_FEW} --budget-size 32 --set parameters.model.value=resnet10t",
    r"search\.py --space code_vulnerability": f"{_TWO} --set 'search.ladder={{epochs: [1], resolution: 16}}'",
    r"search\.py --space code_clones": f"{_TWO} --set 'search.ladder={{epochs: [1], resolution: 16}}'",
    r"search\.py --space image_quality": f"{_TWO} --set 'search.ladder={{epochs: [2], resolution: 32}}'",
    r"search\.py .*--background": f"{_TWO} {_DIGITS}",
    r"search\.py --space lr_bs": f"{_TWO} {_DIGITS}",
    r"search\.py --space \./(digits|ranks)": _TWO,
    rf"search\.py --space \./({'|'.join(ECOSYSTEMS)})\.yaml": f"{_TWO} {_TWO_RUNGS}",
    r"promote\.py": "--top 1 --seeds 1 --epochs 1 --no-report",
    r"train\.py .*--smoke": "--smoke 32",
    r"train\.py --space lr_bs": _DIGITS,
}
# What is not run: why, and which test covers it.
NOT_RUN: Mapping[str, tuple[str, str]] = {
    r"^git clone ": ("CI runs in a clone", ".ci/run"),
    r"^make (search|test)\b": (
        "makes an environment from the network",
        "tests/backends/test_search_on_ray.py",
    ),
    r"ui\.py": ("serves until it is ended", "tests/ui/test_command.py"),
    r"^ray start ": ("would outlive the test", "tests/backends/test_joining_a_cluster.py"),
    r"s3://": ("there is no such bucket", "tests/bucket/test_s3.py"),
    r"--address 10\.0\.0\.5": ("there is no such cluster", "tests/backends/test_joining_a_cluster.py"),
    r"^squeue|slurm\.py submit(?!.*--dry-run)": ("there is no Slurm", "tests/slurm/test_resumed_job.py"),
    r"export_model\.py": ("needs the extra onnx", "tests/engine/test_onnx_export.py"),
    r"--mlflow": ("MLflow is not among the dependencies", "tests/cli/test_export.py"),
    r"--dashboard": (
        "Ray's dashboard takes a minute on two cores",
        "tests/backends/test_dashboard_on_ray.py",
    ),
}


def shell_lines(document: Path) -> list[str]:
    """The commands of all its sh blocks, without comments; a line that ends with a backslash continues."""
    text = "".join(blocks_of(document, "sh")).replace("\\\n", " ")
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_run(line: str) -> bool:
    return not any(re.search(pattern, line) for pattern in NOT_RUN)


def made_small(line: str) -> str:
    flags = next((flags for pattern, flags in SHORTER.items() if re.search(pattern, line)), "")
    return f"{line} {flags}".strip()


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), str(folder / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euc", line],
        cwd=folder,
        env={
            **os.environ,
            "PATH": path,
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
            "HF_HOME": str(folder / "hf"),
            "JOULETUNE_STAGING": str(folder / "staging"),
            "HF_ENDPOINT": "http://127.0.0.1:1",  # whatever is not in the cache fails at once
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def write_photos(folder: Path) -> None:
    """Images of 24 px, 40 a class: dark ones and light ones."""
    draw = np.random.default_rng(0)
    for name, level in (("cells", 60), ("raccoons", 160)):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = draw.integers(level, level + 60, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def write_scores(folder: Path) -> None:
    """Scored images, four of each of twelve references, in scores.csv."""
    draw = np.random.default_rng(0)
    lines = ["image,score,reference"]
    for number in range(48):
        pixels = draw.integers(0, 5 * (number % 4) + 20, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"scored-{number}.png")
        lines.append(f"scored-{number}.png,{1.0 + number % 4 + 0.01 * number},{number // 4}")
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")


def write_pairs(folder: Path) -> None:
    """Pairs of Python sources, each second one a clone, in pairs.csv."""
    lines = ["first,second,label"]
    for number in range(60):
        (folder / f"a{number}.py").write_text(f"def f(x):\n    y = x + {number}\n    return y * y\n")
        other = f"y = x + {number}" if number % 2 else "y = [x]\n    y.append(len(y))"
        (folder / f"b{number}.py").write_text(f"def g(x):\n    {other}\n    return y * y\n")
        lines.append(f"a{number}.py,b{number}.py,{number % 2}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")


def write_ecosystems(folder: Path) -> None:
    """The spaces of docs/ecosystems.md, and scripts that take the flags of the real ones and no others."""
    spaces = blocks_of(ROOT / "docs/ecosystems.md", "yaml")
    for (name, (program, script)), space in zip(ECOSYSTEMS.items(), spaces, strict=True):
        (folder / f"{name}.yaml").write_text(space)
        (folder / program).parent.mkdir(exist_ok=True)
        text = (ROOT / "tests/support/foreign_scripts" / script).read_text()
        (folder / program).write_text(f"#!{sys.executable}\n{text}")
        (folder / program).chmod(0o755)


@pytest.fixture(scope="module")
def presumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents presume: the project's scripts, data of each kind, a script, and a run `mine`."""
    folder = tmp_path_factory.mktemp("documents")
    for name in ("scripts", "spaces"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    write_photos(folder / "photos")
    for model in ("resnet18", "mobilenetv3_large_100", "resnet18d.ra2_in1k"):
        fill_hub_cache(folder / "hf", model)
    boxes = [
        annotation(10 + number, 3 + 4 * (number % 2), [10, 10, 40, 20], id=number) for number in range(20)
    ]
    (folder / "boxes").mkdir()
    coco_file(folder / "boxes" / "train.json", boxes, num_images=20)
    market_folder(folder / "Market-1501")
    functions_file(folder / "functions.jsonl", made_functions())
    write_pairs(folder)
    write_scores(folder)
    write_ecosystems(folder)
    script = ROOT / "docs/own-script.md"
    (folder / "digits.py").write_text(block_of(script, "python"))
    (folder / "digits.yaml").write_text(block_of(script, "yaml"))
    ranks = ROOT / "docs/several-gpus.md"
    (folder / "ranks.py").write_text(block_of(ranks, "python"))
    (folder / "ranks.yaml").write_text(block_of(ranks, "yaml"))
    done = run(made_small("python scripts/search.py --space lr_bs.yaml --name mine"), folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shell_line_runs(document: Path, presumed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    shutil.copytree(presumed, folder, symlinks=True)
    lines = [line for line in shell_lines(document) if is_run(line)]
    if any(re.search(r"search\.py .*--name mine\b", line) for line in lines):
        shutil.rmtree(folder / "results")  # it makes the run itself
    for line in lines:
        done = run(made_small(line), folder)
        assert done.returncode == 0, f"{made_small(line)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_every_line_that_is_not_run_is_covered_by_a_test_and_stands_somewhere() -> None:
    every = [line for document in DOCUMENTS for line in shell_lines(document)]
    assert len(every) > 30
    for pattern, (reason, cover) in NOT_RUN.items():
        assert reason
        assert (ROOT / cover).is_file()
        assert any(re.search(pattern, line) for line in every), pattern
    for pattern in SHORTER:
        assert any(re.search(pattern, line) for line in every if is_run(line)), pattern


def test_a_line_is_made_small_by_the_first_pattern_alone() -> None:
    assert made_small("python digits.py") == "python digits.py"
    assert made_small("python scripts/search.py --space quick.yaml --dry-run") == (
        "python scripts/search.py --space quick.yaml --dry-run"
    )
    assert made_small("python scripts/promote.py mine") == (
        "python scripts/promote.py mine --top 1 --seeds 1 --epochs 1 --no-report"
    )
