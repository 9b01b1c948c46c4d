"""The watchdog's judgement: whether Dagster itself still works, seen from outside it.

Here: what a look sees (`looks.py`), what is remembered between two looks (`memory.py`), verdicts
(`judge.py`, `disk.py`), telling people without a file (`telling.py`), and the same for AWS as a
metric and its alarms (`cloudwatch.py`). Not here: looking on one machine (`local/watchdog/`).
Limits, severity, owner and runbook are the contracts'.
"""
