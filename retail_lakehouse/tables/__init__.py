"""The Iceberg tables from Python: catalog, schema, creation and evolution, marks, small appends.

Here: what every room that touches a table without Spark needs, on pyiceberg. Not here: streaming
writes (`streaming/`), compaction and expiry (`maintenance/`), the columns (`contracts/`).
"""
