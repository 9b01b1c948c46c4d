"""A streaming job that dies, or stops, at a named point of a commit.

Here: the job's own entry function, with `JobTable.append` wrapped. Not here: the scenarios.
Run as `python -m retail_lakehouse_tests.faults.job_with_fault FAULT TOPIC ARGUMENTS...`; FAULT is
JSON of `Fault`, or `null` for a job that nothing happens to.
"""

import contextlib
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.iceberg import JobTable


@dataclass(frozen=True)
class Fault:
    """What happens to whom at which commit.

    `table` is rows or quarantine, `when` before, during or after its `number`-th commit, `victim`
    driver, jvm or both, `signal` KILL or STOP. During: data and metadata files are written, and the
    catalog is about to be told.
    """

    table: str
    when: str
    victim: str
    number: int = 1
    signal: str = "KILL"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def strike(fault: Fault, jvm_pid: int) -> None:
    number = signal.Signals[f"SIG{fault.signal}"]
    if fault.victim in ("jvm", "both"):
        os.kill(jvm_pid, number)
    if fault.victim in ("driver", "both"):
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def held_catalog(spark: SparkSession, table: JobTable) -> Iterator[None]:
    """Keeps the catalog's write lock, so that a commit waits right before it becomes visible."""
    uri = spark.conf.get(f"spark.sql.catalog.{table.name.partition('.')[0]}.uri")
    path = str(uri).removeprefix("jdbc:sqlite:").partition("?")[0]
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def strike_in_commit(fault: Fault, jvm_pid: int, metadata: Path, known: set[Path]) -> None:
    """Strikes once the commit's metadata file is there, which only the catalog does not know."""
    while not set(metadata.glob("*.metadata.json")) - known:
        time.sleep(0.005)
    strike(fault, jvm_pid)


def wrap_appends(fault: Fault) -> None:
    append = JobTable.append
    calls = {"rows": 0, "quarantine": 0}

    def wrapped(self: JobTable, rows: DataFrame, mark: Mark, spec_id: int) -> None:
        table = "quarantine" if self.contract.kind == "quarantine" else "rows"
        calls[table] += 1
        if (table, calls[table]) != (fault.table, fault.number):
            append(self, rows, mark, spec_id)
            return
        context: Any = rows.sparkSession.sparkContext
        jvm_pid = context._gateway.proc.pid
        if fault.when == "before":
            strike(fault, jvm_pid)
        with contextlib.ExitStack() as held:
            if fault.when == "during":
                held.enter_context(held_catalog(rows.sparkSession, self))
                location = str(self.load().location()).removeprefix("file:")
                metadata = Path(location) / "metadata"
                known = set(metadata.glob("*.metadata.json"))
                threading.Thread(
                    target=strike_in_commit, args=(fault, jvm_pid, metadata, known), daemon=True
                ).start()
            append(self, rows, mark, spec_id)
        if fault.when != "before":
            strike(fault, jvm_pid)

    JobTable.append = wrapped  # type: ignore[method-assign]


def main() -> int:
    fault_text, topic, *arguments = sys.argv[1:]
    event = replace(INVENTORY, topic=topic)
    vars(driver)["event_named"] = lambda name: event
    if json.loads(fault_text):
        wrap_appends(Fault(**json.loads(fault_text)))
    return driver.run_streaming_job(event.name, arguments)


if __name__ == "__main__":
    sys.exit(main())
