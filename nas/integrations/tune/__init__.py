"""Ray Tune on our spaces, and our strategies in Ray Tune.

    from ray import tune
    from nas.integrations.tune import NasSearcher, StoreCallback, mutations, param_space, trainable

    tune.Tuner(
        trainable("kan_vision", "digits", epochs=8, objectives=("accuracy", "params")),
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=20, reuse_actors=True,
            search_alg=NasSearcher("tpe", "kan_vision", ("accuracy", "params")),
            scheduler=tune.schedulers.ASHAScheduler(max_t=8),
        ),
        run_config=tune.RunConfig(callbacks=[StoreCallback("sqlite:///nas.db", "first")]),
    ).fit()

- `trainable` is our evaluation as a Trainable: an epoch a step, checkpoints, actors that are used again.
- `param_space` is a space as Tune's search algorithms know it; `mutations` and `bounds` are what PBT and PB2 may change
  in mid-training, and `clamping` keeps what they make of it in its range.
- `NasSearcher` is one of our strategies as a Tune Searcher.
- `StoreCallback` writes a Tune run to our store, where `nas show`, the dashboard and `nas export` find it.
- `run` is all of that together: what `nas search --engine tune` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.integrations.tune.callback import StoreCallback
    from nas.integrations.tune.configs import SEED, ConfigError
    from nas.integrations.tune.engine import check, refuse_resume, run
    from nas.integrations.tune.evaluating import trainable
    from nas.integrations.tune.searcher import NasSearcher
    from nas.integrations.tune.spaces import bounds, clamping, mutations, param_space

_PUBLIC = {
    "SEED": "configs",
    "ConfigError": "configs",
    "NasSearcher": "searcher",
    "StoreCallback": "callback",
    "bounds": "spaces",
    "check": "engine",
    "clamping": "spaces",
    "mutations": "spaces",
    "param_space": "spaces",
    "refuse_resume": "engine",
    "run": "engine",
    "trainable": "evaluating",
}
__all__ = [
    "SEED",
    "ConfigError",
    "NasSearcher",
    "StoreCallback",
    "bounds",
    "check",
    "clamping",
    "mutations",
    "param_space",
    "refuse_resume",
    "run",
    "trainable",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for alone: a worker needs the trainable, and nothing of searches and stores."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
