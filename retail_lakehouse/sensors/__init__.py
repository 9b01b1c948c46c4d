"""What watches: thin sensors over the looks of `assets/` and the verdicts of `checks/`.

Here: ticks, their cursors, and what is worth an event. Not here: looking or judging. Three rules:
a tick ends soon, because every client has a deadline; an outage is a failed check with a sentence,
never a skip that hides it; an event is written at an edge (new, recovered) and as a heartbeat, so
that the event log does not grow with the number of ticks.
"""
