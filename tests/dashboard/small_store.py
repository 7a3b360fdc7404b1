"""A small store, written as a driver writes it, and the dashboard served over a store from a thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from dashboard.app import create
from nas.store import State, Store

HOSTILE = "<script>window.hacked=1</script>"
TRACEBACK = f"Traceback (most recent call last):\n  File 'loop.py', line 70\nRuntimeError: shapes {HOSTILE}"
TRIALS = 240


def architecture(rng: Random) -> dict[str, Any]:
    layers: list[dict[str, Any]] = [
        {"conv2d": {"kernel": rng.choice([3, 5])}},
        {"kan_conv2d": {"basis": {"bspline": {"intervals": rng.randint(3, 8), "order": 3}}, "kernel": 3}},
    ]
    stages = [
        {"layer": rng.choice(layers), "activation": rng.choice(["relu", "helu"]), "width": rng.choice([16, 32])}
        for _ in range(rng.randint(1, 3))
    ]
    return {
        "network": {"stem": 16, "stages": stages, "head": "mean"},
        "training": {"optimizer": {"adamw": {"decay": 0.01}}, "rate": 10 ** rng.uniform(-4, -1)},
    }


@dataclass
class Search:
    """Writes trials to a study, as a driver would."""

    store: Store
    name: str
    objectives: tuple[str, ...] = ("accuracy", "params")
    planned: int = TRIALS
    rng: Random = field(default_factory=lambda: Random(7))
    number: int = 0

    def __post_init__(self) -> None:
        self.id = self.store.add_study(
            self.name,
            {
                "space": "kan_vision",
                "task": "digits",
                "objectives": list(self.objectives),
                "constraints": [],
                "strategy": "tpe",
                "trials": self.planned,
                "epochs": 4,
                "seed": 0,
            },
        )

    def trial(
        self,
        state: State = State.COMPLETED,
        values: dict[str, float] | None = None,
        reason: str | None = None,
        error: str | None = None,
        **more: Any,
    ) -> int:
        """Write a trial that trained for four epochs, and return its number."""
        number, self.number = self.number, self.number + 1
        params = round(10 ** self.rng.uniform(3, 5))
        accuracy = 0.98 - 1 / math.log2(params) - abs(self.rng.gauss(0, 0.1))
        drawn = {
            "accuracy": accuracy,
            "params": float(params),
            "latency": params / 1e4 + self.rng.random(),
            "memory": 4.0 * params + 512,
        }
        final = {name: drawn[name] for name in self.objectives} | (values or {})
        with self.store.writing(self.id) as writer:
            key = f"{number:064x}"
            trial = writer.add_trial(number, architecture(self.rng), key, key, number, **more)
            if state is State.WAITING:
                return number
            writer.start(trial, 1, "inline-0", "cpu")
            writer.report(trial, 0, {"params": params})
            for epoch in range(1, 5):
                losses = {"train_loss": 2.0 / epoch, "val_loss": 2.2 / epoch}
                rate = {"rate": 0.01 * (4 - epoch), "seconds": 0.5}
                writer.report(trial, epoch, losses | rate | {"val_accuracy": accuracy * epoch / 4})
            if state.ended:
                kept = {} if state is State.FAILED else final
                writer.end(trial, 1, state, values=kept, reason=reason, error=error)
        return number


@contextmanager
def serving(url: str, token: str | None = None, **options: Any) -> Iterator[str]:
    """Serve a dashboard from a thread, and give its address."""

    class Silent(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    app = create(url, token, **options)
    server = make_server("127.0.0.1", 0, app.server, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
