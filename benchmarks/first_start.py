"""How long a newcomer waits: from a fresh clone to a live figure, with nothing cached, then again.

    python -m benchmarks.first_start

Clones the committed project into a temporary folder, with a home folder of its own, so that no
cache of uv, pip or Ivy is warm; installs, starts the platform until it is live, stops it; then
starts and stops it once more. Written: `benchmarks/results/first_start.json`. The first figures are
mostly downloads, so they say as much about the network as about the project. A uv on the PATH is
used if there is one, as the Makefile does; `uv_on_path` says whether, and if not, fetching it is
part of the installation.

Belongs here: the two starts and their times. Doesn't belong here: how the running platform does
(`long_run.py`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.stack_samples import machine
from retail_lakehouse.local import ports
from retail_lakehouse.settings import ENV_PREFIX

RESULTS = Path(__file__).with_name("results")
START = ["make", "dev", "ARGS=--until-live --keep --timeout 900"]


def main() -> int:
    """Runs both starts and writes the figures."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="retail-lakehouse-first-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)  # noqa: S603, S607
        environment = _environment(Path(folder) / "home")
        stop = [str(clone / ".venv" / "bin" / "retail-lakehouse"), "stop"]
        figures: dict[str, object] = {"machine": machine()}
        figures["uv_on_path"] = _has_uv(environment)
        figures["cold_install_seconds"] = _seconds(["make", "sync"], clone, environment)
        for name in ("cold", "warm"):
            # The stack outlives whoever started it, and its folder goes when this one ends.
            try:
                figures[f"{name}_live_seconds"] = _seconds(START, clone, environment)
            finally:
                figures[f"{name}_stop_seconds"] = _seconds(stop, clone, environment)
    text = json.dumps(figures, indent=1) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "first_start.json").write_text(text)
    sys.stdout.write(text)
    return 0


def _environment(home: Path) -> dict[str, str]:
    """This process's environment without its settings and caches, on ports that are free."""
    home.mkdir()
    dropped = ("PIP_CACHE_DIR", "XDG_CACHE_HOME", "VIRTUAL_ENV", "PYTHONPATH")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith((ENV_PREFIX, "UV_"))
    }
    names = ("BROKER", "CONTROLLER", "WAREHOUSE", "DAGSTER")
    told = {
        f"{ENV_PREFIX}{name}_PORT": str(port)
        for name, port in zip(names, ports.free_ports(len(names)), strict=True)
    }
    return {**kept, **told, "HOME": str(home)}


def _has_uv(environment: dict[str, str]) -> bool:
    """Whether `make sync` finds a uv; asked by running it, as a shim may lead nowhere."""
    try:
        asked = subprocess.run(["uv", "--version"], env=environment, capture_output=True)  # noqa: S607
    except OSError:
        return False
    return asked.returncode == 0


def _seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """How long the command took.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on the terminal.
    """
    begun = time.monotonic()
    subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, stdout=sys.stderr, check=True
    )
    return round(time.monotonic() - begun, 1)


if __name__ == "__main__":
    sys.exit(main())
