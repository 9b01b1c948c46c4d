"""Dagster resources: thin, typed configuration around plain clients.

Here: one module a system (Kafka, streaming jobs, Iceberg, the warehouse, Spark). Not here: how a
system is spoken to (`kafka/`, `tables/`, `warehouse/`, `local/`), or what is made of the answer
(`assets/`, `checks/`). A client is opened when it is used, never when definitions are loaded.
"""
