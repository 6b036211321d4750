"""Detectors of somebody else's, called with images and targets: trained, attacked and measured."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_bundles import write_bundle
from monai.data import DataLoader, Dataset
from monai.data.utils import no_collation
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.transforms import Compose, ScaleIntensityRanged
from torch import Tensor, nn

from monai_robust.attacks import APGD, PGD
from monai_robust.data import load_weights
from monai_robust.engines import AroundDetector, DetectorUnderAttack
from monai_robust.engines.detectors import DetectorEngine, as_supervised
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, write_report
from monai_robust.evaluation.tables.metrics_file import read_metrics
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.handlers import AdaptiveMargins
from monai_robust.losses import DetectionLoss
from monai_robust.pipelines import Pipeline
from monai_robust.tasks.detectors import DetectorNetwork, DetectorTask, is_detector

SIZES = ((12, 10), (9, 14), (12, 10), (16, 8))


class Spotter(nn.Module):
    """A detector that is none of MONAI's: one box an image, around the middle of its brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.score = nn.Conv2d(4, 1, 1)
        self.draws = 0.0
        self.shown: list[Tensor] = []

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        self.shown = [image.detach() for image in images]
        maps = [self.score(self.features(image[None]))[0, 0] for image in images]
        if not self.training:
            return [
                {
                    "box": torch.tensor([[2.0, 2, 8, 8]]),
                    "label": torch.zeros(1).long(),
                    "label_scores": one.mean()[None],
                }
                for one in maps
            ]
        assert targets is not None
        noise = self.draws * torch.rand(())
        classes = torch.stack(
            [(one.mean() - len(target["label"])) ** 2 for one, target in zip(maps, targets, strict=True)]
        )
        boxes = [one[2:8, 2:8].square().mean() for one, target in zip(maps, targets, strict=True) if len(target["box"])]
        return {
            "classification": classes.mean() + noise,
            "box_regression": torch.stack(boxes).mean() if boxes else torch.tensor(0.0),
        }


def items() -> list[dict[str, Any]]:
    found = []
    for index, size in enumerate(SIZES):
        image = torch.rand(1, *size, generator=torch.Generator().manual_seed(index))
        box = torch.tensor([[2.0, 2, 8, 8]])[: index % 2]
        found.append({"sample_id": f"s{index}", "image": image, "box": box, "label": torch.zeros(len(box)).long()})
    return found


def prepared(batch: Any, device: Any = None, non_blocking: bool = False, **_: Any) -> tuple[Any, Any]:
    return [one["image"] for one in batch], [{"box": one["box"], "label": one["label"]} for one in batch]


class SpotterTrainer(SupervisedTrainer):
    """Weighs the losses in its own way, and clips."""

    asked = 1

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        images, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.network.train()
        engine.optimizer.zero_grad()
        for _ in range(self.asked):
            losses = engine.network(images, targets)
        total = (
            losses["classification"] + 0.5 * losses["box_regression"]
            if self.asked
            else engine.network.score.weight.sum()
        )
        total.backward()
        nn.utils.clip_grad_norm_(engine.network.parameters(), 0.5)
        engine.optimizer.step()
        return {"image": images, "label": targets, "loss": total, "losses": losses if self.asked else {}}


def spotter() -> Spotter:
    torch.manual_seed(0)
    return Spotter()


def trainer(update: Any = None, handlers: Any = None, epochs: int = 1) -> SpotterTrainer:
    network = spotter()
    return SpotterTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(items(), batch_size=2, collate_fn=no_collation),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.Identity(),
        prepare_batch=prepared,
        iteration_update=update,
        train_handlers=handlers,
    )


def trained(update: Any = None, **more: Any) -> tuple[dict[str, Tensor], SpotterTrainer]:
    made = trainer(update, **more)
    torch.manual_seed(1)
    made.run()
    return made.network.state_dict(), made


def attack(eps: float | str = 0.5) -> PGD:
    return PGD(norm="l2", eps=eps, steps=3, bounds="per_image")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def pipeline(name: str, folder: Path, **overrides: Any) -> Pipeline:
    return Pipeline.read(write_bundle(name, folder / name), overrides=overrides)


def bundle_weights(name: str, folder: Path, update: Any) -> dict[str, Tensor]:
    """After an epoch of a bundle's trainer, with an update in place of its iteration."""
    made = pipeline(name, folder, **({} if update is None else {"train#trainer#iteration_update": update}))
    with made.inside():
        torch.manual_seed(0)
        engine = made.trainer()
        torch.manual_seed(1)
        engine.data_loader.dataset.transform.set_random_state(3)
        engine.run()
    detector = as_supervised(engine).detector
    return detector.network.state_dict()


# Training


@pytest.mark.parametrize("name", ["nodules", "pictures"])
def test_erm_ends_with_the_very_weights_of_a_bundles_own_trainer(name: str, tmp_path: Path) -> None:
    stock = bundle_weights(name, tmp_path / "a", None)
    assert same(bundle_weights(name, tmp_path / "b", AroundDetector("erm")), stock)
    assert not same(bundle_weights(name, tmp_path / "c", AroundDetector("sat", attack())), stock)


def test_erm_ends_with_the_very_weights_where_layers_draw_and_keep_statistics() -> None:
    stock, _ = trained()
    assert same(trained(AroundDetector("erm"))[0], stock)
    robust, made = trained(AroundDetector("at", attack()))
    assert not same(robust, stock)
    assert made.state.output["adv_norm"].max() > 0.1


def test_each_loss_is_the_recipes_and_the_iteration_weighs_and_clips_it_as_ever() -> None:
    seen: dict[str, Any] = {}

    def with_losses(update: AroundDetector) -> Any:
        def process(engine: Any, batch: Any) -> Any:
            if not seen:
                network = copy.deepcopy(engine.network).train()
                network.features[3].p = engine.network.features[3].p = 0.0  # two passes draw differently
                seen["network"] = network
            output = update(engine, batch)
            seen.setdefault("output", output)
            return output

        return process

    trained(with_losses(AroundDetector("sat", attack())))
    output, network = seen["output"], seen["network"]
    images, targets = output["image"], output["label"]
    moved = [one[:, : image.shape[1], : image.shape[2]] for one, image in zip(output["adv_image"], images, strict=True)]
    clean, adversarial = network(images, targets), network(moved, targets)
    for name in ("classification", "box_regression"):
        assert torch.allclose(output["losses"][name], 0.5 * (clean[name] + adversarial[name]), atol=1e-6)
    assert output["loss"] == output["losses"]["classification"] + 0.5 * output["losses"]["box_regression"]


def test_images_of_different_sizes_are_attacked_within_the_radius_and_shown_without_padding() -> None:
    shown: list[Tensor] = []
    hook = AroundDetector("at", attack(0.3))
    made = trainer(hook)
    made.network.register_forward_pre_hook(lambda module, given: shown.extend(given[0]) if module.training else None)
    made.run()
    assert {tuple(image.shape[1:]) for image in shown} == set(SIZES)
    output = made.state.output
    sizes = [image.shape[1:] for image in output["image"]]
    for image, one, norm, size in zip(output["image"], output["adv_image"], output["adv_norm"], sizes, strict=True):
        own = one[:, : size[0], : size[1]]
        assert float((own - image).norm()) == pytest.approx(float(norm), abs=1e-5)
        assert 0 < float(norm) <= 0.3 + 1e-5
        assert float(one.abs().sum()) == pytest.approx(float(own.abs().sum()))  # padding stays 0


def test_margins_are_kept_for_every_sample_and_thresholds_are_fitted_from_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": spotter().state_dict()}, tmp_path / "model.pt")
    margins = AdaptiveMargins(0.1, tmp_path / "model.pt", output_dir=tmp_path)
    _, made = trained(AroundDetector("amat", attack(), margins=margins), handlers=[margins], epochs=3)
    assert set(margins.margins) == {f"s{index}" for index in range(len(SIZES))}
    assert set(margins.thresholds or {}) == {"classification", "box_regression"}
    assert max(margins.margins.values()) > 0.1
    assert made.state.output["eps"].tolist() != [0.1, 0.1]


@pytest.mark.parametrize(("asked", "words"), [(0, "not at all"), (2, "more than once")])
def test_an_iteration_that_does_not_ask_its_detector_once_is_refused(asked: int, words: str) -> None:
    made = trainer(AroundDetector("sat", attack()))
    made.asked = asked
    with pytest.raises(BadInputError, match=words):
        made.run()


def test_views_that_must_agree_are_refused() -> None:
    with pytest.raises(BadInputError, match="class distributions"):
        trained(AroundDetector("rtda", attack(), views={"aug": lambda image: image}))


def test_a_trainer_without_a_detector_is_refused() -> None:
    made = trainer(AroundDetector("sat", attack()))
    made.network = nn.Linear(2, 2)  # type: ignore[assignment]
    with pytest.raises(BadInputError, match="no detector"):
        made.run()


# The losses of each image


def losses(network: DetectorNetwork, places: list[int]) -> dict[str, Tensor]:
    rows = [items()[place] for place in places]
    engine = DetectorEngine(None, network.detector)
    images, targets = prepared(rows)
    return DetectorTask().terms(DetectorTask().forward(network, images, engine.sized(targets, images)), targets)


def test_the_losses_of_an_image_are_its_own_and_drawn_from_one_seed() -> None:
    detector = spotter().eval()
    detector.draws = 1.0
    network = DetectorNetwork(detector)
    state = torch.get_rng_state()
    together = losses(network, [0, 1, 2, 3])
    assert torch.equal(torch.get_rng_state(), state)
    for place in range(4):
        alone = losses(network, [place])
        assert all(torch.allclose(alone[name][0], together[name][place], atol=1e-6) for name in together)
    torch.manual_seed(7)
    assert all(torch.equal(value, together[name]) for name, value in losses(network, [0, 1, 2, 3]).items())


def test_the_losses_are_the_detectors_with_its_layers_as_they_evaluate() -> None:
    detector = spotter()
    row = items()[1]
    found = losses(DetectorNetwork(detector.eval()), [1])
    by_hand = copy.deepcopy(detector)
    by_hand.training = True  # its layers still evaluate
    expected = by_hand([row["image"]], [{"box": row["box"], "label": row["label"]}])
    assert all(torch.allclose(found[name][0], expected[name]) for name in expected)


def test_an_attack_leaves_a_detector_as_it_was(tmp_path: Path) -> None:
    made = pipeline("nodules", tmp_path)
    with made.inside():
        seen = as_supervised(made.evaluator())
        images, targets = seen.prepare_batch([seen.data_loader.dataset[0]])
    detector = seen.detector.train()
    detector.network.feature_extractor.fine[1].eval()
    before = copy.deepcopy(detector.state_dict())
    modes = [module.training for module in detector.modules()]
    kept = {name: value for name, value in vars(detector).items() if not name.startswith("_")}
    network, parts = detector.network, dict(detector.named_modules())
    inputs = images[0][None]
    adversarial = attack(0.2)(seen.network, inputs, targets, task=seen.task(targets))
    assert 0 < float((adversarial - inputs).norm()) <= 0.2 + 1e-5
    assert same(detector.state_dict(), before)
    assert [module.training for module in detector.modules()] == modes
    assert {name: value for name, value in vars(detector).items() if not name.startswith("_")} == kept
    assert detector.network is network
    assert dict(detector.named_modules()) == parts
    assert all(one.requires_grad and one.grad is None for one in detector.parameters())


def test_large_images_are_run_by_the_detectors_windows(tmp_path: Path) -> None:
    made = pipeline("nodules", tmp_path)
    with made.inside():
        seen = as_supervised(made.evaluator())
        images, targets = seen.prepare_batch([seen.data_loader.dataset[1]])
    seen.detector.box_selector.score_thresh = 0.0
    task, inputs = seen.task(targets), images[0][None]
    with torch.no_grad():
        answer = task.forward(seen.network.eval(), inputs, targets)
        expected = seen.detector.eval()(images, use_inferer=True)[0]
        whole = task.forward(DetectorNetwork(seen.detector), inputs, targets)
    assert torch.equal(answer["detections"][0]["scores"], expected["label_scores"].sort(descending=True).values)
    assert len(expected["box"])
    assert not torch.allclose(answer["losses"]["classification"], whole["losses"]["classification"])
    leaf = inputs.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(sum(task.forward(seen.network, leaf, targets)["losses"].values()).sum(), leaf)
    assert bool((slope != 0).flatten(2).any())


def test_only_modules_that_take_targets_are_detectors() -> None:
    assert is_detector(spotter())
    assert is_detector(Spotter)
    assert not is_detector(nn.Conv2d(1, 1, 1))
    assert not is_detector(DetectionLoss)  # which has targets, too
    with pytest.raises(BadInputError, match="no detector"):
        DetectorNetwork(nn.Conv2d(1, 1, 1))


def test_weights_are_those_of_the_network_within_or_of_the_detector(tmp_path: Path) -> None:
    made = pipeline("pictures", tmp_path)
    with made.inside():
        network = as_supervised(made.evaluator()).network
    for name, part in (("inner.pt", network.detector.network), ("outer.pt", network.detector)):
        state = {key: torch.full_like(value, 0.25) for key, value in part.state_dict().items()}
        torch.save({"model": state}, tmp_path / name)
        load_weights(network, tmp_path / name)
        assert all(bool((value == 0.25).all()) for value in network.detector.network.parameters())
        nn.init.zeros_(next(network.parameters()))
    torch.save({"model": {"other": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(BadInputError, match="another network"):
        load_weights(network, tmp_path / "other.pt")


# Evaluation


def evaluator(update: Any = None, detector: Spotter | None = None, batch_size: int = 2) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items(), batch_size=batch_size, collate_fn=no_collation),
        network=detector or spotter(),
        prepare_batch=prepared,
        iteration_update=update,
        decollate=False,
    )


def test_an_evaluator_shows_its_detector_adversarial_images() -> None:
    own = spotter()
    clean = evaluator(detector=own)
    clean.run()
    attacked = evaluator(DetectorUnderAttack(attack(0.4)), detector=own)
    attacked.run()
    before, after = clean.state.output, attacked.state.output
    moved = [one - image for one, image in zip(own.shown, before["image"], strict=True)]
    assert [one.shape for one in own.shown] == [image.shape for image in before["image"]]
    assert all(0 < float(one.norm()) <= 0.4 + 1e-5 for one in moved)
    assert torch.allclose(after["adv_norm"], torch.stack([one.norm() for one in moved]), atol=1e-5)
    assert [float(one["label_scores"]) for one in before["pred"]] != [
        float(one["label_scores"]) for one in after["pred"]
    ]


def test_radii_in_units_of_the_file_hold_for_detectors(tmp_path: Path) -> None:
    """Of images that the pipeline divides by 4, 0.8 grey levels are 0.2 units of the network's input."""
    update = DetectorUnderAttack(attack("0.8grey"))
    own = evaluator(update)
    own.data_loader = scaled(own.data_loader)
    own.run()
    assert own.state.output["eps"].tolist() == pytest.approx([0.2, 0.2])
    made = trainer(AroundDetector("at", attack("0.8grey")))
    made.data_loader = scaled(made.data_loader)
    made.run()
    assert made.state.output["eps"].tolist() == pytest.approx([0.2, 0.2])


def scaled(loader: DataLoader) -> DataLoader:
    shrunk = Compose([ScaleIntensityRanged("image", a_min=0.0, a_max=4.0, b_min=0.0, b_max=1.0)])
    return DataLoader(Dataset(items(), shrunk), batch_size=loader.batch_size, collate_fn=no_collation)


@pytest.mark.full
def test_any_evaluator_of_a_detector_is_measured(tmp_path: Path) -> None:
    perturbations = [CleanSweep(), AttackSweep(attack(), [0.2, 0.5]), CorruptionSweep("gaussian", [0.01])]
    own = spotter()
    nn.init.constant_(own.score.bias, 2.0)
    folder = Measurement.of(
        evaluator(detector=own), perturbations, tmp_path / "run", sanity_samples=2, classes=["spot"], progress=False
    ).run()
    run = read_run(folder)
    clean = run.outcomes[run.outcomes["perturbation"] == "clean"]
    assert clean["boxes"].tolist() == [0, 1, 0, 1]
    assert clean["detections"].tolist() == [1, 1, 1, 1]
    assert clean["score"].tolist() == pytest.approx([0, 1, 0, 1])
    attacked = run.outcomes[run.outcomes["perturbation"] == "pgd_l2"]
    assert (attacked["distance"] > 0).all()
    assert (attacked["distance"] <= attacked["severity"] + 1e-5).all()
    assert run.info["task"] == "detection"
    assert "mAP" in write_report([folder], tmp_path / "report.html").read_text()


def test_volumes_of_a_bundle_are_measured_in_its_windows(tmp_path: Path) -> None:
    made = pipeline("nodules", tmp_path)
    with made.inside():
        folder = Measurement.of(
            made.evaluator(),
            [CleanSweep(), AttackSweep(attack(), [0.3])],
            tmp_path / "run",
            sanity_samples=0,
            progress=False,
        ).run()
    run = read_run(folder)
    assert len(run.outcomes) == 6
    assert run.outcomes["boxes"].tolist() == [1, 2, 1, 1, 2, 1]
    assert run.info["settings"]["nms_threshold"] == 0.22
    own = read_metrics(folder)
    assert own is not None
    assert not own.problem
    assert [(one.perturbation, one.metric) for one in own.values] == [("clean", "val_coco"), ("pgd_l2", "val_coco")]
    with made.inside():
        stock = made.evaluator()
        stock.run()
    assert own.values[0].value == pytest.approx(stock.state.metrics["val_coco"])
    truth = (folder / "boxes.csv").read_text().splitlines()
    assert truth[0].endswith("xmin,ymin,zmin,xmax,ymax,zmax")
    assert len(truth) == 5


def test_an_attack_that_keeps_the_worst_score_is_refused_by_name() -> None:
    network, task = DetectorNetwork(spotter().eval()), DetectorTask()
    row = items()[1]
    _, targets = prepared([row])
    with pytest.raises(BadInputError, match="keeps the highest loss"):
        APGD(eps=0.5, steps=2, bounds=(0, 1), keep="score")(network, row["image"][None], targets, task=task)


def test_a_detector_is_steered_to_no_boxes_or_to_a_class() -> None:
    task = DetectorTask()
    _, targets = prepared([items()[1]])
    (gone,) = task.aim(None, targets, "vanishing")
    assert gone["box"].shape == (0, 4)
    (other,) = task.aim(None, targets, 3)
    assert other["label"].tolist() == [3]
    assert targets[0]["label"].tolist() == [0]
    with pytest.raises(BadInputError, match="vanishing"):
        task.aim(None, targets, "mislabelling")


@torch.no_grad()
def test_what_was_found_can_be_aimed_at_under_the_detectors_own_names() -> None:
    detector = spotter().eval()
    nn.init.constant_(detector.score.bias, 2.0)
    task = DetectorTask(("box", "label"))
    images, targets = prepared([items()[1]])
    outputs = task.forward(DetectorNetwork(detector), images[0][None], targets)
    (found,) = task.predicted_targets(outputs, targets)
    assert found["box"].tolist() == [[2, 2, 8, 8]]
    assert found["label"].tolist() == [0]
