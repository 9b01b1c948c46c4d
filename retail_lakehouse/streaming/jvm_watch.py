"""Ending the driver when its JVM has ended.

Here: the watch over the JVM's process. Not here: what the driver does of itself when a call to the
JVM fails (`driver.py`).

A JVM that is killed while it starts a program (Hadoop runs `chmod` for every file it makes locally)
leaves the half-started program behind, which has inherited the sockets to this process: they stay
open, and a call that waits for the JVM's answer would wait for ever.
"""

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""How long a driver that learns of the end by itself has to say so and to leave."""


def end_with_jvm(spark: "SparkSession", event_name: str) -> None:
    """Ends this process with status 1 soon after the JVM that it has started has ended.

    On Glue the JVM comes first and starts this process; there is nothing to watch.
    """
    gateway: Any = spark.sparkContext._gateway
    jvm = getattr(gateway, "proc", None)
    if jvm is None:
        return

    def watch() -> None:
        jvm.wait()
        time.sleep(GRACE_SECONDS)
        logger.error("The JVM of %s is gone. Start the job again.", event_name)
        logging.shutdown()
        os._exit(1)

    threading.Thread(target=watch, name="jvm-watch", daemon=True).start()
