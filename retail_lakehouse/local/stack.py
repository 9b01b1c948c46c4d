"""The stack of one machine: which processes there are, and in which order they come.

Belongs here: the list of processes with their command lines, and the steps from nothing to all of
them. Doesn't belong here: keeping them alive (`supervisor.py`), showing it (`commands/dev.py`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.job_states import LOCAL_JOB_PACE, Pace
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local import ports
from retail_lakehouse.local.control import ProcessState, ProcessStatus
from retail_lakehouse.local.dagster_instance import dagster_home, make_instance
from retail_lakehouse.local.dagster_workspace import (
    CODE_LOCATION,
    code_server_socket,
    workspace_file,
    write_workspace,
)
from retail_lakehouse.local.jar_fetches import JarFetches
from retail_lakehouse.local.keeper import CommandUnit, Unit
from retail_lakehouse.local.processes import Command, log_tail
from retail_lakehouse.local.stack_settings import settings_environment
from retail_lakehouse.local.startup import StartCancelledError, Step
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import ENV_PREFIX, Settings
from retail_lakehouse.streaming.arguments import EXIT_NEEDS_A_PERSON

if TYPE_CHECKING:
    from retail_lakehouse.local.broker import Broker
    from retail_lakehouse.local.jars import JarKind
    from retail_lakehouse.local.java import JavaHome

JOBS = tuple(topic.event for topic in TOPICS)
DAGSTER_PROCESSES = ("dagster-code-server", "dagster-webserver", "dagster-daemon")
WATCHDOG = "watchdog"
PROCESS_NAMES = ("broker", "warehouse", *JOBS, "simulator", *DAGSTER_PROCESSES, WATCHDOG)

_READY_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.1
_SERVERS_STAGE = 1


class StackError(RuntimeError):
    """A part of the stack did not come up."""


def ensure_password(path: Path) -> bool:
    """Make the local warehouse's password, readable for its owner only; True if it was made.

    It appears whole or not at all; an empty file is taken for none.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > 0:
        path.chmod(0o600)
        return False
    # Made with mode 0600.
    descriptor, beside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    Path(beside).replace(path)
    return True


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


class Stack:
    """The processes of one state folder and the steps that start them."""

    def __init__(self, settings: Settings, *, with_simulator: bool = True) -> None:
        """Describe the stack; nothing is started or written.

        Args:
            settings: Those of the local profile.
            with_simulator: Whether the simulator is started along.
        """
        self._settings = settings
        self._root = settings.root
        self._with_simulator = with_simulator
        self._environment = settings_environment(settings)
        self._java: JavaHome | None = None
        self._cancelled = threading.Event()
        self._jars = JarFetches(settings.cache, self._found_java, self._cancelled)

    def units(self) -> list[Unit]:
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

    def cancel(self) -> None:
        """Make waiting steps end, and a fetch of jars."""
        self._cancelled.set()

    def wait_for_fetches(self, seconds: float) -> None:
        """Wait until every fetch that `cancel` has broken off has ended its process."""
        self._jars.wait(seconds)

    def steps(self, supervisor: Supervisor) -> list[Step]:
        """What leads from nothing to the whole stack running."""

        def start(name: str, ready: Callable[[], bool] = lambda: True) -> Callable[[], str]:
            return lambda: self._start(supervisor, name, ready)

        def jobs() -> str:
            for name in JOBS:
                supervisor.ask("start", name)
            for name in JOBS:
                self._start(supervisor, name, lambda: True)
            return ", ".join(JOBS)

        dagster_port = self._settings.dagster_port
        warehouse_port = self._settings.warehouse_port
        socket = code_server_socket(self._root)
        steps = [
            Step("ports", "Ports", (), self._check_ports),
            Step("java", "Java", (), self._find_java),
            Step("broker-jars", "Kafka's jars", ("java",), lambda: self._resolve("broker")),
            Step("spark-jars", "Spark's jars", ("java",), lambda: self._resolve("spark")),
            Step("broker", "Broker", ("ports", "broker-jars"), start("broker")),
            Step("topics", "Topics", ("broker",), self._ensure_topics),
            Step("tables", "Iceberg tables", (), self._ensure_tables),
            Step(
                "warehouse",
                "Warehouse",
                ("ports", "tables"),
                start("warehouse", lambda: ports.is_answering(warehouse_port)),
            ),
            Step("views", "Views", ("warehouse",), self._ensure_views),
            Step("jobs", "Streaming jobs", ("spark-jars", "topics", "tables"), jobs),
            Step("code-server", "Dagster's code", ("ports",), self._start_code_server(supervisor)),
            Step(
                "webserver",
                "Dagster's pages",
                ("code-server",),
                start("dagster-webserver", lambda: ports.is_answering(dagster_port)),
            ),
            Step(
                "daemon",
                "Dagster's daemon",
                ("code-server", "views", "topics"),
                start("dagster-daemon", socket.exists),
            ),
            Step("watchdog", "Watchdog", ("daemon",), start(WATCHDOG)),
        ]
        if self._with_simulator:
            steps.append(Step("simulator", "Simulator", ("topics",), start("simulator")))
        return steps

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
            pace=LOCAL_JOB_PACE,
        )

    def _spark_dir(self, event: str) -> Path:
        return self._root / "run" / "spark" / event

    def _job(self, event: str) -> Command:
        from retail_lakehouse.local.spark import job_command

        told = job_command(self._settings, event, self._found_java(), self._jars.get("spark"))
        temporary = self._spark_dir(event)
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**self._environment, **told.env, "SPARK_LOCAL_DIRS": str(temporary)}
        return Command(told.argv, environment)

    def _make_broker(self) -> Broker:
        from retail_lakehouse.local.broker import Broker

        return Broker(
            self._root,
            self._found_java(),
            self._jars.get("broker"),
            self._settings.broker_port,
            self._settings.controller_port,
            self._settings.broker_heap_mb,
        )

    def _found_java(self) -> JavaHome:
        if self._java is None:
            self._find_java()
        if self._java is None:
            raise StackError("No Java was found. Run `retail-lakehouse doctor`.")
        return self._java

    def _check_ports(self) -> str:
        checked = {
            "broker_port": "the broker",
            "controller_port": "the broker's controller",
            "warehouse_port": "the warehouse server",
            "dagster_port": "Dagster",
        }
        for setting, purpose in checked.items():
            port = int(getattr(self._settings, setting))
            ports.require_free(port, purpose, f"{ENV_PREFIX}{setting.upper()}")
        return ""

    def _find_java(self) -> str:
        from retail_lakehouse.local.java import find_java

        self._java = find_java(os.environ)
        return f"{self._java.version}, {self._java.source}"

    def _resolve(self, kind: JarKind) -> str:
        return f"{len(self._jars.get(kind))} jars"

    def _ensure_topics(self) -> str:
        from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics

        settings = self._settings
        wished = [
            TopicSpec(
                topic.name,
                settings.partitions(topic),
                settings.replication_factor(topic),
                topic.configs(settings.replication_factor(topic)),
            )
            for topic in settings.topics
        ]
        changes = ensure_topics({"bootstrap.servers": settings.kafka_bootstrap}, wished)
        made = sum(change.action == "created" for change in changes)
        return f"{len(changes)} topics" + (f", {made} new" if made else "")

    def _ensure_tables(self) -> str:
        from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
        from retail_lakehouse.tables.dimensions import load_dimensions
        from retail_lakehouse.tables.evolve import ensure_tables

        prepare_catalog(self._settings)
        catalog = open_catalog(self._settings)
        changes = ensure_tables(catalog, self._settings)
        loaded = load_dimensions(catalog)
        told = [f"{len(changes)} changes"] if changes else []
        told += [f"{len(loaded)} dimensions loaded"] if loaded else []
        return ", ".join(told)

    def _ensure_views(self) -> str:
        from retail_lakehouse.warehouse.client import WarehouseClient
        from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views

        with WarehouseClient.from_settings(self._settings).session("dev:views") as session:
            ensure_schemas(session)
            changes = ensure_views(session)
        return f"{len(changes)} changes" if changes else ""

    def _start_code_server(self, supervisor: Supervisor) -> Callable[[], str]:
        def start() -> str:
            make_instance(self._root)
            write_workspace(self._root)
            socket = code_server_socket(self._root)
            return self._start(supervisor, "dagster-code-server", socket.exists)

        return start

    def _start(self, supervisor: Supervisor, name: str, ready: Callable[[], bool]) -> str:
        """Have a process started and wait until it is ready.

        Raises:
            StackError: It died while it was waited for, or did not get ready in time.
            StartCancelledError: The start was interrupted.
        """
        if name == "warehouse":
            ensure_password(self._settings.password_file)
        supervisor.ask("start", name)
        deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._cancelled.is_set():
                raise StartCancelledError("The start was interrupted.")
            status = supervisor.status()[name]
            if status.state in (ProcessState.WAITING, ProcessState.CRASHING, ProcessState.HALTED):
                raise StackError(status.message)
            if status.state is ProcessState.RUNNING and ready():
                return ""
            time.sleep(_POLL_SECONDS)
        raise StackError(_late(supervisor.status()[name]))


def _late(status: ProcessStatus) -> str:
    words = " / ".join(log_tail(Path(status.log), lines=3)) or "nothing"
    return (
        f"{status.name} is not ready after {_READY_TIMEOUT_SECONDS:.0f} seconds. The last it said "
        f"in {status.log}: {words}"
    )
