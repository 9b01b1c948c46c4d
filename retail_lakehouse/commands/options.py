"""Options that several verbs share, and how they become settings.

Belongs here: `--state-dir`, `--set`, exit codes. Doesn't belong here: a setting's meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from retail_lakehouse.settings import Settings, SettingsError

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="The state folder.  [default: .lakehouse]", metavar="PATH"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, for this run; may be repeated.", metavar="NAME=VALUE"),
]


class Exit(IntEnum):
    """What the exit code says; documented in `retail-lakehouse --help`."""

    DONE = 0
    FAILED = 1
    WRONG_OPTION = 2
    REFUSED = 3
    NOT_LIVE = 4
    INTERRUPTED = 130


def load_settings(
    state_dir: Path | None,
    assignments: list[str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Settings from the environment, `--set` and a verb's own options, the latter winning.

    Raises:
        SettingsError: An assignment is none, or a setting is wrong.
    """
    return Settings.load(_told(state_dir, assignments, overrides))


def _told(
    state_dir: Path | None,
    assignments: list[str] | None,
    overrides: Mapping[str, object] | None,
) -> dict[str, object]:
    values: dict[str, object] = {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise SettingsError(
                f"--set {assignment} is no assignment. Write it as --set name=value, for example "
                "--set local_partitions=6."
            )
        values[_known(name.strip().lower())] = value
    if state_dir is not None:
        values["state_dir"] = state_dir
    return {**values, **(overrides or {})}


def _known(name: str) -> str:
    if name in Settings.model_fields:
        return name
    close = difflib.get_close_matches(name, Settings.model_fields, n=2, cutoff=0.7)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise SettingsError(
        f"There is no setting {name!r}. {hint}`retail-lakehouse settings` lists them."
    )


def running_settings(
    state_dir: Path | None,
    assignments: list[str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Settings of the stack that runs on the state folder, else those of the environment.

    A stack may have been started with other ports; whoever asks about it wants those. `--set` and
    a verb's own options win over both.

    Raises:
        SettingsError: An assignment is none, or a setting is wrong.
    """
    from retail_lakehouse.local.stack_settings import read_settings
    from retail_lakehouse.local.state_folder import holder_pid

    values = _told(state_dir, assignments, overrides)
    own = Settings.load(values)
    running = None if holder_pid(own.root) is None else read_settings(own.root)
    return own if running is None else Settings.load({**running, **values})


def require_kafka(settings: Settings) -> None:
    """Refuse a verb at once that asks Kafka while nothing runs for the state folder.

    Raises:
        SupervisorNotRunningError: No `dev` runs, and nobody else answers at the broker's port.
    """
    _require(settings, settings.broker_port, elsewhere=bool(settings.bootstrap_servers))


def require_warehouse(settings: Settings) -> None:
    """Refuse a verb at once that asks the warehouse while nothing runs for the state folder.

    Raises:
        SupervisorNotRunningError: No `dev` runs, and nobody else answers at the warehouse's port.
    """
    _require(settings, settings.warehouse_port, elsewhere=bool(settings.warehouse_host))


def _require(settings: Settings, port: int, *, elsewhere: bool) -> None:
    from retail_lakehouse.local.control import SupervisorNotRunningError
    from retail_lakehouse.local.ports import is_answering
    from retail_lakehouse.local.state_folder import holder_pid

    if not settings.is_local or elsewhere or holder_pid(settings.root) is not None:
        return
    # One that was started by hand, or that a killed `dev` left, is as good.
    if not is_answering(port):
        raise SupervisorNotRunningError(settings.root)
