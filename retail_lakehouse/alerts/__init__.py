"""Alerts: what is worth telling a person, kept until it has been told.

Here: incidents from verdicts (pure), silences, messages, the outbox, routes, notifiers, delivery.
Not here: verdicts (`checks/`), when they are read (`sensors/alerts.py`), what an alert means
(`contracts/alerting.py`). Nothing here knows Dagster.
"""
