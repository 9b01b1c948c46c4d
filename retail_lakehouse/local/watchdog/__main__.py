"""`python -m retail_lakehouse.local.watchdog`: the watchdog, until SIGTERM.

Here: settings, log and signals of the process. Not here: what it does (`process.py`).
"""

import logging
import signal
import threading

from retail_lakehouse.local.watchdog.process import make_watchdog
from retail_lakehouse.settings import Settings


def main() -> None:
    """Watch until a signal ends it: there is no file to be closed and nothing to be put away."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # A disk that is full takes no line; the watchdog goes on without.
    logging.raiseExceptions = False
    make_watchdog(Settings.load()).run(threading.Event())


if __name__ == "__main__":
    main()
