"""A recipe put around a trainer's own iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer

from monai_robust.attacks import PGD
from monai_robust.engines import AroundIteration, RobustUpdate
from monai_robust.engines.around_iteration import takes_loss_once
from monai_robust.errors import BadInputError

ITEMS = [{"image": torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(i)), "label": i % 3} for i in range(12)]


def plain_iteration(engine: Any, batchdata: Any) -> dict[str, Any]:
    inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
    engine.network.train()
    engine.optimizer.zero_grad()
    outputs = engine.inferer(inputs, engine.network)
    loss = engine.loss_function(outputs, targets)
    loss.backward()
    engine.optimizer.step()
    return {"image": inputs, "label": targets, "pred": outputs, "loss": loss}


def clipped_iteration(engine: Any, batchdata: Any) -> dict[str, Any]:
    inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
    engine.network.train()
    engine.optimizer.zero_grad()
    outputs = engine.network(2 * inputs)
    loss = engine.loss_function(outputs, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(engine.network.parameters(), 0.1)
    engine.optimizer.step()
    return {"image": inputs, "label": targets, "pred": outputs, "loss": loss}


def twice(engine: Any, batchdata: Any) -> Any:
    plain_iteration(engine, batchdata)
    return plain_iteration(engine, batchdata)


def never(engine: Any, batchdata: Any) -> Any:
    return {}


def train(
    update: Callable[[Any, Any], Any], norm: type[torch.nn.Module] = torch.nn.BatchNorm2d
) -> tuple[dict[str, torch.Tensor], Any]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), norm(4), torch.nn.Flatten(), torch.nn.Linear(64, 3))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(ITEMS, batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        loss_function=torch.nn.CrossEntropyLoss(),
        iteration_update=update,
        decollate=False,
    )
    trainer.run()
    assert isinstance(trainer.loss_function, torch.nn.CrossEntropyLoss)
    assert not network._forward_pre_hooks
    return network.state_dict(), trainer.state.output


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("iteration", [plain_iteration, clipped_iteration])
def test_erm_ends_with_the_weights_of_the_iteration_alone(iteration: Callable[[Any, Any], Any]) -> None:
    alone, _ = train(iteration)
    assert_equal(alone, train(AroundIteration("erm", iteration=iteration))[0])


@pytest.mark.parametrize("recipe", ["at", "sat", "rtda", "advl"])
def test_around_monais_iteration_a_recipe_does_what_it_does_by_itself(recipe: str) -> None:
    attack = PGD(eps=0.5, steps=3, bounds="per_image")
    views = {"aug": lambda x: x + 0.1}
    norm = torch.nn.InstanceNorm2d  # without running statistics, which the clean pass moves before the attack here
    expected, told = train(RobustUpdate(recipe, attack, views=views, shared_forward=False), norm)
    found, also = train(AroundIteration(recipe, attack, views=views, iteration=plain_iteration), norm)
    assert all(torch.allclose(value, found[name], atol=1e-6) for name, value in expected.items())
    assert {"adv_image", "adv_pred", "eps", "adv_norm", "adv_loss"} <= set(also) & set(told)
    assert (also["adv_norm"] <= 0.5 * (1 + 1e-5)).all()


def test_the_attack_is_on_what_the_network_was_given() -> None:
    _, output = train(AroundIteration("sat", PGD(eps=0.5, steps=3, bounds=None), iteration=clipped_iteration))
    distance = (output["adv_image"] - 2 * output["image"]).flatten(1).norm(dim=1)
    torch.testing.assert_close(distance, output["adv_norm"])
    assert (distance > 0.4).all()


@pytest.mark.parametrize(("iteration", "times"), [(twice, "more than once|runs its network"), (never, "0 times")])
def test_an_iteration_of_other_form_is_refused_while_it_trains(iteration: Any, times: str) -> None:
    with pytest.raises(BadInputError, match=times):
        train(AroundIteration("sat", PGD(eps=0.5, steps=1), iteration=iteration))


def test_whether_an_iteration_takes_its_loss_once_is_read_from_its_text() -> None:
    assert takes_loss_once(plain_iteration)
    assert takes_loss_once(clipped_iteration)
    assert not takes_loss_once(twice)
    assert not takes_loss_once(never)
    assert not takes_loss_once(print)
