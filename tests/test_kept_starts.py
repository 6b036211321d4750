from __future__ import annotations

import pytest
import torch
import yaml
from conftest import TinyNet
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from monai.transforms import SpatialCrop, Transform
from torch import nn

from monai_robust.attacks import APGD, PGD
from monai_robust.engines import KeptStarts, RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, WarmupRadius
from monai_robust.overlays import overlay_path
from monai_robust.overlays.fitting import fit_overlay
from monai_robust.recipes import RECIPES

RADIUS = 0.5


class Recording(PGD):
    """PGD that notes where it was told to begin."""

    starts: list[torch.Tensor | None]

    def __call__(self, *arguments, start=None, **keywords):
        self.starts = [*getattr(self, "starts", []), start]
        return super().__call__(*arguments, start=start, **keywords)


def items(count: int = 6, size: int = 8) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(7)
    images = [torch.rand(1, size, size, generator=generator) for _ in range(count)]
    return [{"image": image, "label": index % 3, "sample_id": f"s{index}"} for index, image in enumerate(images)]


def trained(recipe, attack, *, data=None, epochs=2, lr=0.1, shuffle=False, network=None, handlers=(), **keywords):
    """A network trained for two batches an epoch, and its trainer."""
    torch.manual_seed(3)
    network = network or TinyNet()
    update = RobustUpdate(recipe, attack, **keywords)
    engine = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(data or items(), batch_size=3, shuffle=shuffle),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=nn.CrossEntropyLoss(),
        iteration_update=update,
        train_handlers=list(handlers),
        decollate=False,
    )
    engine.run()
    return engine


def batch_of(names, inputs):
    return {"image": inputs, "sample_id": list(names)}


def test_each_attack_begins_where_the_last_one_on_the_same_samples_ended():
    attack = Recording(eps=RADIUS, steps=2)
    ended = []

    class Noting(KeptStarts):
        def keep(self, batch, inputs, adversarial, *rest):
            ended.append(adversarial - inputs)
            super().keep(batch, inputs, adversarial, *rest)

    trained("sat", attack, starts=Noting(), epochs=3)
    assert attack.starts[:2] == [None, None]
    for begun, end in zip(attack.starts[2:], ended[:4], strict=True):
        torch.testing.assert_close(begun, end, rtol=2e-3, atol=1e-5)  # kept in half precision


def test_starts_of_one_network_are_not_taken_into_the_training_of_another():
    starts, network = KeptStarts(), TinyNet()
    trained("sat", PGD(eps=RADIUS, steps=2), starts=starts, network=network)
    trained("sat", PGD(eps=RADIUS, steps=2), starts=starts, network=network)  # a second stage of the same
    with pytest.raises(BadInputError, match="starts were learned of another network, in an earlier training"):
        trained("sat", PGD(eps=RADIUS, steps=2), starts=starts, network=TinyNet())
    state = starts.state_dict()
    starts.load_state_dict(state)
    trained("sat", PGD(eps=RADIUS, steps=2), starts=starts, network=TinyNet())


def test_a_start_belongs_to_its_sample_wherever_that_stands_in_a_batch():
    attack, starts = PGD(eps=RADIUS), KeptStarts()
    inputs = torch.rand(3, 1, 4, 4)
    delta = torch.tensor([0.125, 0.25, 0.5])[:, None, None, None] * torch.ones_like(inputs)
    starts.keep(batch_of("abc", inputs), inputs, inputs + delta, attack)
    begun = starts.begin(batch_of("cxa", inputs), inputs, attack)
    assert begun is not None
    torch.testing.assert_close(begun, torch.stack([delta[2], torch.zeros_like(delta[0]), delta[0]]), rtol=0, atol=1e-6)
    assert len(starts) == 3
    assert starts.begin(batch_of("xyz", inputs), inputs, attack) is None


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_start_grows_and_shrinks_with_the_radius(norm):
    attack, starts = PGD(norm=norm), KeptStarts()
    inputs = torch.rand(2, 1, 6, 6)
    old, new = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])
    delta = attack.norm.project(torch.randn_like(inputs) * 10, old)
    starts.keep(batch_of("ab", inputs), inputs, inputs + delta, attack, old)
    begun = starts.begin(batch_of("ab", inputs), inputs, attack, new)
    torch.testing.assert_close(attack.norm.size(begun), new, rtol=2e-3, atol=0)
    torch.testing.assert_close(begun[1], delta[1] * 1.5, rtol=2e-3, atol=1e-4)


def test_perturbations_in_hounsfield_units_do_not_overflow_half_precision():
    attack, starts = PGD(eps=1e6), KeptStarts()
    inputs = torch.zeros(1, 1, 2, 2)
    delta = torch.full_like(inputs, 5e5)
    starts.keep(batch_of("a", inputs), inputs, inputs + delta, attack)
    torch.testing.assert_close(starts.begin(batch_of("a", inputs), inputs, attack), delta, rtol=2e-3, atol=0)


def test_an_image_of_another_shape_begins_afresh():
    attack, starts = PGD(eps=RADIUS), KeptStarts()
    small, large = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 6, 6)
    starts.keep(batch_of("a", small), small, small + 0.1, attack)
    assert starts.begin(batch_of("a", large), large, attack) is None


def test_a_sample_without_a_start_begins_as_the_attack_would():
    inputs = torch.rand(2, 1, 8, 8)
    mask = torch.ones_like(inputs, dtype=torch.bool)
    mask[..., 6:] = False
    for kind, low, high in ((False, 0.0, 0.0), ("sphere", RADIUS, RADIUS)):
        attack, starts = PGD(eps=RADIUS, random_start=kind), KeptStarts()
        starts.keep(batch_of("a", inputs[:1]), inputs[:1], inputs[:1] + 0.01, attack)
        begun = starts.begin(batch_of("ab", inputs), inputs, attack, None, mask)
        torch.testing.assert_close(begun[0], torch.full_like(begun[0], 0.01), rtol=0, atol=1e-5)
        assert low - 1e-5 <= attack.norm.size(begun)[1].item() <= high + 1e-5
        assert torch.all(begun[1, ..., 6:] == 0)


def test_the_first_epoch_is_that_of_training_without_kept_starts():
    attack = PGD(eps=RADIUS, steps=2, bounds=(0, 1))
    plain = trained("sat", attack, epochs=1).network.state_dict()
    kept = trained("sat", attack, epochs=1, starts=KeptStarts()).network.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in plain.items())
    later = trained("sat", attack, starts=KeptStarts()).network.state_dict()
    without = trained("sat", attack).network.state_dict()
    assert not all(torch.equal(value, later[name]) for name, value in without.items())


def test_one_step_an_epoch_climbs_to_what_many_steps_reach_at_once():
    # On a network that does not change, and whose loss is concave along the way, visits add up like steps.
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    attack = PGD(eps=RADIUS, steps=1, step_size=0.02)

    def last_loss(epochs, **keywords):
        return trained("at", attack, epochs=epochs, lr=0.0, network=network, **keywords).state.output["adv_loss"]

    many = PGD(eps=RADIUS, steps=10, step_size=0.02)
    at_once = trained("at", many, epochs=1, lr=0.0, network=network).state.output["adv_loss"]
    torch.testing.assert_close(last_loss(10, starts=KeptStarts()), at_once, rtol=0, atol=1e-4)
    assert torch.all(last_loss(10) < at_once - 0.01)


@pytest.mark.parametrize("recipe", ["at", "sat", "rtda", "trades", "mart"])
def test_every_recipe_that_attacks_stays_within_its_radius(recipe):
    starts = KeptStarts()
    attack = PGD(eps=RADIUS, steps=2, bounds=(0, 1))
    engine = trained(recipe, attack, shuffle=True, starts=starts, views={"aug": lambda image: image.flip(-1)})
    output = engine.state.output
    assert torch.all(output["adv_norm"] <= RADIUS * (1 + 1e-4))
    assert torch.all(output["adv_norm"] > 0)
    assert output["adv_image"].min() >= 0
    assert output["adv_image"].max() <= 1
    assert len(starts) == 6


def test_margins_and_starts_work_together():
    margins = AdaptiveMargins(0.25, {"loss": 0.9}, initial=0.5, floor=0.1)
    starts = KeptStarts()
    attack = Recording(steps=2)
    engine = trained("amat", attack, epochs=3, margins=margins, handlers=[margins], starts=starts)
    assert set(margins.margins.values()) != {0.5}
    assert attack.starts[-1] is not None
    torch.testing.assert_close(attack.norm.size(attack.starts[-1]), engine.state.output["eps"], rtol=2e-3, atol=1e-3)


def test_a_radius_that_warms_up_takes_its_starts_along():
    warmup = WarmupRadius(RADIUS, epochs=2)
    attack = Recording(steps=2)
    engine = trained("sat", attack, margins=warmup, handlers=[warmup], starts=KeptStarts())
    assert torch.allclose(engine.state.output["eps"], torch.tensor(RADIUS))
    torch.testing.assert_close(attack.norm.size(attack.starts[-1]), torch.full((3,), RADIUS), rtol=2e-3, atol=1e-3)


def test_a_recipe_without_an_attack_leaves_starts_alone():
    starts = KeptStarts()
    trained("erm", PGD(eps=RADIUS, steps=1), starts=starts)
    assert len(starts) == 0


def test_samples_are_told_apart_by_their_file_where_they_have_no_id():
    images = [MetaTensor(one["image"], meta={"filename_or_obj": one["sample_id"]}) for one in items()]
    starts = KeptStarts()
    trained("sat", PGD(eps=RADIUS, steps=1), data=[{"image": one, "label": 0} for one in images], starts=starts)
    assert len(starts) == 6


def test_items_that_share_an_id_are_refused_before_training():
    same = [{**one, "sample_id": "one"} for one in items()]
    with pytest.raises(BadInputError, match="share their sample_id"):
        trained("sat", PGD(eps=RADIUS, steps=1), data=same, starts=KeptStarts())


class AtPlace(Transform):
    """Two crops of every item, those of ``corners``."""

    def __init__(self, corners, known=True):
        self.corners, self.known = corners, known

    def __call__(self, item):
        crops = [
            SpatialCrop(roi_start=(x, y), roi_end=(x + 4, y + 4))(MetaTensor(item["image"])) for x, y in self.corners
        ]
        return [{**item, "image": crop if self.known else crop.as_tensor()} for crop in crops]


def cropped(corners, known=True):
    return next(iter(DataLoader(Dataset(items(2), AtPlace(corners, known)), batch_size=2)))


def test_crops_of_one_sample_have_a_start_each_known_by_their_place():
    attack, starts = PGD(eps=RADIUS), KeptStarts()
    batch = cropped([(0, 0), (4, 4)])
    inputs = batch["image"].as_tensor()
    delta = torch.tensor([0.125, 0.25, 0.5, 0.0625])[:, None, None, None] * torch.ones_like(inputs)
    starts.keep(batch, inputs, inputs + delta, attack)
    torch.testing.assert_close(starts.begin(batch, inputs, attack), delta)
    moved = cropped([(4, 4), (0, 2)])  # the second place comes first, the other is new
    begun = starts.begin(moved, moved["image"].as_tensor(), attack)
    torch.testing.assert_close(begun[::2], delta[1::2])
    assert begun[1::2].abs().max() == 0
    starts.keep(moved, inputs, inputs + delta, attack)
    assert len(starts) == 2
    assert sum(len(own) for own in starts._shares.values()) == 4  # of the last visit alone: memory does not grow


def test_nothing_is_kept_of_crops_that_cannot_be_told_apart(caplog):
    attack, starts = PGD(eps=RADIUS), KeptStarts()
    batch = cropped([(0, 0), (4, 4)], known=False)
    inputs = batch["image"]
    starts.keep(batch, inputs, inputs + 0.1, attack)
    assert len(starts) == 0
    assert starts.begin(batch, inputs, attack) is None
    assert caplog.text.count("nothing is kept of images that cannot be told apart") == 1
    alone = {"image": inputs[:2], "sample_id": ["s0", "s1"]}
    starts.keep(alone, inputs[:2], inputs[:2] + 0.1, attack)
    assert starts.begin(alone, inputs[:2], attack) is not None
    mixed = {"image": inputs[:3], "sample_id": ["s0", "s1", "s1"]}
    assert starts.begin(mixed, inputs[:3], attack)[1:].abs().max() == 0


def test_more_memory_than_allowed_is_refused_at_the_first_batch():
    attack = Recording(eps=RADIUS, steps=1)
    need = 6 * 64 * 2 / 2**30
    with pytest.raises(BadInputError, match=r"the starts of 6 samples take .* GiB"):
        trained("sat", attack, starts=KeptStarts(limit_gib=0.9 * need))
    assert len(attack.starts) == 1
    trained("sat", attack, starts=KeptStarts(limit_gib=1.1 * need))
    with pytest.raises(BadInputError, match="give a positive number"):
        KeptStarts(limit_gib=0)


def test_attacks_that_cannot_begin_anywhere_are_refused():
    def others(network, inputs, targets, eps=None, *, task=None):
        return inputs + 0.1

    with pytest.raises(BadInputError, match="starts are kept for an attack that can begin anywhere"):
        RobustUpdate("sat", others, starts=KeptStarts())
    with pytest.raises(BadInputError, match="begins where it chooses to"):
        trained("sat", APGD(eps=RADIUS, steps=2), starts=KeptStarts())


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_fast_overlay_goes_after_that_of_any_recipe(recipe):
    parser = ConfigParser({"train": {"trainer": {"_target_": "SupervisedTrainer"}, "handlers": []}})
    for name in (recipe, "fast"):
        parser.update(yaml.safe_load(overlay_path(name).read_text()))
    parser["robust#thresholds"] = {"loss": 0.5}
    update = parser.get_parsed_content("robust#update")
    assert update.recipe == RECIPES[recipe]
    assert update.attack.steps == 2
    assert isinstance(update.starts, KeptStarts) == ("adv" in RECIPES[recipe].views)


def test_the_fast_overlay_fits_wherever_that_of_a_recipe_does(tmp_path):
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text("trainer:\n  _target_: SupervisedTrainer\n")
    assert fit_overlay("fast", [bundle]) == overlay_path("fast")
