"""Which processes the stack of one machine has, and how each is started.

Belongs here: their names, command lines and environments. Doesn't belong here: in which order they
come (`stack.py`), keeping them alive (`supervisor.py`).
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.job_states import LOCAL_JOB_PACE, Pace
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.dagster_instance import dagster_home
from retail_lakehouse.local.dagster_workspace import (
    CODE_LOCATION,
    code_server_socket,
    workspace_file,
)
from retail_lakehouse.local.jar_fetches import JarFetches
from retail_lakehouse.local.keeper import CommandUnit, Unit
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.stack_settings import settings_environment
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.arguments import EXIT_KEPT_OUT, EXIT_NEEDS_A_PERSON

if TYPE_CHECKING:
    from retail_lakehouse.local.broker import Broker
    from retail_lakehouse.local.java import JavaHome

JOBS = tuple(topic.event for topic in TOPICS)
DAGSTER_PROCESSES = ("dagster-code-server", "dagster-webserver", "dagster-daemon")
WATCHDOG = "watchdog"
PROCESS_NAMES = ("broker", "warehouse", *JOBS, "simulator", *DAGSTER_PROCESSES, WATCHDOG)

_SERVERS_STAGE = 1


class BrokerUnit:
    """The broker, as its keeper sees it."""

    name = "broker"
    stage = _SERVERS_STAGE
    pace = Pace()

    def __init__(self, make: Callable[[], Broker]) -> None:
        """Describe it; `make` is called once, when it is first started."""
        self._make = make
        self._broker: Broker | None = None

    def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            BrokerError: It did not come up.
            PortTakenError: One of its ports belongs to another program.
        """
        if self._broker is None:
            self._broker = self._make()
        self._broker.stop(grace_seconds=5.0)
        self._broker.start()

    def is_alive(self) -> bool:
        """Whether its process lives."""
        return self._broker is not None and self._broker.is_running()

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        """Stop it; its data stays."""
        if self._broker is not None:
            self._broker.stop(0.1 if hurry.is_set() else grace_seconds)

    def pid(self) -> int | None:
        """The process id, or None."""
        return self._broker.pid if self._broker is not None else None

    def last_exit(self) -> str:
        """The broker's own record does not keep its exit code."""
        return "no exit code"

    def needs_a_person(self) -> bool:
        """Never: a broker may always be tried again."""
        return False

    def was_kept_out(self) -> bool:
        """Never: who has its ports is told by its start."""
        return False


class StackUnits:
    """The processes of one state folder."""

    def __init__(self, settings: Settings, java: Callable[[], JavaHome], jars: JarFetches) -> None:
        """Describe them; nothing is started or written.

        Args:
            settings: Those of the local profile.
            java: Gives the Java of the broker and of the jobs, when one of them is started.
            jars: What fetches theirs.
        """
        self._settings = settings
        self._root = settings.root
        self._environment = settings_environment(settings)
        self._java = java
        self._jars = jars

    def all(self) -> list[Unit]:
        """Every process that the stack may run, the optional ones included."""
        python = sys.executable
        module = f"{CODE_LOCATION}.definitions"
        socket = code_server_socket(self._root)
        workspace = str(workspace_file(self._root))
        code_server = ["code-server", "start", "--socket", str(socket), "-m", module]
        code_server += ["--location-name", CODE_LOCATION]
        return [
            BrokerUnit(self._make_broker),
            self._unit("warehouse", self._warehouse_argv(), stage=_SERVERS_STAGE),
            *(self._job_unit(event) for event in JOBS),
            self._unit("simulator", [python, "-m", "retail_lakehouse.cli", "simulate"]),
            self._unit(
                "dagster-code-server",
                [python, "-m", "dagster", *code_server],
                before_start=lambda: socket.unlink(missing_ok=True),
            ),
            # Dagster's own command would serve whoever asks (`web/guard.py`).
            self._unit("dagster-webserver", [python, "-m", "retail_lakehouse.cli", "web"]),
            self._unit("dagster-daemon", [python, "-m", "dagster._daemon", "run", "-w", workspace]),
            self._unit(WATCHDOG, [python, "-m", "retail_lakehouse.local.watchdog"]),
        ]

    def _unit(
        self,
        name: str,
        argv: list[str],
        *,
        stage: int = 0,
        before_start: Callable[[], None] | None = None,
    ) -> CommandUnit:
        extra: Mapping[str, str] = {
            "DAGSTER_HOME": str(dagster_home(self._root)),
            # The first refresh after a long pause takes longer than a tick's usual 60 s, and a
            # tick that is given up has its result thrown away.
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300",
            "PYTHONUNBUFFERED": "1",
        }
        command = Command(argv, {**self._environment, **extra})
        return CommandUnit(
            self._root, name, lambda: command, stage=stage, before_start=before_start
        )

    def _warehouse_argv(self) -> list[str]:
        settings = self._settings
        arguments = {
            "port": settings.warehouse_port,
            "database": settings.warehouse_database,
            "user": settings.warehouse_user,
            "password-file": settings.password_file,
            "duckdb-path": self._root / "warehouse" / "warehouse.duckdb",
            "catalog-uri": f"sqlite:///{settings.catalog_db}",
            "catalog-name": settings.catalog_name,
            "cold-start-seconds": settings.cold_start_seconds,
            "memory-limit-mb": settings.warehouse_memory_mb,
        }
        module = "retail_lakehouse.local.warehouse_server"
        given = (f"--{name}={value}" for name, value in arguments.items())
        return [sys.executable, "-m", module, *given]

    def _job_unit(self, event: str) -> CommandUnit:
        # Spark copies its jars there, and a killed one leaves them: 40 MB for each death.
        temporary = self._spark_dir(event)
        return CommandUnit(
            self._root,
            event,
            partial(self._job, event),
            before_start=lambda: shutil.rmtree(temporary, ignore_errors=True),
            final_exit_codes=frozenset({EXIT_NEEDS_A_PERSON}),
            kept_out_exit_codes=frozenset({EXIT_KEPT_OUT}),
            pace=LOCAL_JOB_PACE,
        )

    def _spark_dir(self, event: str) -> Path:
        return self._root / "run" / "spark" / event

    def _job(self, event: str) -> Command:
        from retail_lakehouse.local.spark import job_command

        told = job_command(self._settings, event, self._java(), self._jars.get("spark"))
        temporary = self._spark_dir(event)
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**self._environment, **told.env, "SPARK_LOCAL_DIRS": str(temporary)}
        return Command(told.argv, environment)

    def _make_broker(self) -> Broker:
        from retail_lakehouse.local.broker import Broker

        return Broker(
            self._root,
            self._java(),
            self._jars.get("broker"),
            self._settings.broker_port,
            self._settings.controller_port,
            self._settings.broker_heap_mb,
        )
