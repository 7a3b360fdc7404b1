"""What every predictor is given and gives back, whatever it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from predictors import MEMORY, Batch, OutOfMemory, Predictor, Unscorable, combination, predictor

SAMPLES = Batch(torch.arange(7.0)[:, None], torch.arange(7))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.AlphaDropout(0.5), nn.Linear(4, 7))


def of(compute: Callable[..., Any]) -> Predictor:
    """A predictor of what a function finds in the copy of a network."""
    return predictor(cost="nothing")(lambda model, batch, loss: compute(model, batch, loss))


def spied(model: nn.Module, batch: Batch = SAMPLES) -> tuple[nn.Module, Batch, float]:
    given: list[Any] = []
    value = of(lambda *args: given.extend(args) or torch.rand(()).item())(model, batch)
    return given[0], given[1], value


@pytest.mark.parametrize(
    ("memory", "sample_bytes", "sizes"),
    [(70, 10, [7]), (69, 10, [4, 3]), (30, 10, [3, 2, 2]), (10, 10, [1] * 7), (1, 10, [1] * 7), (1, 0, [1] * 7)],
)
def test_chunks_are_as_few_as_fit_and_even(memory: int, sample_bytes: int, sizes: list[int]) -> None:
    chunks = list(Batch(SAMPLES.inputs, SAMPLES.targets, 5, memory).chunks(sample_bytes))
    assert [len(each) for each in chunks] == sizes
    assert torch.equal(torch.cat([each.inputs for each in chunks]), SAMPLES.inputs)
    assert torch.equal(torch.cat([each.targets for each in chunks]), SAMPLES.targets)
    assert {(each.seed, each.memory) for each in chunks} == {(5, memory)}


def test_chunks_have_a_least_number_of_samples() -> None:
    batch = Batch(SAMPLES.inputs, SAMPLES.targets, memory=1)
    assert [len(each) for each in batch.chunks(1, least=2)] == [3, 2, 2]
    assert [len(each) for each in batch.chunks(1, least=8)] == [7]


def test_modules_that_work_in_place_change_neither_network_nor_batch() -> None:
    model = nn.Sequential(nn.LeakyReLU(inplace=True), nn.Linear(1, 7))
    batch = Batch(-SAMPLES.inputs, SAMPLES.targets)
    first = of(lambda copied, given, loss: copied(given.inputs).sum().item() + given.inputs.sum().item())
    assert first(model, batch) == first(model, batch)
    assert torch.equal(batch.inputs, -SAMPLES.inputs) and model[0].inplace


def test_dropout_within_attention_and_recurrence_is_off() -> None:
    attention, recurrence = nn.MultiheadAttention(4, 2, dropout=0.5), nn.LSTM(4, 4, 2, dropout=0.5)
    copied = spied(nn.ModuleList([attention, recurrence]))[0]
    assert [each.dropout for each in copied] == [0, 0]  # type: ignore[attr-defined]
    assert attention.dropout == recurrence.dropout == 0.5


def test_a_batch_takes_a_gibibyte_by_default() -> None:
    assert SAMPLES.memory == MEMORY == 2**30 and SAMPLES.seed == 0 and len(SAMPLES) == 7


def test_what_is_given_is_a_copy_in_training_mode_without_gradients_and_dropout() -> None:
    model = network().eval()
    model[0].weight.grad = torch.ones(4, 1)  # type: ignore[index]
    copied, _, _ = spied(model)
    assert copied is not model and copied.training and copied[1].training  # type: ignore[index]
    assert all(parameter.grad is None for parameter in copied.parameters())
    x = torch.randn(5, 4)
    assert torch.equal(copied.train()[2](x), x) and torch.equal(copied[3](x), x)  # type: ignore[index,operator]
    with torch.no_grad():
        copied[0].weight.zero_()  # type: ignore[index,operator]
    assert model[0].weight.all() and not model.training and model[0].weight.grad.all()  # type: ignore[index,union-attr]
    assert model[2].p == 0.5  # type: ignore[index]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(dtype: torch.dtype) -> None:
    copied, batch, _ = spied(network().to(dtype), Batch(SAMPLES.inputs.to(dtype), SAMPLES.targets))
    assert {each.dtype for each in copied.parameters()} == {torch.float32} == {batch.inputs.dtype}
    assert batch.targets.dtype == torch.int64 and (batch.seed, batch.memory) == (0, MEMORY)


def test_other_precisions_stay_and_inputs_follow() -> None:
    copied, batch, _ = spied(network().double(), Batch(SAMPLES.inputs, SAMPLES.inputs))
    assert copied[0].weight.dtype == batch.inputs.dtype == batch.targets.dtype == torch.float64  # type: ignore[index]
    assert spied(nn.Embedding(7, 2), Batch(SAMPLES.targets, SAMPLES.targets))[1].inputs.dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_batch_comes_to_the_network() -> None:
    _, batch, first = spied(network().cuda())
    assert batch.inputs.is_cuda and batch.targets.is_cuda and spied(network().cuda())[2] == first


def test_random_numbers_are_those_of_the_seed_and_those_around_stay() -> None:
    state = torch.get_rng_state()
    draws = [spied(network(), Batch(SAMPLES.inputs, SAMPLES.targets, seed))[2] for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    torch.manual_seed(3)
    assert torch.rand(()).item() == draws[0]
    model = network()
    torch.set_rng_state(state)
    spied(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_are_on_inside_and_as_they_were_outside() -> None:
    with torch.no_grad():
        assert of(lambda *given: float(torch.is_grad_enabled()))(network(), SAMPLES) == 1.0
        assert not torch.is_grad_enabled()


def test_the_loss_is_cross_entropy_unless_another_is_given() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum()

    told = of(lambda model, batch, given: 1.0 if given is cross_entropy else 2.0 if given is loss else 3.0)
    assert (told(network(), SAMPLES), told(network(), SAMPLES, loss)) == (1.0, 2.0)


def failing(error: Exception) -> Callable[..., float]:
    def compute(*given: Any) -> float:
        raise error

    return compute


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        (failing(RuntimeError("of two\n  lines")), "of two lines"),
        (failing(NotImplementedError("not yet")), "not yet"),
        (failing(TypeError("no tensor")), "no tensor"),
        (failing(AttributeError("'tuple' object has no attribute 'sum'")), "'tuple' object has no"),
        (failing(Unscorable("it is flat")), "it is flat"),
        (lambda *given: math.nan, "test_predictor is nan"),
        (lambda *given: math.inf, "test_predictor is inf"),
        (lambda model, batch, loss: model(torch.zeros(2, 3)), "mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(compute: Callable[..., float], said: str) -> None:
    with pytest.raises(Unscorable, match=f"^test_predictor cannot score this network: {said}") as caught:
        of(compute)(network(), SAMPLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("tried to allocate"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        OutOfMemory("of a predictor within"),
    ],
)
def test_a_lack_of_memory_names_the_remedy(error: Exception) -> None:
    with pytest.raises(OutOfMemory, match="test_predictor ran out of memory on this network: take a smaller --memory"):
        of(failing(error))(network(), SAMPLES)


def test_what_cannot_be_scored_at_all_is_no_lack_of_memory() -> None:
    with pytest.raises(Unscorable) as caught:
        of(failing(RuntimeError("no memory of any shape")))(network(), SAMPLES)
    assert not isinstance(caught.value, OutOfMemory)


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        of(failing(ZeroDivisionError()))(network(), SAMPLES)


@pytest.mark.parametrize("targets", [6, 0])
def test_samples_need_targets(targets: int) -> None:
    with pytest.raises(Unscorable, match=f"got {7 if targets else 0} samples with {targets} targets"):
        spied(network(), Batch(SAMPLES.inputs[: 7 if targets else 0], torch.zeros(targets)))


def test_a_predictor_is_named_and_told_of_as_its_module() -> None:
    made = predictor(paper="A paper", cost="a pass", labels=True)(lambda *given: 1)
    assert (made.name, made.__doc__, made.columns) == ("test_predictor", __doc__, ("test_predictor",))
    assert (made.paper, made.cost, made.labels) == ("A paper", "a pass", True)
    assert type(made(network(), SAMPLES)) is float and made.measure(network(), SAMPLES) == {"test_predictor": 1.0}
    assert not predictor(cost="a pass")(lambda *given: 1).labels


def parts(second: float = 2.0) -> Predictor:
    """A combination whose scores are the sums of what it measures, less the least sum."""

    def pool(rows: Any) -> list[float]:
        return [sum(row) - min(map(sum, rows)) for row in rows]

    return combination(parts=("one", "two"), pool=pool, cost="a pass")(lambda *given: {"two": second, "one": 1.0})


def test_a_combination_measures_its_parts_and_scores_no_network_alone() -> None:
    found = parts().measure(network(), SAMPLES)
    assert list(found.items()) == [("test_predictor.one", 1.0), ("test_predictor.two", 2.0)]
    assert parts().columns == tuple(found)
    with pytest.raises(Unscorable, match="test_predictor ranks a network among others: measure each, and pool"):
        parts()(network(), SAMPLES)
    with pytest.raises(Unscorable, match="test_predictor cannot score this network: two is nan"):
        parts(math.nan).measure(network(), SAMPLES)


def test_scores_of_several_networks_are_pooled_from_what_was_measured_of_them_all() -> None:
    columns = {"test_predictor.one": [1.0, 5.0, None, 2.0], "test_predictor.two": [1.0, None, 9.0, 7.0]}
    assert parts().pooled(columns) == [0.0, None, None, 7.0]
    assert parts().pooled({name: [None] for name in columns}) == [None]
    alone = predictor(cost="a pass")(lambda *given: 1)
    assert alone.pooled({"test_predictor": [3.0, None], "other": [1.0, 1.0]}) == [3.0, None]
