"""A streaming job that dies, or stops, at a named point of a commit.

Here: the job's own entry function, with `JobTable.append` wrapped. Not here: the scenarios.
Run as `python -m retail_lakehouse_tests.faults.job_with_fault FAULT TOPIC ARGUMENTS...`; FAULT is
JSON of `Fault`, or `null` for a job that nothing happens to.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark.sql import DataFrame

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.iceberg import JobTable


@dataclass(frozen=True)
class Fault:
    """What happens to whom at which commit.

    `table` is rows or quarantine, `when` before, during or after its `number`-th commit, `victim`
    driver, jvm or both, `signal` KILL or STOP.
    """

    table: str
    when: str
    victim: str
    number: int = 2
    signal: str = "KILL"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def strike(fault: Fault, jvm_pid: int) -> None:
    number = signal.Signals[f"SIG{fault.signal}"]
    if fault.victim in ("jvm", "both"):
        os.kill(jvm_pid, number)
    if fault.victim in ("driver", "both"):
        os.kill(os.getpid(), number)


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
        elif fault.when == "during":
            threading.Timer(0.15, strike, (fault, jvm_pid)).start()
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
