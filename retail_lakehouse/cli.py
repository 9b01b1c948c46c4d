"""The `retail-lakehouse` command.

Belongs here: the list of verbs and what an error looks like. Doesn't belong here: a verb's options
and output (`commands/`), or any work.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from retail_lakehouse.commands import (
    alerts,
    contracts,
    dev,
    doctor,
    erase,
    jobs,
    reset,
    settings,
    simulate,
    status,
    stop,
    topics,
    verify,
    views,
    web,
)
from retail_lakehouse.commands.options import Exit
from retail_lakehouse.settings import SettingsError

EPILOG = """\
\b
Exit codes:
  0    done
  1    it failed, or a check found a problem
  2    a wrong option or setting
  3    refused: `dev` runs already, or doesn't run
  4    not live within --timeout
  130  interrupted

Each setting is also an environment variable: RETAIL_LAKEHOUSE_BROKER_PORT=9092.
"""

app = typer.Typer(
    name="retail-lakehouse",
    help="A real-time lakehouse for retail: Kafka, Spark, Iceberg, Redshift, Dagster.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"retail-lakehouse {version('retail-lakehouse')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A real-time lakehouse for retail: Kafka, Spark, Iceberg, Redshift, Dagster."""


app.command()(dev.dev)
app.command()(web.web)
app.command()(stop.stop)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(settings.settings)
app.command()(reset.reset)
app.command()(simulate.simulate)
app.command()(verify.verify)
app.command()(topics.topics)
app.command()(erase.erase)
app.add_typer(jobs.app, name="jobs")
app.add_typer(views.app, name="views")
app.add_typer(alerts.app, name="alerts")
app.add_typer(contracts.app, name="contracts")


def main() -> None:
    """Run the command; the platform's own errors are printed as their sentence.

    An error that is not ours is a fault in the program, and keeps its traceback.
    """
    try:
        app()
    except SettingsError as error:
        typer.echo(str(error), err=True)
        sys.exit(Exit.WRONG_OPTION)
    except (RuntimeError, ValueError, LookupError, OSError) as error:
        if not type(error).__module__.startswith("retail_lakehouse."):
            raise
        typer.echo(str(error), err=True)
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> Exit:
    from retail_lakehouse.local.control import SupervisorNotRunningError
    from retail_lakehouse.local.state_folder import AlreadyRunningError

    refused = isinstance(error, SupervisorNotRunningError | AlreadyRunningError)
    return Exit.REFUSED if refused else Exit.FAILED


if __name__ == "__main__":
    main()
