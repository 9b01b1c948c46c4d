"""`verify`: the tables against the simulator's ledger.

Here: `verify` and its report. Not here: the ledger (`local/ledger.py`).
"""

from retail_lakehouse.local.verify.report import Check, VerifyReport
from retail_lakehouse.local.verify.verifier import verify

__all__ = ["Check", "VerifyReport", "verify"]
