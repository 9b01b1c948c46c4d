"""Uniqueness: which records of a stream land, which are duplicates, which contradict a row.

Here: the rule as a pure function and the index of what has landed. Not here: engines, tables.
Both engines use it: what a duplicate is must not depend on who reads the stream.
"""
