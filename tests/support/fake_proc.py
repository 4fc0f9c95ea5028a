"""A /proc in a folder: processes with parents, CPU time and the pids of their containers."""

from __future__ import annotations

from pathlib import Path

TICKS_PER_S = 100  # in Linux's /proc; the same as sysconf's value


class FakeProc:
    """Writes the few files of /proc that are read."""

    def __init__(self, root: Path, *, namespace: str = "pid:[4026531836]") -> None:
        self.root = root
        (root / "self/ns").mkdir(parents=True)
        (root / "self/ns/pid").symlink_to(namespace)
        self.set_busy(0.0)

    def add(
        self,
        pid: int,
        parent: int = 1,
        *,
        cpu_s: float = 0.0,
        waited_s: float = 0.0,
        inner: int | None = None,
        start_ticks: int = 77,
        state: str = "S",
    ) -> None:
        """Write a process, or overwrite it."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        cpu, waited = round(cpu_s * TICKS_PER_S), round(waited_s * TICKS_PER_S)
        before = f"{state} {parent} 0 0 0 0 0 0 0 0 0"  # fields 3 to 13
        fields = f"{before} {cpu} 0 {waited} 0 20 0 1 0 {start_ticks}"
        (folder / "stat").write_text(f"{pid} (py) thon) {fields} 0 0\n")
        pids = f"{pid}" if inner is None else f"{pid}\t{inner}"
        (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{pids}\n")

    def remove(self, pid: int) -> None:
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()

    def set_busy(self, cpu_s: float) -> None:
        """Set the CPU time of all processes together, half of it in the kernel."""
        half = round(cpu_s * TICKS_PER_S / 2)
        (self.root / "stat").write_text(f"cpu  {half} 0 {half} 999 0 0 0 0 0 0\ncpu0 1 2 3\n")
