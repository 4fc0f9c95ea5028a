"""The backends that a user can name: `--backend ray` and `--backend local`."""

from __future__ import annotations

from search.backends.backend import LaunchableBackend
from search.backends.errors import SessionError
from search.backends.local import LocalBackend
from search.backends.ray.backend import RayBackend

BACKENDS = ("ray", "local")


def chosen_backend(
    name: str = "ray", *, address: str | None = None, dashboard: bool = False
) -> LaunchableBackend:
    """The backend of this name.

    Args:
        address: A running Ray cluster to join; None starts Ray here.
        dashboard: Start Ray's dashboard and print how to sign in.

    Raises:
        SessionError: There is no such backend, or it has no cluster or dashboard.
    """
    if name not in BACKENDS:
        raise SessionError(f"there is no backend {name!r}: use one of {', '.join(BACKENDS)}")
    if name == "ray":
        return RayBackend(address=address, dashboard=dashboard)
    of_ray = {"--address": address is not None, "--dashboard": dashboard}
    if wrong := [flag for flag, is_given in of_ray.items() if is_given]:
        raise SessionError(
            f"{' and '.join(wrong)}: only Ray has it, and --backend local starts none; leave one of them out"
        )
    return LocalBackend()
