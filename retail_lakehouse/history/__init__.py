"""What Dagster remembers: its events, check results, runs and ticks, and how much of it is kept.

Here: making the history's files, and deleting what is old. Not here: what is reported in the first
place (`sensors/`), when it is pruned (`sensors/history.py`), how the instance is set up
(`local/dagster_instance.py`).
"""
