"""The views worked out again from the raw rows, to compare with what the warehouse says.

Here: the check `views equal a recomputation from the raw events`, for tests and long runs on one
machine: now (`check.py`), and after every refresh of a run that is over (`history.py`). It reads
the Iceberg rows with a DuckDB of its own, and its SQL shares neither grain nor packed value nor
text with the views'; only the packed value of the newest stock is spelt as the view spells it,
where a digest of its text has to agree. Not here: the views (`contracts/`), the server
(`local/warehouse/`), or checks of the tables (`local/verify`).
"""
