"""How long a newcomer waits: from a fresh clone to a live figure, with nothing cached, then again.

    python -m benchmarks.first_start

Clones the committed project into a temporary folder, with a home folder of its own, so that no
cache of uv, pip or Ivy is warm; installs, starts the platform until it is live, stops it; then
starts and stops it once more. Written: `benchmarks/results/first_start.json`. The first figures are
mostly downloads, so they say as much about the network as about the project.

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
        figures["cold_install_seconds"] = _seconds(["make", "sync"], clone, environment)
        for name in ("cold", "warm"):
            figures[f"{name}_live_seconds"] = _seconds(START, clone, environment)
            figures[f"{name}_stop_seconds"] = _seconds(stop, clone, environment)
    text = json.dumps(figures, indent=1) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "first_start.json").write_text(text)
    sys.stdout.write(text)
    return 0


def _environment(home: Path) -> dict[str, str]:
    """This process's environment without its settings and caches, on ports that are free."""
    home.mkdir()
    dropped = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith(ENV_PREFIX)
    }
    names = ("BROKER", "CONTROLLER", "WAREHOUSE", "DAGSTER")
    told = {
        f"{ENV_PREFIX}{name}_PORT": str(port)
        for name, port in zip(names, ports.free_ports(len(names)), strict=True)
    }
    return {**kept, **told, "HOME": str(home)}


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
