"""`assay demo`."""

from __future__ import annotations

import typer
from rich.console import Console

from assay.commands._shared import JsonFlag, emit, guarded, settings

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def demo(as_json: JsonFlag = False) -> None:
    """Run the whole line on real data, through a real Airflow, with attacks; exit 0 only if each verdict came."""
    from assay.demo.run import PROJECT, run_demo, stage_of
    from assay.demo.show import as_dict, next_steps, show

    progress = Console(stderr=True)
    with progress.status("starting") as status:

        def say(text: str) -> None:
            if progress.is_terminal:
                status.update(text)
            else:
                progress.print(text)

        story, facts = run_demo(settings(), say)
    result = as_dict(story, facts)

    def human(console: Console) -> None:
        show(console, story, facts)
        next_steps(console, stage_of(settings()), PROJECT)

    emit(result, human, as_json)
    if not result["passed"]:
        raise typer.Exit(1)
