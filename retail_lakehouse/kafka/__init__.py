"""Kafka as everything sees it that isn't a streaming job: clusters, topics, offsets.

Belongs here: what holds for the local broker and for MSK alike. Doesn't belong here: starting a
broker (`local/broker.py`), topic contracts (`contracts/topics.py`), consuming events.
"""
