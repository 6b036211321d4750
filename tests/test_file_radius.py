"""Radii with a unit on the training line: 20HU, 3grey, 5%, for all images alike or for each."""

from __future__ import annotations

import pytest
import torch
from conftest import environment
from mini_bundle import write_mini_bundle
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.transforms import (
    Compose,
    Lambdad,
    NormalizeIntensityd,
    RandFlipd,
    RandSpatialCropd,
    ScaleIntensityd,
    ScaleIntensityRanged,
)
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.data import WithSampleIds
from monai_robust.engines import RobustUpdate, UnderAttack
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_path

CT = ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0.0, b_max=1.0, clip=True)


def scans(count=6):
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": 200 * (index + 1) * torch.rand(1, 6, 6, generator=generator), "label": index % 2, "sample_id": index}
        for index in range(count)
    ]


def radii_seen(eps, transform, data=None, *, attack=None, wrap=False, epochs=1, evaluate=False):
    """What ``eps`` each sample was attacked with, by its place, in a training or an evaluation."""
    data = scans() if data is None else data
    dataset = Dataset(data, transform)
    loader = DataLoader(WithSampleIds(dataset) if wrap else dataset, batch_size=4, shuffle=not evaluate)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 2))
    attack = attack or PGD(eps=eps, steps=1, bounds=None)
    common = {"device": torch.device("cpu"), "network": network, "decollate": False}
    if evaluate:
        engine = SupervisedEvaluator(val_data_loader=loader, iteration_update=UnderAttack(attack), **common)
    else:
        engine = SupervisedTrainer(
            max_epochs=epochs,
            train_data_loader=loader,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
            loss_function=nn.CrossEntropyLoss(),
            iteration_update=RobustUpdate("at", attack),
            **common,
        )
    seen = []

    @engine.on(IterationEvents.MODEL_COMPLETED)
    def note(engine):
        ids = [int(one) for one in engine.state.batch["sample_id"]]
        norms = engine.state.output["adv_norm"].tolist()
        seen.extend(zip(ids, engine.state.output["eps"].tolist(), norms, strict=True))

    engine.run()
    assert all(norm <= radius * 1.0001 for _, radius, norm in seen)
    return {place: radius for place, radius, _ in sorted(seen)}


@pytest.mark.parametrize("evaluate", [False, True])
def test_a_constant_scale_gives_all_samples_one_radius(evaluate):
    assert radii_seen("70HU", CT, evaluate=evaluate) == pytest.approx(dict.fromkeys(range(6), 0.05))
    assert radii_seen("5%", CT, evaluate=evaluate) == pytest.approx(dict.fromkeys(range(6), 0.05))
    assert radii_seen("0.3", CT, evaluate=evaluate) == pytest.approx(dict.fromkeys(range(6), 0.3))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("evaluate", [False, True])
def test_where_every_image_is_scaled_by_itself_each_sample_has_its_own(evaluate, wrap):
    transform = Compose([NormalizeIntensityd("image"), RandFlipd("image", prob=0.5), RandSpatialCropd("image", 4)])
    found = radii_seen("20grey", transform, wrap=wrap, epochs=2, evaluate=evaluate)
    expected = {place: 20 / float(one["image"].std(correction=0)) for place, one in enumerate(scans())}
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("eps", "transform", "sentence"),
    [
        ("20HU", Compose([RandSpatialCropd("image", 4), ScaleIntensityd("image")]), "RandSpatialCropd draws before"),
        ("20HU", Compose([Lambdad("image", lambda x: x / 7)]), "Lambdad does to intensities is not known"),
        ("5%", NormalizeIntensityd("image"), "clips to none"),
    ],
)
def test_what_is_not_known_exactly_is_refused(eps, transform, sentence):
    with pytest.raises(BadInputError, match=sentence):
        radii_seen(eps, transform)


def test_samples_that_cannot_be_known_again_have_no_radius_of_their_own():
    data = [{key: one[key] for key in ("image", "label")} for one in scans()]
    with pytest.raises(BadInputError, match="WithSampleIds"):
        radii_seen("20HU", NormalizeIntensityd("image"), data)


def test_an_image_of_one_intensity_is_named():
    data = [*scans(), {"image": torch.zeros(1, 6, 6), "label": 0, "sample_id": 77}]
    with pytest.raises(BadInputError, match=r"77.*one intensity"):
        radii_seen("20HU", NormalizeIntensityd("image"), data, evaluate=True)


@pytest.mark.parametrize("eps", ["20mm", "many", "-3HU", "0"])
def test_other_units_are_refused_where_they_enter(eps):
    with pytest.raises(BadInputError, match="radius"):
        PGD(eps=eps)


def test_an_attack_by_itself_has_no_files():
    inputs, labels = torch.rand(2, 1, 6, 6), torch.tensor([0, 1])
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with pytest.raises(BadInputError, match="20HU is in a unit that only the pipeline"):
        PGD(eps="20HU")(network, inputs, labels)
    assert PGD(eps="20HU", steps=1)(network, inputs, labels, 0.5).shape == inputs.shape


SCALED = '{"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 100, "b_min": 0.0, "b_max": 1.0}'


@pytest.mark.full
def test_the_line_of_a_bundle_takes_units(tmp_path, warm_python):
    folder = write_mini_bundle(tmp_path / "bundle")
    train = folder / "configs" / "train.json"
    text = train.read_text().replace('"data": "@items"', f'"data": "@items", "transform": {SCALED}')
    text = text.replace("0.1 + 0.05 * i", "10.0 + i")
    show = "$lambda engine: print('radii', engine.state.output['eps'].tolist())"
    text = text.replace(
        '"run": ["$@train#trainer.run()"]',
        '"run": ["$@train#trainer.add_event_handler(monai.engines.IterationEvents.MODEL_COMPLETED, @show)", '
        f'"$@train#trainer.run()"], "show": "{show}"',
    ).replace('"max_epochs": 1,', '"max_epochs": 1, "decollate": false,')
    train.write_text(text)
    files = f"['configs/train.json', '{overlay_path('at')}']"

    def run(eps):
        words = ("--config_file", files, "--robust#attack#eps", eps, "--robust#attack#steps", "1")
        return warm_python.run("-m", "monai.bundle", "run", *words, cwd=folder, env=environment())

    done = run("2grey")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("radii")]
    assert len(lines) == 3
    assert "0.0199" in lines[0] or "0.02" in lines[0]
    wrong = run("2mm")
    assert wrong.returncode == 2
    assert "there are HU, grey and %" in wrong.stderr.strip().splitlines()[-1]
    assert "Traceback" not in wrong.stderr
