"""Images of different sizes as one padded batch: what is padding stays as it is and does not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TinyNet
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import Tensor, nn

from monai_robust.attacks import PGD, WindowAttack
from monai_robust.attacks.threat import L2, Linf
from monai_robust.data import padded_batch
from monai_robust.engines import RobustUpdate, UnderAttack
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, read_outcomes
from monai_robust.tasks import Classification, LossTask

SIZES = [(5, 7), (8, 4), (8, 7), (2, 3)]
LABELS = torch.tensor([0, 1, 2, 1])
RADII = torch.tensor([0.3, 0.7, 1.1, 0.2])


def pictures(sizes: Sequence[tuple[int, ...]] = SIZES, channels: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [0.05 + 0.9 * torch.rand(channels, *size, generator=generator) for size in sizes]


class Pointwise(nn.Module):
    """Looks at every pixel by itself and adds up: padding does not matter where it is told of a mask."""

    def __init__(self, mask: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv = nn.Conv2d(2, 3, 1)
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        found = torch.tanh(3 * self.conv(x))
        return (found if self.mask is None else found * self.mask).flatten(2).sum(dim=2)


def plain_sum(outputs: Tensor, targets: Any) -> Tensor:
    """A loss whose gradient at a pixel does not depend on other pixels."""
    return (outputs * torch.tensor([1.0, -2.0, 0.5])).sum()


def attack_alone(attack: PGD, images: list[Tensor], labels: Tensor = LABELS, task: Any = None) -> list[Tensor]:
    network = Pointwise()
    return [
        attack(network, images[i][None], labels[i : i + 1], RADII[i : i + 1], task=task)[0] for i in range(len(images))
    ]


def cut(batch: Tensor, images: Sequence[Tensor]) -> list[Tensor]:
    return [
        one[(slice(None), *(slice(side) for side in image.shape[1:]))] for one, image in zip(batch, images, strict=True)
    ]


# --- the batch -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divisible", [1, 4, (4, 6)])
def test_images_are_padded_at_the_end_of_each_axis_and_the_mask_says_where(divisible):
    images = pictures()
    batch, mask = padded_batch(images, divisible=divisible, value=-7.0)
    sides = {1: (8, 7), 4: (8, 8), (4, 6): (8, 12)}[divisible]
    assert batch.shape == (4, 2, *sides)
    assert mask.shape == (4, 1, *sides)
    assert mask.dtype == torch.bool
    for index, image in enumerate(images):
        width, height = image.shape[1:]
        assert torch.equal(batch[index, :, :width, :height], image)
        assert int(mask[index].sum()) == width * height
        assert bool(mask[index, :, :width, :height].all())
    assert bool((batch[~mask.expand_as(batch)] == -7.0).all())


@pytest.mark.parametrize("sizes", [[(4,), (6,)], [(2, 3, 4), (4, 3, 2)]], ids=["1-D", "3-D"])
def test_images_of_any_dimension_are_padded(sizes):
    images = pictures(sizes)
    batch, mask = padded_batch(images)
    for one, image in zip(cut(batch, images), images, strict=True):
        assert torch.equal(one, image)
    assert mask.flatten(1).sum(dim=1).tolist() == [image[0].numel() for image in images]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8])
def test_a_padded_batch_keeps_the_dtype(dtype):
    assert padded_batch([torch.ones(1, 2, 2, dtype=dtype), torch.ones(1, 3, 1, dtype=dtype)])[0].dtype == dtype


def test_padding_copies_and_leaves_the_images_alone():
    images = pictures()
    batch, _ = padded_batch(images)
    batch.zero_()
    assert all(float(image.min()) > 0 for image in images)


def test_what_cannot_be_one_batch_is_refused():
    with pytest.raises(BadInputError, match="no images"):
        padded_batch([])
    with pytest.raises(BadInputError, match=r"equal channels.*\(1, 4, 4\).*\(3, 4, 4\)"):
        padded_batch([torch.zeros(1, 4, 4), torch.zeros(3, 4, 4)])
    with pytest.raises(BadInputError, match="equal channels"):
        padded_batch([torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, 4)])
    with pytest.raises(BadInputError, match="equal channels"):
        padded_batch([torch.zeros(4)])


# --- attacks ---------------------------------------------------------------------------------------------------------

BOUNDS = [None, (0, 1), "per_image"]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("goal", ["untargeted", "least_likely", 1])
def test_a_padded_image_gets_the_adversarial_of_the_image_itself(norm, bounds, goal):
    images = pictures()
    attack = PGD(norm=norm, steps=5, bounds=bounds, goal=goal)
    batch, mask = padded_batch(images, value=-3.0)
    made = attack(Pointwise(mask), batch, LABELS, RADII, mask=mask)
    for one, alone, image in zip(cut(made, images), attack_alone(attack, images), images, strict=True):
        torch.testing.assert_close(one, alone, rtol=0, atol=2e-5)
        assert not torch.equal(one, image)
    outside = ~mask.expand_as(batch)
    assert torch.equal(made[outside], batch[outside])


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_what_a_network_sees_in_padding_neither_moves_it_nor_shortens_a_step(norm, bounds):
    images = pictures()
    attack = PGD(norm=norm, steps=5, bounds=bounds)
    task = LossTask(plain_sum)
    batch, mask = padded_batch(images, divisible=16, value=0.4)  # where the gradient in padding is large
    made = attack(Pointwise(), batch, LABELS, RADII, task=task, mask=mask)
    alone = attack_alone(attack, images, task=task)
    for one, other in zip(cut(made, images), alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
    unmasked = attack(Pointwise(), batch, LABELS, RADII, task=task)
    outside = ~mask.expand_as(batch)
    assert torch.equal(made[outside], batch[outside])
    assert not torch.equal(unmasked[outside], batch[outside])  # so that the mask is what kept it


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("start", [False, "ball", "sphere"])
@pytest.mark.parametrize("generators", ["none", "one", "each"])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_start_keeps_the_radius_and_the_padding(norm, start, generators, dims):
    batch, mask = padded_batch(pictures([(4, 6, 3)[:dims], (6, 2, 5)[:dims]], 1))
    made_by = {
        "none": None,
        "one": torch.Generator().manual_seed(1),
        "each": [torch.Generator().manual_seed(seed) for seed in (1, 2)],
    }[generators]
    eps = torch.tensor([0.05, 0.8])
    attack = PGD(norm=norm, steps=3, bounds=(0, 1), random_start=start)
    made = attack(TinyNet(dims=dims), batch, LABELS[:2], eps, generator=made_by, mask=mask)
    delta = made - batch
    assert not delta[~mask].any()
    sizes = (L2 if norm == "l2" else Linf)().size(delta)
    assert bool((sizes <= eps * (1 + 1e-5)).all())
    assert bool((sizes > 0.3 * eps).all())
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize("norm", [L2(), Linf()], ids=lambda norm: norm.name)
def test_a_start_on_the_sphere_has_the_radius_within_the_mask(norm):
    mask = torch.zeros(200, 1, 4, 4, dtype=torch.bool)
    mask[..., :2, :1] = True
    eps = torch.linspace(0.1, 2.0, 200)
    drawn = norm.sample(torch.zeros(200, 1, 4, 4), eps, torch.Generator().manual_seed(1), surface=True, mask=mask)
    torch.testing.assert_close(norm.size(drawn), eps)
    assert not drawn[~mask].any()


@pytest.mark.parametrize("norm", [L2(), Linf()], ids=lambda norm: norm.name)
@pytest.mark.parametrize("entries", [1, 2, 5])
def test_a_start_in_the_ball_is_uniform_in_the_ball_of_the_image_alone(norm, entries):
    like = torch.zeros(4000, 1, 30)
    mask = torch.zeros_like(like, dtype=torch.bool)
    mask[..., :entries] = True
    drawn = norm.sample(like, torch.full((4000,), 2.0), torch.Generator().manual_seed(3), surface=False, mask=mask)
    shares = norm.size(drawn) / 2.0
    # In a ball of d dimensions the share of the radius has the mean d / (d + 1), and its d-th power the mean 1/2.
    assert float(shares.mean()) == pytest.approx(entries / (entries + 1), abs=0.02)
    assert float((shares**entries).mean()) == pytest.approx(0.5, abs=0.02)
    assert not drawn[~mask].any()


def test_a_random_start_of_each_samples_own_does_not_depend_on_its_neighbours():
    batch, mask = padded_batch(pictures())
    attack = PGD(steps=2, random_start="ball")
    order = [2, 0, 3]

    def starts(indices):
        return [torch.Generator().manual_seed(100 + index) for index in indices]

    together = attack(Pointwise(mask), batch, LABELS, RADII, generator=starts(range(4)), mask=mask)
    others = attack(
        Pointwise(mask[order]), batch[order], LABELS[order], RADII[order], generator=starts(order), mask=mask[order]
    )
    torch.testing.assert_close(others, together[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("start", [False, "ball", "sphere"])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_a_mask_without_padding_changes_nothing_at_all(network, batch, norm, start, bounds):
    x, y = batch
    attack = PGD(norm=norm, eps=0.4, steps=3, bounds=bounds, random_start=start)
    results = [
        attack(network, x, y, generator=torch.Generator().manual_seed(5), **masked)
        for masked in ({}, {"mask": torch.ones(len(x), 1, *x.shape[2:])})
    ]
    assert torch.equal(*results)


MASKS: dict[str, Callable[[Tensor], Any]] = {
    "float": lambda mask: mask.float(),
    "uint8": lambda mask: mask.to(torch.uint8),
    "for every channel": lambda mask: mask.expand(-1, 2, -1, -1),
    "MetaTensor": MetaTensor,
    "array": lambda mask: mask.numpy(),
}


@pytest.mark.parametrize("form", list(MASKS))
def test_masks_may_come_in_every_usual_form(form):
    batch, mask = padded_batch(pictures())
    attack = PGD(steps=2)
    expected = attack(Pointwise(), batch, LABELS, RADII, mask=mask)
    assert torch.equal(attack(Pointwise(), batch, LABELS, RADII, mask=MASKS[form](mask)), expected)


def test_padding_survives_half_precision_metadata_and_training_mode(network):
    images = pictures(channels=1)
    batch, mask = padded_batch(images, value=0.1)
    for inputs in (batch.bfloat16(), MetaTensor(batch)):
        model = network.to(inputs.dtype)
        made = PGD(eps=0.5, steps=2, mode="train", random_start=True)(model, inputs, LABELS, mask=mask)
        assert type(made) is type(inputs)
        assert made.dtype == inputs.dtype
        assert torch.equal(torch.as_tensor(made)[~mask], torch.as_tensor(inputs)[~mask])
        network.float()


def test_only_the_image_must_lie_within_the_bounds():
    batch, mask = padded_batch(pictures(), value=-5.0)
    attack = PGD(steps=2, bounds=(0, 1))
    made = attack(Pointwise(mask), batch, LABELS, RADII, mask=mask)
    inside = mask.expand_as(made)
    assert made[inside].min() >= 0
    assert made[inside].max() <= 1
    with pytest.raises(BadInputError, match="range from -5 to"):
        attack(Pointwise(mask), batch, LABELS, RADII)
    batch[0, 0, 0, 0] = 1.5
    with pytest.raises(BadInputError, match=r"to 1\.5, outside the attack's bounds"):
        attack(Pointwise(mask), batch, LABELS, RADII, mask=mask)


def test_the_range_of_an_image_is_that_of_its_own_pixels():
    images = [0.2 + 0.1 * image for image in pictures()]
    batch, mask = padded_batch(images, value=0.0)
    made = PGD(norm="linf", eps=1.0, steps=3, bounds="per_image")(Pointwise(mask), batch, LABELS, mask=mask)
    for one, image in zip(cut(made, images), images, strict=True):
        assert one.min() >= image.min()
        assert one.max() <= image.max()


BAD_MASKS = {
    "another size": torch.ones(4, 1, 8, 8, dtype=torch.bool),
    "no channel": torch.ones(4, 8, 7, dtype=torch.bool),
    "too many channels": torch.ones(4, 3, 8, 7, dtype=torch.bool),
    "not spatial": torch.ones(4, 1, 1, 1, dtype=torch.bool),
}


@pytest.mark.parametrize("kind", list(BAD_MASKS))
def test_a_mask_of_another_shape_is_refused_with_both_shapes(kind):
    batch, _ = padded_batch(pictures())
    shape = str(tuple(BAD_MASKS[kind].shape))
    with pytest.raises(BadInputError) as caught:
        PGD(eps=1.0)(Pointwise(), batch, LABELS, mask=BAD_MASKS[kind])
    assert shape in str(caught.value)
    assert "(4, 2, 8, 7)" in str(caught.value)


def test_a_sample_without_any_image_is_refused():
    batch, mask = padded_batch(pictures())
    mask[2] = False
    with pytest.raises(BadInputError, match="false everywhere"):
        PGD(eps=1.0)(Pointwise(), batch, LABELS, mask=mask)


# --- attacks window by window ----------------------------------------------------------------------------------------


def labels_of(batch: Tensor) -> Tensor:
    return (batch[:, :1] > 0.5).long()


def dense_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets[:, 0], reduction="sum")


def windows(norm: str = "l2", overlap: float = 0.0, **keywords: Any) -> WindowAttack:
    return WindowAttack(
        PGD(norm=norm, eps=0.5, steps=3, task=LossTask(dense_loss), **keywords), (4, 4), overlap=overlap
    )


def pixelwise() -> nn.Module:
    torch.manual_seed(2)
    return nn.Conv2d(2, 2, 1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_windows_of_a_padded_image_are_attacked_as_those_of_the_image(norm):
    images = pictures([(8, 4), (4, 12), (8, 12)])
    batch, mask = padded_batch(images, value=0.5)
    made = windows(norm)(pixelwise(), batch, labels_of(batch), mask=mask)
    for one, image in zip(cut(made, images), images, strict=True):
        alone = windows(norm)(pixelwise(), image[None], labels_of(image[None]))[0]
        torch.testing.assert_close(one, alone, rtol=0, atol=1e-5)
        assert not torch.equal(one, image)
    outside = ~mask.expand_as(batch)
    assert torch.equal(made[outside], batch[outside])


@pytest.mark.parametrize("start", [False, "ball"])
def test_overlapping_windows_leave_padding_alone(start):
    images = pictures([(7, 5), (9, 11)])
    batch, mask = padded_batch(images, divisible=16, value=0.5)
    made = windows(overlap=0.5, random_start=start)(pixelwise(), batch, labels_of(batch), mask=mask)
    outside = ~mask.expand_as(batch)
    assert torch.equal(made[outside], batch[outside])
    assert all(not torch.equal(one, image) for one, image in zip(cut(made, images), images, strict=True))


def test_a_mask_without_padding_changes_no_window():
    batch = torch.stack(pictures([(8, 8), (8, 8)]))
    results = [
        windows(overlap=0.5)(pixelwise(), batch, labels_of(batch), **masked)
        for masked in ({}, {"mask": torch.ones(2, 1, 8, 8, dtype=torch.bool)})
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-7)


# --- engines ---------------------------------------------------------------------------------------------------------


class Spy:
    """An attack that remembers what masks it was given."""

    def __init__(self, attack: PGD) -> None:
        self.attack = attack
        self.norm, self.eps = attack.norm, attack.eps
        self.masks: list[Any] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> Tensor:
        self.masks.append(keywords.get("mask"))
        return self.attack(*arguments, **keywords)


def as_lists(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "image": [row["image"] for row in rows],
        "label": torch.tensor([row["label"] for row in rows]),
        "sample_id": [row["sample_id"] for row in rows],
    }


def lists_to_device(batch: Any, device: Any, non_blocking: bool = False, **keywords: Any) -> tuple[Any, Any]:
    return [image.to(device) for image in batch["image"]], batch["label"].to(device)


def rows(padded: bool) -> list[dict[str, Any]]:
    images = pictures(channels=2)
    if not padded:
        return [{"image": image, "label": int(LABELS[i]), "sample_id": f"s{i}"} for i, image in enumerate(images)]
    batch, mask = padded_batch(images)
    return [
        {"image": batch[i], "image_mask": mask[i], "label": int(LABELS[i]), "sample_id": f"s{i}"}
        for i in range(len(images))
    ]


def loader(padded: bool) -> DataLoader:
    return DataLoader(rows(padded), batch_size=4, **({} if padded else {"collate_fn": as_lists}))


def outputs_of(padded: bool, attack: Any, *, training: bool, network: nn.Module | None = None, **keywords: Any) -> Any:
    """What the engine's iteration put out for the only batch."""
    network = Pointwise() if network is None else network
    shared = {
        "device": torch.device("cpu"),
        "network": network,
        "decollate": False,
        **({} if padded else {"prepare_batch": lists_to_device}),
    }
    if training:
        engine = SupervisedTrainer(
            max_epochs=1,
            train_data_loader=loader(padded),
            optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
            loss_function=nn.CrossEntropyLoss(),
            iteration_update=RobustUpdate("advl", attack, **keywords),
            **shared,
        )
    else:
        engine = SupervisedEvaluator(
            val_data_loader=loader(padded), iteration_update=UnderAttack(attack, **keywords), **shared
        )
    engine.run()
    return engine.state.output


@pytest.mark.parametrize("training", [True, False], ids=["RobustUpdate", "UnderAttack"])
@pytest.mark.parametrize("padded", [True, False], ids=["image_mask", "list"])
def test_engines_tell_the_attack_where_there_is_image(training, padded):
    spy = Spy(PGD(eps=0.6, steps=2))
    output = outputs_of(padded, spy, training=training)
    batch, mask = padded_batch(pictures())
    assert torch.equal(output["image"], batch)
    assert len(spy.masks) == 1
    assert torch.equal(spy.masks[0], mask)
    expected = PGD(eps=0.6, steps=2)(Pointwise(), batch, LABELS, mask=mask)
    torch.testing.assert_close(output["adv_image"], expected)
    outside = ~mask.expand_as(batch)
    assert torch.equal(output["adv_image"][outside], batch[outside])
    torch.testing.assert_close(output["adv_norm"], torch.full((4,), 0.6), rtol=1e-3, atol=0)
    assert output["eps"].tolist() == pytest.approx([0.6] * 4)
    assert output["pred"].shape == (4, 3)


@pytest.mark.parametrize("training", [True, False], ids=["RobustUpdate", "UnderAttack"])
def test_lists_are_padded_to_what_the_network_divides(training):
    network = Pointwise()
    network.size_divisible = (4, 16)  # as MONAI's RetinaNet has it
    output = outputs_of(False, PGD(eps=0.6, steps=1), training=training, network=network)
    assert output["image"].shape == (4, 2, 8, 16)
    assert torch.equal(output["image"], output["image"] * padded_batch(pictures(), divisible=(4, 16))[1])


def test_batches_without_a_mask_reach_attacks_that_know_of_none():
    def halves(network, inputs, targets, eps=None, *, task=None):
        return inputs / 2

    data = [{"image": image, "label": 0} for image in pictures([(4, 4)] * 2)]
    engine = SupervisedEvaluator(
        device=torch.device("cpu"),
        network=Pointwise(),
        val_data_loader=DataLoader(data, batch_size=2),
        iteration_update=UnderAttack(halves),
        decollate=False,
    )
    engine.run()
    assert torch.equal(engine.state.output["adv_image"], engine.state.output["image"] / 2)


def test_a_recipe_without_attack_trains_on_lists_as_on_the_padded_batch():
    results = []
    for padded in (True, False):
        network = Pointwise()
        engine = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=2,
            train_data_loader=loader(padded),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=nn.CrossEntropyLoss(),
            iteration_update=RobustUpdate("erm"),
            **({} if padded else {"prepare_batch": lists_to_device}),
        )
        engine.run()
        results.append(network.conv.weight.detach().clone())
    assert torch.equal(*results)


# --- measurements ----------------------------------------------------------------------------------------------------


class Padded:
    """Padded images in memory."""

    def __init__(self, value: float = 0.0, divisible: int = 1) -> None:
        batch, mask = padded_batch(pictures(channels=1), value=value, divisible=divisible)
        self.items = [
            {"image": batch[i], "image_mask": mask[i], "label": int(LABELS[i]), "sample_id": f"s{i}", "patient_id": "p"}
            for i in range(len(batch))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class Watching(TinyNet):
    """Keeps every batch it is shown without gradients: what a measurement measures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            self.seen.append(x.clone())
        return super().forward(x)


def measured(folder, sweeps, value: float = 0.0, divisible: int = 1):
    torch.manual_seed(1)
    network = Watching()
    Measurement(
        network,
        Padded(value, divisible),
        task=Classification(),
        perturbations=[CleanSweep(), *sweeps],
        output_dir=folder,
        name="padded",
        classes=["a", "b", "c"],
        batch_size=2,
        progress=False,
    ).run()
    return network.seen, read_outcomes(folder / "outcomes.csv").set_index("sample_id")


SWEEPS = {
    "attack": lambda: AttackSweep(PGD(steps=2, random_start="ball", bounds=(0, 1)), [0.4], faithful=True),
    "linf": lambda: AttackSweep(
        PGD(norm="linf", steps=2, random_start="sphere", bounds="per_image"), [0.1], faithful=True
    ),
    "gaussian": lambda: CorruptionSweep("gaussian", [0.3]),
    "speckle": lambda: CorruptionSweep("speckle", [0.3]),
    "salt": lambda: CorruptionSweep("salt_and_pepper", [0.5]),
    "low": lambda: CorruptionSweep("contrast_low", [0.5]),
    "high": lambda: CorruptionSweep("contrast_high", [2.0]),
}


@pytest.mark.parametrize("name", list(SWEEPS))
def test_no_sweep_of_a_measurement_touches_padding(tmp_path, name):
    seen, table = measured(tmp_path, [SWEEPS[name]()], value=0.3)
    data = Padded(0.3)
    batch = torch.stack([item["image"] for item in data.items])
    outside = ~torch.stack([item["image_mask"] for item in data.items])
    batches = [one for one in seen if len(one) == 2]  # without those of single samples that probe the network
    changed = torch.cat(batches[3:5])  # after one that probes the network, and the two clean ones
    assert torch.equal(changed[outside], batch[outside])
    assert bool(((changed - batch).flatten(1).norm(dim=1) > 0).all())
    rows = table[table["perturbation"] != "clean"]
    size = Linf() if name == "linf" else L2()
    np.testing.assert_allclose(rows["distance"], size.size(changed - batch), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.9])
def test_the_contrast_of_an_image_does_not_count_its_padding(tmp_path, value):
    _, table = measured(tmp_path, [], value=value)
    expected = [float(image.double().std(correction=0)) for image in pictures(channels=1)]
    np.testing.assert_allclose(table["contrast"], expected, rtol=1e-5)


# --- odd masks, odd batches, and padding that must not count ---------------------------------------------------------


def test_images_of_different_dtypes_lose_nothing():
    try:
        batch, _ = padded_batch([torch.zeros(1, 2, 2, dtype=torch.uint8), torch.full((1, 2, 2), 0.5)])
    except BadInputError:
        return
    assert float(batch[1].float().mean()) == 0.5


@pytest.mark.parametrize("divisible", [[2], [2, 2, 2], 0])
def test_factors_that_cannot_be_are_refused(divisible):
    with pytest.raises(BadInputError, match="divisible"):
        padded_batch([torch.zeros(1, 3, 3)], divisible=divisible)


def test_images_of_a_list_keep_their_own_metadata():
    files = [f"image{index}.png" for index in range(4)]
    data = [
        {**row, "image": MetaTensor(row["image"], meta={"filename_or_obj": file})}
        for row, file in zip(rows(False), files, strict=True)
    ]
    engine = SupervisedEvaluator(
        device=torch.device("cpu"),
        network=Pointwise(),
        val_data_loader=DataLoader(data, batch_size=4, collate_fn=as_lists),
        prepare_batch=lists_to_device,
        iteration_update=UnderAttack(PGD(eps=0.1, steps=1)),
    )
    engine.run()
    found = [getattr(output["pred"], "meta", {}).get("filename_or_obj") for output in engine.state.output]
    assert found in ([None] * 4, files)


@pytest.mark.parametrize("length", [1, 3])
def test_a_mask_for_another_number_of_samples_is_refused(length):
    batch, _ = padded_batch(pictures())
    with pytest.raises(BadInputError, match="the mask has shape"):
        PGD(eps=1.0, steps=1)(Pointwise(), batch, LABELS, mask=torch.ones(length, 1, 8, 7))


@pytest.mark.parametrize("kind", ["larger", "no channel", "all false", "one all false"])
def test_window_attacks_refuse_the_masks_that_attacks_refuse(kind):
    batch = torch.stack(pictures([(8, 8), (8, 8)]))
    masks = {
        "larger": torch.ones(2, 1, 10, 10, dtype=torch.bool),
        "no channel": torch.ones(2, 8, 8, dtype=torch.bool),
        "all false": torch.zeros(2, 1, 8, 8, dtype=torch.bool),
        "one all false": torch.tensor([True, False]).view(2, 1, 1, 1).expand(2, 1, 8, 8),
    }
    with pytest.raises(BadInputError, match="the mask"):
        windows()(pixelwise(), batch, labels_of(batch), mask=masks[kind])


def test_window_attacks_do_not_ask_padding_to_lie_within_the_bounds():
    batch, mask = padded_batch(pictures([(8, 4), (8, 12)]), value=-5.0)
    made = windows(bounds=(0, 1))(pixelwise(), batch, labels_of(batch), mask=mask)
    assert made[mask.expand_as(made)].min() >= 0


def test_gradients_in_padding_do_not_matter_even_where_there_are_none():
    class Length(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(dim=1).sqrt().flatten(1).sum(dim=1, keepdim=True)

    images = pictures()
    batch, mask = padded_batch(images)
    task = LossTask(lambda outputs, targets: outputs.sum())
    made = PGD(eps=0.1, steps=2)(Length(), batch, LABELS, task=task, mask=mask)
    for one, image in zip(cut(made, images), images, strict=True):
        alone = PGD(eps=0.1, steps=2)(Length(), image[None], LABELS[:1], task=task)[0]
        torch.testing.assert_close(one, alone)


@pytest.mark.parametrize("start", ["ball", "sphere"])
def test_the_own_start_of_a_sample_does_not_depend_on_the_size_of_its_batch(start):
    images = pictures()
    attack = PGD(steps=1, random_start=start, step_size=1e-6)
    made = []
    for divisible in (1, 16):
        batch, mask = padded_batch(images, divisible=divisible)
        own = [torch.Generator().manual_seed(index) for index in range(4)]
        made.append(cut(attack(Pointwise(mask), batch, LABELS, RADII, generator=own, mask=mask), images))
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_view_may_be_a_list_as_the_images_are():
    def with_view(given):
        return {**as_lists(given), "aug": [1 - row["image"] for row in given]}

    network = Pointwise()
    engine = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(rows(False), batch_size=4, collate_fn=with_view),
        prepare_batch=lists_to_device,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=RobustUpdate("dataaug"),
    )
    engine.run()


def test_an_attack_that_cannot_take_a_mask_is_refused_in_a_sentence():
    def halves(network, inputs, targets, eps=None, *, task=None):
        return inputs / 2

    with pytest.raises(BadInputError, match="mask"):
        outputs_of(False, halves, training=False)


def test_the_norm_of_an_image_does_not_count_its_padding(tmp_path):
    _, table = measured(tmp_path, [], value=0.9)
    np.testing.assert_allclose(table["input_norm"], [float(image.norm()) for image in pictures(channels=1)], rtol=1e-5)


@pytest.mark.parametrize("name", ["contrast_low", "contrast_high"])
def test_what_a_corruption_makes_of_an_image_does_not_depend_on_its_padding(tmp_path, name):
    severity = {"contrast_low": 0.5, "contrast_high": 1.5}[name]
    distances = []
    for divisible in (1, 32):
        _, table = measured(tmp_path / str(divisible), [CorruptionSweep(name, [severity])], divisible=divisible)
        distances.append(table[table["perturbation"] == name]["distance"].to_numpy())
    np.testing.assert_allclose(*distances, rtol=1e-4)


def test_padding_outside_the_range_of_images_is_no_bad_image(tmp_path):
    measured(tmp_path, [CorruptionSweep("gaussian", [0.1])], value=-1.0)
