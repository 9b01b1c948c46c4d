"""The views worked out again from the raw rows, to compare with what the warehouse says.

Here: the check `views equal a recomputation from the raw events`, for tests and long runs on one
machine. It reads the Iceberg rows with a DuckDB of its own, at the snapshots that the views have
folded, and its SQL shares neither grain nor packed value nor text with the views'. Not here: the
views (`contracts/`), the server (`local/warehouse/`), or checks of the tables (`local/verify`).
"""
