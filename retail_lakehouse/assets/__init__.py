"""The asset graph, one module a layer: topics, streaming jobs, tables, views, quarantine replay.

Here: what each asset is and what one look at it (or one refresh of it) reports. Not here: verdicts
(`checks/`), what ticks (`sensors/`), how a system is reached (`resources/`).
"""
