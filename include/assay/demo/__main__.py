"""`python -m assay.demo up` leaves Airflow running on the demonstration's state; `down` stops it."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.markup import escape

from assay.demo.run import PROJECT, ROLES, airflow_of, stage_of
from assay.errors import AssayError
from assay.settings import Settings


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m assay.demo", description=__doc__)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument(
        "--port", type=int, help="port of the UI on 127.0.0.1 (default: the last one, else a free one)"
    )
    arguments = parser.parse_args()
    console = Console()
    stage = stage_of(Settings.from_env())
    try:
        airflow = airflow_of(stage, arguments.port)
        if arguments.action == "down":
            airflow.stop()
            console.print("Airflow is stopped; its state is kept")
            return 0
        if not stage.contract.exists():
            console.print(
                "There is no demonstration yet: `make demo` first fills the state that the UI shows."
            )
            stage_folder = PROJECT / "include" / "contracts"
            airflow.environment["ASSAY_CONTRACTS_DIR"] = str(stage_folder)
        if airflow.running():
            console.print("Airflow runs already")
        else:
            with console.status("starting Airflow") as status:
                airflow.start(status.update)
        console.print(
            f"UI:        {airflow.url}\n"
            f"users:     admin, {', '.join(f'{name} ({role})' for name, role in ROLES.items())}\n"
            f"passwords: in {escape(str(airflow.password_file))}",
            soft_wrap=True,
        )
        console.print("`make down` stops it.")
    except AssayError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
