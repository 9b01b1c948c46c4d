"""What something costs or takes before it is there: pure arithmetic, each figure with its source.

Belongs here: functions from quantities to quantities. Doesn't belong here: settings, clocks, or
anything measured.
"""
