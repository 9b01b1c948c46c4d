"""The facts of the platform as plain, frozen data.

Here: event fields, quarantine reasons and the table of cases, topics, table columns, commit marks,
views, service levels. Not here: anything that does I/O, reads the environment, or knows an engine.
Everything else (Spark schema, Iceberg schema, Redshift columns, JSON Schema, docs) is derived.
"""
