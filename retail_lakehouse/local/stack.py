"""The stack of one machine: the steps from nothing to all of its processes.

Belongs here: the order in which they come, and what each needs before it. Doesn't belong here: how
a process is started (`stack_units.py`), keeping them alive (`supervisor.py`), showing it
(`commands/dev.py`).
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retail_lakehouse.local import ports
from retail_lakehouse.local.control import ProcessState, ProcessStatus
from retail_lakehouse.local.dagster_instance import make_instance
from retail_lakehouse.local.dagster_workspace import code_server_socket, write_workspace
from retail_lakehouse.local.jar_fetches import JarFetches
from retail_lakehouse.local.keeper import Unit
from retail_lakehouse.local.processes import last_words
from retail_lakehouse.local.stack_units import JOBS, WATCHDOG, StackUnits
from retail_lakehouse.local.startup import StartCancelledError, Step
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from retail_lakehouse.local.jars import JarKind
    from retail_lakehouse.local.java import JavaHome

_READY_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.1


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
        self._java: JavaHome | None = None
        self._cancelled = threading.Event()
        self._jars = JarFetches(settings.cache, self._found_java, self._cancelled)
        self._units = StackUnits(settings, self._found_java, self._jars)

    def units(self) -> list[Unit]:
        """Every process that the stack may run, the optional ones included."""
        return self._units.all()

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
    words = last_words(Path(status.log)) or "nothing"
    return (
        f"{status.name} is not ready after {_READY_TIMEOUT_SECONDS:.0f} seconds. The last it said "
        f"in {status.log}: {words}"
    )
