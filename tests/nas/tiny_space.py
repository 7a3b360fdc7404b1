"""A small space, a small task and its job, for tests that train: a convolution, maybe a norm and dropout, a linear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.job import Job
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.space import Signature, Space


def make(architecture: Any, signature: Signature) -> nn.Module:
    part = architecture["network"]
    channels, height, width = signature.input_shape
    return nn.Sequential(
        nn.Conv2d(channels, part["width"], 3, padding=1),
        nn.BatchNorm2d(part["width"]) if part["norm"] else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(part["dropout"]),
        nn.Flatten(),
        nn.Linear(part["width"] * height * width, signature.classes),
    )


TINY = Space(
    "tiny",
    "a convolution and a linear",
    Struct(
        network=Struct(width=Integer(2, 64), norm=Choice(True, False), dropout=Real(0, 0.5)),
        training=Struct(
            optimizer=Choice(
                adamw=Struct(rate=Real(1e-4, 1e3, log=True), weight_decay=Real(0, 0.1)),
                sgd=Struct(rate=Real(1e-4, 1e3, log=True), momentum=Real(0, 0.99), weight_decay=Real(0, 0.1)),
            ),
            batch=Choice(32, 64, 128),
            schedule=Choice("cosine", "linear"),
            warmup=Real(0, 0.2),
            label_smoothing=Real(0, 0.2),
            augmentation=Choice("none", "shift", mixup=Struct(alpha=Real(0.05, 1))),
        ),
    ),
    make,
)

ADAMW = {"adamw": {"rate": 0.01, "weight_decay": 0.01}}
SGD = {"sgd": {"rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}}


def architecture(optimizer: Any = ADAMW, augmentation: Any = "none", width: int = 4, **training: Any) -> dict[str, Any]:
    return {
        "network": {"width": width, "norm": True, "dropout": 0.2},
        "training": {
            "optimizer": optimizer,
            "batch": 128,
            "schedule": "cosine",
            "warmup": 0.1,
            "label_smoothing": 0.1,
            "augmentation": augmentation,
        }
        | training,
    }


def job(folder: Path, **fields: Any) -> Job:
    fields = {"architecture": architecture(), "seed": 7, "space": "tiny", "epochs": 3} | fields
    return Job(trial=0, attempt=0, folder=folder, **fields)


torch.set_num_threads(1)
