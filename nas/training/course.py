"""Which recipe each epoch of a training follows: the same one throughout, or those of a schedule's segments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nas.job import Segment
from nas.training.recipe import Recipe, RecipeError


@dataclass(frozen=True)
class Course:
    """Recipes, and the epochs from which they are followed (0 is the first epoch). All have the same optimizer."""

    begins: tuple[int, ...]
    recipes: tuple[Recipe, ...]

    @classmethod
    def read(cls, training: Mapping[str, Any], segments: Sequence[Segment] = ()) -> Course:
        """Read the training decisions of an architecture, or of segments where there are some; raises RecipeError."""
        segments = segments or (Segment(0, dict(training)),)
        begins = tuple(each.begin for each in segments)
        if begins[0] != 0 or any(after <= before for before, after in pairwise(begins)):
            listed = ", ".join(map(str, begins))
            raise RecipeError(f"a schedule's segments begin at epochs {listed}: begin at 0 and go up")
        recipes = tuple(Recipe.read(each.training) for each in segments)
        for begin, (before, after) in zip(begins[1:], pairwise(recipes), strict=True):
            if before.optimizer[0] != after.optimizer[0]:
                raise RecipeError(
                    f"a schedule changes its optimizer from {before.optimizer[0]} to {after.optimizer[0]} at epoch "
                    f"{begin}, but a training keeps one: change only what the optimizer is given"
                )
        return cls(begins, recipes)

    def at(self, epoch: int) -> Recipe:
        """Return the recipe of an epoch, counted from 0."""
        return self.recipes[bisect_right(self.begins, epoch) - 1]
