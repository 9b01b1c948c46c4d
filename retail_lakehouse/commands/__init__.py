"""The verbs of `retail-lakehouse`, one module a verb.

Belongs here: options, what is printed, exit codes. Doesn't belong here: the work, which each verb
imports when it is called, so that `--help` loads nothing heavy.
"""
