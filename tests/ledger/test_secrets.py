"""Secrets reach trials by inheritance, and no file: names, command lines, Ray's runtime environments."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from search.backends.ray.session_folder import closed, session_folder
from search.provenance import describe_environment
from search.secrets import looks_secret, without_secrets
from search.space import SpaceError
from search.trial.worker_env import runtime_env
from tests.support.toy_runs import made_space

SECRET = [
    *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_PROFILE", "HF_TOKEN", "TOKEN"),
    *("WANDB_API_KEY", "MY_SECRET_SAUCE", "client_secret", "DB_PASSWORD", "GCP_CREDENTIALS"),
]
PLAIN = ["HF_HOME", "PATH", "lr", "max_tokens", "TOKENIZERS_PARALLELISM", "KEYBOARD", "monkey", "--space"]


@pytest.mark.parametrize("name", [*SECRET, "--api-key"])
def test_a_name_that_means_a_secret_is_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--set", "search.command.env.HF_TOKEN=s3"], ["--set", "search.command.env.HF_TOKEN=..."]),
        (["--set", "a.env={A: 1, HF_TOKEN: s3}"], ["--set", "a.env={A: 1, HF_TOKEN: ...}"]),
        (["--api-key", "s3", "--api-key=s3"], ["--api-key", "...", "--api-key=..."]),
        (["http://me:s3@host/x", "HF_TOKEN=a=s3"], ["http://me:...@host/x", "HF_TOKEN=..."]),
        (["--set", "parameters.lr.max=0.3"], ["--set", "parameters.lr.max=0.3"]),
    ],
)
def test_a_command_line_is_kept_without_its_secrets(words: list[str], shown: list[str]) -> None:
    assert without_secrets(words) == shown


def test_environment_json_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3kret")
    described = describe_environment(["search.py", "--set", "search.command.env.WANDB_API_KEY=s3kret"])
    assert "s3kret" not in str(described)
    assert described["command"][2] == "search.command.env.WANDB_API_KEY=..."


def test_the_runtime_environment_of_a_cluster_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET:
        monkeypatch.setenv(name, "s3kret")
    assert "s3kret" not in str(runtime_env())


def test_tune_puts_no_secret_into_the_runtime_environment_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    import search.backends.ray.tune_adapter  # noqa: F401

    for name in SECRET:
        monkeypatch.setenv(name, "s3kret")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")

    class Worker:
        pass

    actor = class_cache._ActorClassCache().get(Worker)
    assert "RAY_CHDIR_TO_TRIAL_DIR" in str(actor._default_options)
    assert "s3kret" not in str(actor._default_options)


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_API_KEY"])
def test_a_space_with_a_secret_is_refused_and_says_where_it_goes(name: str, tmp_path: Path) -> None:
    text = (
        "parameters: {lr: {min: 0.1, max: 1.0}}\n"
        "search:\n  trainable: command\n  data: none\n  ladder: {epochs: [1]}\n"
        "  command: {run: 'true', metric: m, mode: max, defaults: {lr: 0.1}, env: {%s: x, PLAIN: y}}\n"
    )
    with pytest.raises(SpaceError) as caught:
        made_space(tmp_path, text % name)
    (problem,) = caught.value.problems
    assert problem.startswith(f"search.command.env.{name}: is a secret by its name")
    assert "scripts inherit it" in problem


def test_a_session_in_a_shared_folder_is_closed_to_others_and_removed(tmp_path: Path) -> None:
    session = tmp_path / "session_1"
    (session / "logs").mkdir(parents=True)
    with closed(session):
        assert stat.S_IMODE(session.stat().st_mode) == 0o700
    assert not session.exists()


def test_killed_sessions_beside_a_dashboard_are_removed_and_strangers_stay(tmp_path: Path) -> None:
    shared = tmp_path / "ray"
    for name in ("session_killed", "session_alive", "session_of_another_program"):
        (shared / name).mkdir(parents=True)
    (shared / "session_killed" / "session.lock").touch()
    with closed(shared / "session_alive"):
        environ = {"RAY_TMPDIR": os.fspath(tmp_path)}
        with session_folder(environ, has_dashboard=True) as folder:
            assert folder.path == shared
            left = {path.name for path in shared.iterdir()}
    assert left == {"session_alive", "session_of_another_program"}
