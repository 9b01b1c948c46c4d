"""The Spark engine, on Glue and on one machine: parse, quarantine, deduplicate, commit, progress.

Here: Structured Streaming from a topic into its two tables. Not here: Dagster, AWS clients, the
rules themselves (`contracts/`, `dedupe/`). PySpark is imported inside functions or by modules that
only a job imports.
"""
