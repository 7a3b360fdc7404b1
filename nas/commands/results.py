"""The commands that show, carry and judge what a store holds."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from nas.commands.studies import Name, is_scoring, open_study
from nas.options import SQLITE, AsJson, StoreUrl, print_json
from nas.scoring import command as scoring
from nas.settings import Settings


def list_studies(store: StoreUrl = SQLITE, as_json: AsJson = False) -> None:
    """List the studies of a store."""
    from nas import records, tables
    from nas.store import Store, queries

    opened = Store.open(store)
    if as_json:
        print_json([records.study_record(opened, row) for row in queries.studies(opened)])
    else:
        tables.print_studies(opened, queries.studies(opened))


def show(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="One trial, with its decisions and curves.")] = None,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Show a study, or one of its trials; of a scoring the best architectures, or one of them."""
    from nas import records, tables

    if is_scoring(name, store):
        return scoring.show(name, trial, store, as_json)
    study = open_study(name, store)
    if trial is not None:
        row = study.trial(trial)
        print_json(records.trial_record(study, row)) if as_json else tables.print_trial(study, row)
    elif as_json:
        print_json(
            records.study_record(study.store, study.row) | {"front": records.leader_records(study, study.front())}
        )
    else:
        tables.print_study(study)


def best(
    name: Name,
    top: Annotated[int, typer.Option(help="At most so many.", min=1)] = 10,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Show the best trials: the Pareto front, or with one objective the top of the list."""
    from nas import records, tables

    study = open_study(name, store)
    leaders = study.leaders(top)
    print_json(records.leader_records(study, leaders)) if as_json else tables.print_leaders(study, leaders, "Best")


def compare(
    names: Annotated[list[str], typer.Argument(help="Two studies or more.", metavar="STUDY...")],
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Compare studies: trials, time, best values and, with the same objectives, hypervolume."""
    from nas import records, tables

    studies = [open_study(name, store) for name in names]
    print_json(records.comparison_records(studies)) if as_json else tables.print_comparison(studies)


def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="Which trial (default: the best).")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new or empty folder (best), or with --schedule a file (schedule.json)."),
    ] = None,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Only how it was trained, as JSON for `nas search --replay-schedule`.")
    ] = False,
    store: StoreUrl = SQLITE,
) -> None:
    """Export a trained network: weights, architecture and model card, checked to load back with the same outputs."""
    from nas.store import StoreError

    study = open_study(name, store)
    study.require_training("export")
    if trial is None:
        leaders = study.leaders(1)
        if not leaders:
            raise StoreError(f"study {name!r} has no completed trial to export: `nas resume {name}` first")
        trial = leaders[0].number
    if schedule:
        output = output or Path("schedule.json")
        study.export_schedule(trial, output)
        typer.echo(f"how trial {trial} of {name} was trained is in {output}")
        usual = Settings()
        options = {"--space": study.settings.space, "--task": study.settings.task, "--store": study.store.url}
        left_out = {"--task": study.settings.task == usual.task, "--store": study.store.is_default}
        named = [part for name, value in options.items() if not left_out.get(name) for part in (name, value)]
        typer.echo(f"next: {shlex.join(['nas', 'search', *named, '--replay-schedule', str(output), '--trials', '1'])}")
        return
    output = output or Path("best")
    study.export(trial, output)
    typer.echo(f"trial {trial} of {name} is in {output}/, and loads back with the same outputs")
    typer.echo(f"next: nas evaluate {output} --split test")


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder that `nas export` wrote.")],
    task: Annotated[str | None, typer.Option(help="By default the one it was trained for.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Judge an exported network on a split of a task."""
    from nas.export import evaluate_folder

    result = evaluate_folder(folder, task, split)
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats on {result['samples']} samples "
            f"({result['task']}, split {result['split']} of seed {result['split_seed']})"
        )


def dashboard(
    store: StoreUrl = SQLITE,
    host: Annotated[str, typer.Option(help="Any but a loopback address asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8050,
    token: Annotated[str | None, typer.Option(envvar="NAS_TOKEN", help="Made up when it is needed.")] = None,
) -> None:
    """Open the dashboard: studies, live Pareto fronts, trials."""
    import secrets

    from dashboard.access import loopback
    from dashboard.app import serve
    from nas.store import Store

    opened = Store.open(store)
    if token is None and not loopback(host):
        token = secrets.token_urlsafe(24)
    with suppress(KeyboardInterrupt):
        serve(opened.address, host, port, token, ready=lambda link: typer.echo(f"dashboard at {link} (Ctrl-C ends it)"))
