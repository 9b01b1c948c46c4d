"""The watchdog of one machine: a process outside Dagster that looks and tells.

Here: reading Dagster's history (`history.py`), asking its code server (`code_server.py`), one whole
look (`look.py`), the process (`process.py`). Not here: what a look means, messages
(`retail_lakehouse/watchdog/`). Nothing here imports Dagster, which takes 100 MB, nor writes a file.
"""
