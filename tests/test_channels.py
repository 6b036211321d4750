"""Only channels that are image are attacked, augmented and corrupted; clicks and label maps stay as they are."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedTrainer
from monai.transforms import RandGaussianNoise
from torch import nn

from monai_robust.attacks import (
    APGD,
    BIM,
    FGSM,
    FMN,
    PGD,
    AttackEnsemble,
    Square,
    WindowAttack,
    attack_curve,
    minimal_radius,
    strong_attack,
)
from monai_robust.engines import RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.perturbations import CorruptionSweep, EvaluatedBatch
from monai_robust.tasks import Classification
from monai_robust.transforms import OnChannels

SIZE = 8


class Guided(nn.Module):
    """Two classes by the weighted mean of three channels, the second of which are clicks and weighs most."""

    def forward(self, images):
        weights = torch.tensor([1.0, 5.0, -2.0]).reshape(1, 3, 1, 1)
        score = (images * weights).flatten(1).mean(dim=1, keepdim=True) - 0.05
        return torch.cat([-score, score], dim=1)


@pytest.fixture
def inputs():
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images[:, 1] = 0
    images[:, 1, 2, 2] = 1  # a click
    return images


def labels(images):
    return Guided()(images).argmax(dim=1)


ATTACKS = {
    "fgsm": lambda **more: FGSM(**more),
    "bim": lambda **more: BIM(norm="l2", **more),
    "pgd": lambda **more: PGD(random_start="ball", **more),
    "apgd": lambda **more: APGD(steps=10, **more),
    "fmn": lambda **more: FMN(steps=20, **more),
    "square": lambda **more: Square(queries=60, **more),
    "square_linf": lambda **more: Square(queries=60, norm="linf", **more),
    "ensemble": lambda **more: AttackEnsemble([PGD(**more), Square(queries=20, **more)]),
    "strong": lambda **more: strong_attack(steps=5, queries=20, **more),
}


@pytest.mark.parametrize("bounds", [(0.0, 1.0), "per_image", None], ids=["pair", "per_image", "none"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_channels_that_are_no_image(name, bounds, inputs):
    radius = 6.0 if name == "fmn" else 0.4  # FMN leaves what it does not break
    attack = ATTACKS[name](channels=[0, 2], bounds=bounds)
    found = attack(Guided(), inputs, labels(inputs), radius, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found[:, 1], inputs[:, 1])
    assert not torch.equal(found[:, [0, 2]], inputs[:, [0, 2]])
    assert (attack.norm.size(found - inputs) <= radius * (1 + 1e-5)).all()
    every = ATTACKS[name](bounds=bounds)(
        Guided(), inputs, labels(inputs), radius, generator=torch.Generator().manual_seed(0)
    )
    assert not torch.equal(every[:, 1], inputs[:, 1]), "without channels the clicks are attacked"


def test_the_range_of_an_image_is_that_of_its_own_channels(inputs):
    inputs[:, 1, 2, 2] = 100.0  # a channel of another unit
    found = PGD(channels=[0, 2], bounds="per_image")(Guided(), inputs, labels(inputs), 50.0)
    high = inputs[:, [0, 2]].flatten(1).amax(dim=1)
    assert (found[:, [0, 2]].flatten(1).amax(dim=1) <= high + 1e-6).all()


def test_padding_and_channels_go_together(inputs):
    mask = torch.ones(4, 1, SIZE, SIZE, dtype=torch.bool)
    mask[..., 6:] = False
    found = PGD(channels=[0], bounds=None)(Guided(), inputs, labels(inputs), 0.5, mask=mask)
    changed = (found != inputs).any(dim=0)
    assert not changed[1:].any()
    assert not changed[0, :, 6:].any()
    assert changed[0, :, :6].any()


def test_searches_for_radii_leave_the_other_channels(inputs):
    curve = attack_curve(Guided(), inputs, labels(inputs), [0.5, 2.0, 6.0], attack=PGD(channels=[0, 2], steps=5))
    assert curve.broken[-1].all()
    assert torch.equal(curve.adversarial(6.0)[:, 1], inputs[:, 1])
    for method in ("bisection", "minimum_norm"):
        least = minimal_radius(Guided(), inputs, labels(inputs), high=6.0, attack=PGD(channels=[0, 2]), method=method)
        assert least.found.all()
        assert torch.equal(least.adversarial[:, 1], inputs[:, 1])


def test_windows_leave_the_other_channels(inputs):
    class Pixels(nn.Module):
        def forward(self, images):
            return torch.cat([images[:, :1] - images[:, 1:2], images[:, 2:] + images[:, 1:2]], dim=1)

    from monai_robust.tasks import Segmentation

    masks = torch.randint(2, (4, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    attack = WindowAttack(PGD(channels=[0, 2], steps=3, bounds="per_image"), (4, 4))
    found = attack(Pixels(), inputs, masks, 0.5, task=Segmentation())
    assert torch.equal(found[:, 1], inputs[:, 1])
    assert not torch.equal(found, inputs)


def test_the_table_of_an_attack_says_which_channels():
    assert PGD(channels=[1]).settings()["channels"] == [1]
    assert "channels" not in PGD().settings()
    assert "channels=[1]" in repr(PGD(channels=[1]))


@pytest.mark.parametrize("channels", [[], [0, 0], [-1], ["a"], 1.5, [True]])
def test_channels_that_are_none_are_refused(channels):
    with pytest.raises(BadInputError, match="channels is"):
        PGD(channels=channels)


def test_channels_that_the_input_does_not_have_are_refused(inputs):
    with pytest.raises(BadInputError, match="the inputs have the channels 0 to 2"):
        PGD(channels=[3])(Guided(), inputs, labels(inputs), 0.5)
    with pytest.raises(BadInputError, match="the image has the channels 0 to 2"):
        OnChannels(lambda image: image, [3])(inputs[0])


def test_members_of_an_ensemble_have_the_same_channels():
    with pytest.raises(BadInputError, match="channels"):
        AttackEnsemble([PGD(channels=[0]), PGD()])


def test_a_corruption_leaves_the_other_channels(inputs):
    evaluated = EvaluatedBatch(Guided(), inputs, labels(inputs), Classification(), list("abcd"), 0)
    found = CorruptionSweep("gaussian", [0.1], channels=[0, 2]).apply(0.1, evaluated)
    assert torch.equal(found[:, 1], inputs[:, 1])
    assert not torch.equal(found[:, 0], inputs[:, 0])
    with pytest.raises(BadInputError, match="the inputs have the channels 0 to 2"):
        CorruptionSweep("gaussian", [0.1], channels=[5]).apply(0.1, evaluated)


def test_a_view_leaves_the_other_channels_and_draws_as_it_is_seeded(inputs):
    view = OnChannels(RandGaussianNoise(prob=1.0, std=0.5), [0, 2])
    image = MetaTensor(inputs[0], meta={"filename_or_obj": "a"})
    first = view.set_random_state(3)(image)
    assert isinstance(first, MetaTensor)
    assert first.meta["filename_or_obj"] == "a"
    assert torch.equal(first[1], image[1])
    assert not torch.equal(first[0], image[0])
    assert torch.equal(image, MetaTensor(inputs[0])), "the image itself is not written into"
    assert torch.equal(view.set_random_state(3)(image), first)
    with pytest.raises(BadInputError, match="cannot follow"):
        OnChannels(lambda x: x[:, 1:], [0])(inputs[0])


def update_of(recipe, **more):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = [
        {"image": torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(i)), "label": i % 2}
        for i in range(8)
    ]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate(recipe, **more),
        decollate=False,
    )


@pytest.mark.parametrize("recipe", ["rtda", "robustaugmix", "sat"])
def test_a_recipe_leaves_the_other_channels_in_every_view(recipe):
    seen = []
    view = RandGaussianNoise(prob=1.0, std=0.5)
    trainer = update_of(recipe, attack=PGD(eps=1.0, steps=2, channels=[0, 2]), views={"aug": view}, channels=[0, 2])
    trainer.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()[:, 1]))
    trainer.run()
    clicks = {index: torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(index))[1] for index in range(8)}
    for batch in seen:
        assert all(any(torch.equal(image, click) for click in clicks.values()) for image in batch)
    changed = trainer.state.output["adv_image"] != trainer.state.output["image"]
    assert changed[:, [0, 2]].any()


def test_an_attack_on_other_channels_than_the_views_is_refused():
    with pytest.raises(BadInputError, match=r"channels are \[0\], and those of the attack all"):
        RobustUpdate("sat", PGD(eps=1.0), channels=[0])
    with pytest.raises(BadInputError, match=r"--robust#attack#channels"):
        RobustUpdate("sat", PGD(eps=1.0, channels=[1]), channels=[0])
    RobustUpdate("dataaug", views={"aug": lambda image: image}, channels=[0])  # which attacks nothing
