"""The parts of the local stand-in for Redshift Serverless.

Here: wire protocol, translation of Redshift's SQL, the rules that Redshift refuses by, Iceberg
snapshots, materialized views and system views, with DuckDB behind them. Not here: the client
(`retail_lakehouse.warehouse`), the SQL of our own views (`contracts/`), or anything that would
exist only locally: what runs against this server runs against Redshift.
"""
