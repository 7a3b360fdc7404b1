"""What a PostgreSQL store says of a study after a rough life, in plain SQL, with none of our code.

`WATCH` adds triggers that keep every state that a trial was ever in and every value that a metric ever had, so that
what was done twice shows although the store keeps the last word only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

Ask = Callable[[str], list[tuple[Any, ...]]]

WATCH = """
CREATE SCHEMA watch;
CREATE TABLE watch.state (trial integer, was text, became text);
CREATE TABLE watch.metric (trial integer, step integer, name text, value double precision);
CREATE FUNCTION watch.keep_state() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO watch.state VALUES (NEW.id, OLD.state, NEW.state); RETURN NULL; END $$;
CREATE FUNCTION watch.keep_metric() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO watch.metric VALUES (NEW.trial_id, NEW.step, NEW.name, NEW.value); RETURN NULL; END $$;
CREATE TRIGGER keep_state AFTER UPDATE OF state ON trial FOR EACH ROW EXECUTE FUNCTION watch.keep_state();
CREATE TRIGGER keep_metric AFTER INSERT OR UPDATE ON metric FOR EACH ROW EXECUTE FUNCTION watch.keep_metric();
"""
ENDED = "('COMPLETED', 'STOPPED', 'FAILED', 'INFEASIBLE')"


@dataclass(frozen=True)
class Tally:
    """What must be zero, each a count of trials, epochs or metrics.

    `lost`: trials that are wanted and not there, or have not ended. `twice`: trials that ended more than once, work
    that two trials did, trials whose last epoch was trained more than once. `again`: epochs that were trained again
    though their metrics were in the store. `missing`: metrics that a completed trial lacks. `unlike`: attempts that a
    completed trial has beside those that were cut, or trials without the values of their objectives.
    """

    lost: int
    twice: int
    again: int
    missing: int
    unlike: int

    @property
    def faults(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def tally(ask: Ask, trials: int, epochs: int, metrics: Sequence[str], objectives: int) -> Tally:
    """Count what is wrong with the only study of a store, of so many trials; `metrics` are those of each epoch."""

    def count(statement: str) -> int:
        return int(ask(f"SELECT count(*) FROM ({statement}) AS found")[0][0])

    wanted = f"SELECT n FROM generate_series(0, {trials - 1}) AS n"
    absent = f"{wanted} LEFT JOIN trial ON trial.number = n WHERE trial.state IS NULL OR trial.state NOT IN {ENDED}"
    beyond = f"SELECT number FROM trial WHERE number >= {trials}"
    ends = f"SELECT trial FROM watch.state WHERE became IN {ENDED} GROUP BY trial HAVING count(*) > 1"
    left = f"SELECT trial FROM watch.state WHERE was IN {ENDED}"
    alike = "SELECT identity FROM trial WHERE state = 'COMPLETED' GROUP BY identity HAVING count(*) > 1"
    trained = "SELECT trial, step FROM watch.metric WHERE name = 'seconds' GROUP BY trial, step"
    trained += " HAVING count(DISTINCT value) > 1"
    full = f"SELECT trial FROM ({trained}) AS epochs WHERE step = {epochs}"
    names = ", ".join(f"('{name}')" for name in metrics)
    missing = f"""
        SELECT 1 FROM trial CROSS JOIN generate_series(1, {epochs}) AS step CROSS JOIN (VALUES {names}) AS names(name)
        LEFT JOIN metric ON metric.trial_id = trial.id AND metric.step = step.step AND metric.name = names.name
        WHERE trial.state = 'COMPLETED' AND metric.value IS NULL"""
    valued = f"""
        SELECT trial.id FROM trial LEFT JOIN value ON value.trial_id = trial.id WHERE trial.state = 'COMPLETED'
        GROUP BY trial.id HAVING count(value.name) <> {objectives}"""
    numbered = (
        "SELECT trial_id FROM attempt GROUP BY trial_id HAVING max(number) <> count(*) OR count(ended) < count(*)"
    )
    return Tally(
        lost=count(absent) + count(beyond),
        twice=count(ends) + count(left) + count(alike) + count(full),
        again=count(trained),
        missing=count(missing),
        unlike=count(valued) + count(numbered),
    )


def summary(ask: Ask) -> dict[str, int]:
    """Say how many trials there are in each state, how many attempts, and how many of these were cut."""
    states = {str(state): int(number) for state, number in ask("SELECT state, count(*) FROM trial GROUP BY state")}
    cut = "SELECT count(*) - (SELECT count(*) FROM trial) FROM attempt"
    again = "SELECT count(*) - count(DISTINCT (trial, step, name)) FROM watch.metric"
    return states | {
        "attempts": int(ask("SELECT count(*) FROM attempt")[0][0]),
        "attempts beyond the first": int(ask(cut)[0][0]),
        "drivers": int(ask("SELECT count(*) FROM driver")[0][0]),
        "metrics said again": int(ask(again)[0][0]),
    }
