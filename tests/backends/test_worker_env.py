"""What the workers' environment says of caches and networks, on this machine and on a cluster."""

from __future__ import annotations

import os

import pytest

from search.trial.worker_env import offer_worker_env, runtime_env
from trainables.command.spec import CommandSpec

MOVED = {"HF_HOME": "/caches/hf", "TORCH_HOME": "/caches/torch", "HF_ENDPOINT": "http://mirror"}


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of the test's own, which ends with it."""
    names = ("HF_", "TORCH_HOME", "TRANSFORMERS_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    monkeypatch.setattr(os, "environ", clean)


def cluster_env() -> dict[str, str]:
    env = runtime_env()["env_vars"]
    assert isinstance(env, dict)
    return env


def local_env() -> dict[str, str]:
    offer_worker_env()
    return dict(os.environ)


@pytest.mark.parametrize("env_of_workers", [cluster_env, local_env])
def test_workers_are_offline_and_send_no_telemetry(env_of_workers) -> None:
    env = env_of_workers()
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["TRANSFORMERS_OFFLINE"] == "1"
    assert env["HF_HUB_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("env_of_workers", [cluster_env, local_env])
def test_a_user_may_let_trials_use_the_network(env_of_workers) -> None:
    os.environ.update(HF_HUB_OFFLINE="0", TRANSFORMERS_OFFLINE="0")
    env = env_of_workers()
    assert (env["HF_HUB_OFFLINE"], env["TRANSFORMERS_OFFLINE"]) == ("0", "0")


@pytest.mark.parametrize("env_of_workers", [cluster_env, local_env])
def test_caches_that_were_moved_are_those_of_the_workers(env_of_workers) -> None:
    os.environ.update(MOVED)
    env = env_of_workers()
    assert {name: env[name] for name in MOVED} == MOVED


def test_a_script_gets_the_variables_that_the_search_was_started_with() -> None:
    os.environ.update(PYTHONPATH="/mine", HF_HUB_OFFLINE="0")
    before = dict(os.environ)
    for _ in range(2):  # preflight offers them as well
        offer_worker_env()
    spec = CommandSpec.of(
        {"run": ["a"], "metric": "b", "mode": "max", "defaults": {}, "folder": "/", "env": {"A": "1"}}
    )
    assert spec.environment == {**before, "A": "1"}


def test_the_program_is_on_the_path_once_however_often_a_session_starts() -> None:
    offer_worker_env()
    first = os.environ["PYTHONPATH"]
    offer_worker_env()
    assert os.environ["PYTHONPATH"] == first
