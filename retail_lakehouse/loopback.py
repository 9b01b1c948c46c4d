"""The one address on which anything listens on one machine.

Belongs here: that. Doesn't belong here: ports (`settings.py`). Imports nothing: what is small in
memory, such as the warehouse server, needs it too.
"""

LOOPBACK = "127.0.0.1"
