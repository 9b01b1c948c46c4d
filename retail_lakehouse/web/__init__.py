"""Dagster's pages behind a guard.

Here: who may ask the web server (`guard.py`), and the server itself (`server.py`). Not here: which
processes there are (`local/stack_units.py`), what the pages show (`assets/`, `checks/`,
`sensors/`).
"""
