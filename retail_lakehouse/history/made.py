"""Makes the files of Dagster's instance, by itself and before the processes that share them.

Here: `python -m retail_lakehouse.history.made`, run once for a new state folder. Not here: where
the files lie. Processes that find no file at the same moment make it at the same moment: three that
started together broke each other's in most tries (tables already there, two versions of one
schema), and the latter stays broken.
"""


def make() -> None:
    """Opens the instance in DAGSTER_HOME, which makes what is missing, and leaves it."""
    from dagster import DagsterInstance

    with DagsterInstance.get():
        pass


if __name__ == "__main__":
    make()
