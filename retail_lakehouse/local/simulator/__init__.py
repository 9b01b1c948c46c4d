"""The event simulator: a seeded retailer whose every record a ledger accounts for.

Here: `run_simulator` and its options. Not here: checking the tables against the ledger
(`local/verify/`).
"""

from retail_lakehouse.local.simulator.options import Shares, SimulatorOptions
from retail_lakehouse.local.simulator.run import (
    SimulatorReport,
    run_simulator,
    run_until_signalled,
)

__all__ = [
    "Shares",
    "SimulatorOptions",
    "SimulatorReport",
    "run_simulator",
    "run_until_signalled",
]
