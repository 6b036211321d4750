"""A measurement of any MONAI evaluator, in three lines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    ScaleIntensityRanged,
)
from torch import nn
from torch.utils.data import IterableDataset, RandomSampler, Subset, SubsetRandomSampler, WeightedRandomSampler

from monai_robust.attacks import PGD
from monai_robust.engines import UnderAttack
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples, EvaluatorScore, other_samples
from monai_robust.evaluation.report.page import write_report
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.tasks import Segmentation

CPU = torch.device("cpu")
ATTACK = AttackSweep(PGD(steps=3, bounds="per_image"), [0.5, 4.0])
DICE = Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)])


class Brightness(nn.Module):
    """Three classes by the mean brightness of an image."""

    def forward(self, images):
        mean = images.flatten(1).mean(dim=1, keepdim=True)
        return -10 * (mean - torch.tensor([[0.2, 0.5, 0.8]])) ** 2


def films(count=9):
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": 0.3 * (index % 3) + 0.4 * torch.rand(1, 8, 8, generator=generator), "label": index % 3}
        for index in range(count)
    ]


def evaluator_of(network, data, **more):
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size=4)
    return SupervisedEvaluator(device=CPU, val_data_loader=loader, network=network, **more)


def squares(count=4, channels=2, dims=2):
    """Images with as many squares, each a region, and their masks."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for index in range(count):
        label = torch.zeros(channels, *(16,) * dims)
        for channel in range(channels):
            label[(channel, *(slice(2 + channel + index, 9 + channel + index),) * dims)] = 1
        noise = 0.1 * torch.rand(1, *(16,) * dims, generator=generator)
        found.append({"image": label.sum(dim=0, keepdim=True) + noise, "label": label})
    return found


class Regions(nn.Module):
    """Overlapping regions by two thresholds of the intensity."""

    def forward(self, images):
        return torch.cat([8 * (images - 0.5), 8 * (images - 0.9)], dim=1)


def table(folder):
    return pd.read_csv(folder / "outcomes.csv")


def test_a_classifier_is_measured_and_reported_in_three_lines(tmp_path):
    evaluator = evaluator_of(Brightness(), Dataset(films()))
    folder = Measurement.of(evaluator, [CleanSweep(), ATTACK], tmp_path / "run", sanity_samples=4, progress=False).run()
    report = write_report([folder], tmp_path / "report.html")
    outcomes = table(folder)
    assert len(outcomes) == 9 * 3
    clean = outcomes[outcomes["perturbation"] == "clean"]
    with torch.no_grad():
        images = torch.stack([torch.as_tensor(film["image"]) for film in films()])
        expected = Brightness()(images).argmax(dim=1).tolist()
    assert clean["prediction"].tolist() == expected
    assert clean["label"].tolist() == [film["label"] for film in films()]
    assert outcomes[outcomes["severity"] == 4.0]["score"].mean() < clean["score"].mean()
    assert read_run(folder).info["task"] == "classification"
    assert "class 2" in report.read_text()


def test_volumes_are_segmented_through_the_evaluators_own_windows(tmp_path):
    torch.manual_seed(0)
    network = UNet(3, 1, 2, channels=(4, 8), strides=(2,), num_res_units=0)
    data = [{"image": one["image"], "label": one["label"][:1]} for one in squares(3, 1, dims=3)]
    inferer = SlidingWindowInferer((8, 8, 8), sw_batch_size=2, overlap=0.25)
    evaluator = evaluator_of(network, DataLoader(Dataset(data), batch_size=1), inferer=inferer)
    folder = Measurement.of(evaluator, [CleanSweep(), ATTACK], tmp_path, sanity_samples=0, progress=False).run()
    clean = table(folder)[lambda rows: rows["perturbation"] == "clean"]
    with torch.no_grad():
        found = [inferer(one["image"][None], network.eval()).argmax(dim=1, keepdim=True) for one in data]
    dice = [
        float(DiceMetric()(pred.float(), one["label"][None].float()).mean())
        for pred, one in zip(found, data, strict=True)
    ]
    assert clean["score"].tolist() == pytest.approx(dice, abs=1e-6)
    assert read_run(folder).info["settings"]["inferer"] == "SlidingWindowInferer"


def test_regions_that_overlap_are_judged_by_the_evaluators_own_metric(tmp_path):
    metric = {"regions_dice": MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))}
    evaluator = evaluator_of(Regions(), Dataset(squares()), postprocessing=DICE, key_val_metric=metric)
    measurement = Measurement.of(
        evaluator,
        [CleanSweep(), ATTACK],
        tmp_path / "run",
        loss=DiceLoss(sigmoid=True),
        sanity_samples=2,
        progress=False,
    )
    folder = measurement.run()
    outcomes, info = table(folder), read_run(folder).info
    assert info["task"] == "key_metric"
    assert info["score"] == {"name": "regions_dice", "higher_is_better": True}
    own = DiceMetric(include_background=True)
    for row, one in zip(outcomes[outcomes["perturbation"] == "clean"].itertuples(), squares(), strict=True):
        logits = Regions()(one["image"][None])
        assert row.score == pytest.approx(float(own((logits > 0).float(), one["label"][None]).mean()), abs=1e-6)
        assert row.loss == pytest.approx(float(DiceLoss(sigmoid=True)(logits, one["label"][None])), abs=1e-6)
    assert outcomes[outcomes["severity"] == 4.0]["score"].mean() < 0.9 * outcomes["score"].iloc[:4].mean()
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "regions_dice" in page


def test_radii_of_a_script_may_have_a_unit_too(tmp_path):
    """Of the file, whether all images are scaled alike or each by itself."""
    grey = [{**film, "image": 100 * film["image"]} for film in films()]
    attack = PGD(steps=2, bounds="per_image")

    def rows(name, transform, radii):
        data = Dataset(grey, transform)
        sweeps = [CleanSweep(), AttackSweep(attack, radii)]
        evaluator = evaluator_of(Brightness(), data)
        folder = Measurement.of(evaluator, sweeps, tmp_path / name, sanity_samples=0, progress=False).run()
        return table(folder)[lambda found: found["severity"] > 0]

    alike = rows("alike", ScaleIntensityRanged("image", 0, 100, 0, 1), ["20grey", "40grey"])
    assert sorted(set(alike["severity"])) == pytest.approx([0.2, 0.4])
    assert set(alike["perturbation"]) == {"pgd_l2"}
    alone = rows("alone", NormalizeIntensityd("image"), ["20grey", "40grey"])
    assert set(alone["perturbation"]) == {"pgd_l2_grey"}
    stds = [float(film["image"].std(correction=0)) for film in grey]
    expected = [radius / std for radius in (20, 40) for std in stds]
    assert alone["radius"].tolist() == pytest.approx(expected, rel=1e-5)
    assert (alone["distance"] <= alone["radius"] * 1.00001).all()
    with pytest.raises(BadInputError, match="of several units"):
        AttackSweep(attack, ["20HU", 0.5])


def test_an_image_of_one_intensity_has_no_radius_in_units_of_the_file(tmp_path):
    data = [*films(11), {"image": torch.full((1, 8, 8), 0.5), "label": 1}]
    evaluator = evaluator_of(Brightness(), Dataset(data, NormalizeIntensityd("image")))
    sweeps = [CleanSweep(), AttackSweep(PGD(steps=2), ["1grey"])]
    folder = Measurement.of(evaluator, sweeps, tmp_path / "run", sanity_samples=0, progress=False).run()
    (failed,) = read_run(folder).info["failed"]
    assert "one intensity" in failed["reason"]


def test_the_state_of_the_evaluator_is_as_before():
    metric = {"dice": MeanDice(output_transform=from_engine(["pred", "label"]))}
    evaluator = evaluator_of(Regions(), Dataset(squares()), postprocessing=DICE, key_val_metric=metric)
    evaluator.run()
    before = dict(evaluator.state.metrics), evaluator.state.best_metric, evaluator.state.best_metric_epoch
    one = squares()[0]
    score = EvaluatorScore(evaluator)(Regions()(one["image"][None]), one["label"][None])
    assert score.shape == (1,)
    assert 0 < float(score) <= 1
    assert (dict(evaluator.state.metrics), evaluator.state.best_metric, evaluator.state.best_metric_epoch) == before


def test_without_a_metric_the_loss_is_the_score(tmp_path):
    class Numbers(nn.Module):
        def forward(self, images):
            return images.flatten(1).mean(dim=1, keepdim=True)

    data = [
        {"image": (images := torch.linspace(0, 0.1 * i, 16).reshape(1, 4, 4)), "label": images.mean()[None] + 0.05}
        for i in range(1, 5)
    ]
    evaluator = evaluator_of(Numbers(), Dataset(data))
    folder = Measurement.of(
        evaluator, [CleanSweep(), ATTACK], tmp_path, loss=nn.MSELoss(), sanity_samples=0, progress=False
    ).run()
    outcomes = table(folder)
    assert read_run(folder).info["score"] == {"name": "loss", "higher_is_better": False}
    assert outcomes["score"][:4].tolist() == pytest.approx([0.0025] * 4, rel=1e-4)
    assert outcomes[outcomes["severity"] == 4.0]["score"].min() > 0.0025


def test_a_stopped_measurement_goes_on(tmp_path):
    evaluator = evaluator_of(Brightness(), Dataset(films()))
    arguments = {"sanity_samples": 0, "progress": False}
    whole = Measurement.of(evaluator, [CleanSweep(), ATTACK], tmp_path / "whole", **arguments).run()

    class Stopping(Brightness):
        passes = 0

        def forward(self, images):
            self.passes += 1
            if self.passes > 12:
                raise KeyboardInterrupt
            return super().forward(images)

    with pytest.raises(KeyboardInterrupt):
        Measurement.of(
            evaluator_of(Stopping(), Dataset(films())), [CleanSweep(), ATTACK], tmp_path / "cut", **arguments
        ).run()
    cut = Measurement.of(evaluator, [CleanSweep(), ATTACK], tmp_path / "cut", **arguments).run()
    assert (cut / "outcomes.csv").read_bytes() == (whole / "outcomes.csv").read_bytes()


SHOWN = torch.zeros(1, 4, 4)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(films())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (DataLoader(Stream(), batch_size=2), "read once only"),
        (Dataset([]), "data set is empty"),
        (Dataset([{"image": torch.zeros(1, 4, 4)}]), "no label"),
        (
            Dataset(
                [{"image": torch.zeros(1, 4, 4), "sample_id": "a", "label": 0}, {"image": SHOWN, "sample_id": "b"}]
            ),
            r"no label.* \(sample 'b'\)",
        ),
        (Dataset([{"image": torch.zeros(1, 4, 4).int(), "label": 0}]), "floating point"),
    ],
)
def test_data_that_cannot_be_measured_is_refused_in_a_sentence(data, sentence):
    with pytest.raises(BadInputError, match=sentence):
        EvaluatorSamples(evaluator_of(Brightness(), data), progress=False)


@pytest.mark.parametrize(
    ("odd", "what"),
    [(None, "a NoneType"), (Brightness(), "a Brightness"), (SupervisedEvaluator, "the class Supervised")],
)
def test_what_is_no_evaluator_is_refused_with_what_would_do(tmp_path, odd, what):
    with pytest.raises(BadInputError, match=f"the evaluator is {what}.*; give a SupervisedEvaluator of MONAI"):
        Measurement.of(odd, [CleanSweep()], tmp_path)


def test_what_outputs_mean_must_be_known_or_said(tmp_path):
    evaluator = evaluator_of(Regions(), Dataset(squares()))
    with pytest.raises(BadInputError, match="give loss, the one that the"):
        Measurement.of(evaluator, [CleanSweep()], tmp_path, progress=False)
    with pytest.raises(BadInputError, match="task"):
        Measurement.of(evaluator, [CleanSweep()], tmp_path, task="landmark", progress=False)
    with pytest.raises(BadInputError, match="names of classes"):
        Measurement.of(
            evaluator_of(Brightness(), Dataset(films())), [CleanSweep()], tmp_path, classes=["a"], progress=False
        )
    one = [{"image": one["image"], "label": one["label"][:1]} for one in squares()]
    given = Measurement.of(
        evaluator_of(Regions(), Dataset(one)), [CleanSweep()], tmp_path, task=Segmentation(), progress=False
    )
    assert given.task.name == "segmentation"


@pytest.mark.parametrize(
    ("loss", "what"), [("ce", "'ce'"), (0.5, r"0\.5"), (torch.nn.BCEWithLogitsLoss, "the class BCEWithLogitsLoss")]
)
def test_what_is_no_loss_is_refused_with_what_would_do(tmp_path, loss, what):
    evaluator = evaluator_of(Brightness(), Dataset(films()))
    with pytest.raises(BadInputError, match=rf"the loss is {what}; .*BCEWithLogitsLoss\(\)"):
        Measurement.of(evaluator, [CleanSweep()], tmp_path, loss=loss, progress=False)


def test_postprocessing_that_needs_the_file_leaves_the_loss_as_score_and_says_so(tmp_path, caplog):
    metric = {"dice": MeanDice(output_transform=from_engine(["pred", "label"]))}
    inverting = Compose([Lambdad("image", lambda image: image), DICE])
    evaluator = evaluator_of(Regions(), Dataset(squares()), postprocessing=inverting, key_val_metric=metric)
    measurement = Measurement.of(evaluator, [CleanSweep()], tmp_path, loss=DiceLoss(sigmoid=True), progress=False)
    assert measurement.task.score_name == "loss"
    assert "the score is the loss" in caplog.text


def test_a_severity_that_is_no_number_is_refused():
    with pytest.raises(BadInputError, match="has the severity 'a'; it must be a number"):
        AttackSweep(PGD(), ["a"])


def multi_label(first=(1.0, 0.0, 0.0)):
    """An evaluator of three findings, some unknown, that are together or absent beyond the first film."""
    labels = [first, [1.0, 1.0, 0.0], [0.0, 0.0, float("nan")], [-1.0, 1.0, 1.0]]
    data = [{"image": torch.rand(1, 4, 4), "label": torch.tensor(label)} for label in labels]
    return evaluator_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), Dataset(data))


def test_labels_that_name_several_classes_or_none_are_those_of_independent_findings(tmp_path):
    found = Measurement.of(multi_label(), [CleanSweep()], tmp_path, progress=False)
    assert found.task.name == "multi_label"
    assert found.classes == ["class 0", "class 1", "class 2"]


def test_labels_of_another_number_than_outputs_are_refused_with_what_would_do(tmp_path):
    data = [{"image": torch.rand(1, 4, 4), "label": torch.tensor([1.0, 1.0, index % 2])} for index in range(4)]
    evaluator = evaluator_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), Dataset(data))
    with pytest.raises(BadInputError, match=r"several classes at once.*BCEWithLogitsLoss.*--config_file.*multi_label"):
        Measurement.of(evaluator, [CleanSweep(), ATTACK], tmp_path, progress=False)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    attacked = evaluator_of(network, Dataset(data), iteration_update=UnderAttack(PGD(eps=0.5)))
    with pytest.raises(BadInputError, match=r"not one-hot.*several labels.*--robust_eval#loss @loss"):
        attacked.run()


def grouped_films(**more):
    return [
        {**film, "sex": "FM"[i % 2], **{key: made(i) for key, made in more.items()}} for i, film in enumerate(films())
    ]


@pytest.mark.parametrize("wrapped", [Dataset, lambda data: Subset(CacheDataset(data, progress=False), range(9))])
def test_groups_are_what_the_entries_of_the_evaluators_list_say(tmp_path, wrapped):
    site = [{**film, "image": film["image"] + 0.01} for film in films(3)]
    found = Measurement.of(
        evaluator_of(Brightness(), DataLoader(wrapped(grouped_films()))),
        [CleanSweep()],
        tmp_path,
        groups=["sex"],
        shifts={"south": DataLoader(Dataset(site))},
        sanity_samples=0,
        progress=False,
    )
    assert read_run(found.run()).clean["sex"].tolist() == list("FMFMFMFMF")


def test_a_group_that_the_evaluators_list_does_not_have_is_refused_with_those_it_has(tmp_path):
    evaluator = evaluator_of(Brightness(), Dataset(grouped_films()))
    with pytest.raises(BadInputError, match=r"no 'sexe' to report within.*entries have image, label, sex"):
        Measurement.of(evaluator, [CleanSweep()], tmp_path, groups=["sexe"], progress=False)


@pytest.mark.parametrize(
    ("key", "made"),
    [
        ("patient_id", lambda index: np.int64(index // 2)),
        ("PatientID", lambda index: f"P{index // 2}"),
        ("subject", lambda index: torch.tensor(index // 2)),
    ],
)
def test_patients_of_an_evaluators_data_are_known_however_the_key_is_spelt(key, made):
    samples = EvaluatorSamples(evaluator_of(Brightness(), Dataset(grouped_films(**{key: made}))), progress=False)
    assert len({item["patient_id"] for item in samples.items}) == 5


def test_files_of_one_name_in_two_folders_are_samples_of_their_own(tmp_path):
    loaders = {}
    for place, part in enumerate(("test", "val", "south")):
        (tmp_path / part).mkdir()
        items = []
        for index, film in enumerate(films(6)):
            file = tmp_path / part / f"{index}.npy"
            np.save(file, film["image"].numpy() + 0.01 * place)
            items.append({"image": str(file), "label": film["label"]})
        loaders[part] = DataLoader(Dataset(items, LoadImaged("image", image_only=True)), batch_size=2)
    found = Measurement.of(
        evaluator_of(Brightness(), loaders["test"]),
        [CleanSweep()],
        tmp_path / "run",
        validation=loaders["val"],
        shifts={"south": loaders["south"]},
        sanity_samples=0,
        progress=False,
    )
    run = read_run(found.run())
    assert run.clean["sample_id"].tolist() == [f"{index}.npy" for index in range(6)]
    assert run.validation is not None
    assert run.validation.clean["sample_id"].tolist() == [f"validation/{index}.npy" for index in range(6)]
    assert run.shifts["south"].clean["sample_id"].tolist() == [f"south/{index}.npy" for index in range(6)]


def test_patients_of_the_validation_who_are_measured_are_told_of(tmp_path, caplog):
    data = [{**film, "patient_id": f"P{index // 2}"} for index, film in enumerate(films())]
    south = [{**film, "image": film["image"] + 0.02} for film in films()]
    Measurement.of(
        evaluator_of(Brightness(), Dataset(data[3:])),
        [CleanSweep()],
        tmp_path,
        validation=DataLoader(Dataset(data[:3])),
        shifts={"south": DataLoader(Dataset(south))},
        sanity_samples=0,
        progress=False,
    ).run()
    assert "1 of 2 patients of the validation are called as patients that are measured" in caplog.text
    assert "of the shift" not in caplog.text


def test_a_loader_of_other_data_may_have_more_batches_than_the_evaluators_own(recwarn):
    evaluator = evaluator_of(Brightness(), Dataset(films()))
    assert len(other_samples(evaluator, DataLoader(Dataset(films()), batch_size=1), progress=False)) == 9
    assert evaluator.state.epoch_length == 3
    assert not [one for one in recwarn if "own run tells" in str(one.message)]


def test_samples_whose_entries_name_no_patient_are_their_own_and_a_warning_counts_them(caplog):
    data = grouped_films(patient_id=lambda index: index // 2)
    del data[4]["patient_id"]
    samples = EvaluatorSamples(evaluator_of(Brightness(), Dataset(data)), progress=False)
    assert len({item["patient_id"] for item in samples.items}) == 6
    assert "1 of 9 samples of the evaluator's data name no patient" in caplog.text


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"sampler": SubsetRandomSampler([7, 2, 4])}, [2, 4, 7]),
        ({"sampler": range(3)}, [0, 1, 2]),
        ({"batch_sampler": [[8, 0], [3]]}, [0, 3, 8]),
        ({"shuffle": True}, list(range(9))),
        ({"sampler": RandomSampler(range(9))}, list(range(9))),
        ({"batch_size": None}, list(range(9))),
    ],
)
def test_samples_that_the_loaders_sampler_leaves_out_are_not_measured(changes, places, recwarn):
    data = films()
    before = torch.get_rng_state()
    samples = EvaluatorSamples(evaluator_of(Brightness(), DataLoader(Dataset(data), **changes)), progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(samples) == len(places)
    for item, place in zip(samples, places, strict=True):
        assert torch.equal(item["image"], data[place]["image"])
    assert not [one for one in recwarn if "own run tells" in str(one.message)]


@pytest.mark.parametrize(
    ("changes", "more", "told"),
    [
        ({"sampler": WeightedRandomSampler([1.0] * 3 + [0.0] * 6, 12)}, {}, "draws 12 times from 9 samples"),
        ({"sampler": RandomSampler(range(9), replacement=True, num_samples=9)}, {}, "draws 9 times from 9 samples"),
        ({"batch_size": 4, "drop_last": True}, {}, "drop_last"),
        ({"batch_size": 4}, {"epoch_length": 1}, "epoch_length is 1 of 3 batches"),
    ],
)
def test_where_the_evaluators_own_run_tells_of_other_samples_a_warning_says_so(changes, more, told):
    evaluator = evaluator_of(Brightness(), DataLoader(Dataset(films()), **changes), **more)
    with pytest.warns(UserWarning, match=told):
        samples = EvaluatorSamples(evaluator, progress=False)
    assert len(samples) == 9


@pytest.mark.parametrize(("classes", "loss"), [(1, nn.BCEWithLogitsLoss()), (2, None)])
def test_labels_may_be_true_and_false(tmp_path, classes, loss):
    data = [{**film, "label": film["label"] == 2} for film in films()]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    found = Measurement.of(evaluator_of(network, data), [CleanSweep()], tmp_path, loss=loss, sanity_samples=0)
    assert read_run(found.run()).outcomes["label"].tolist() == [0, 0, 1] * 3


def test_labels_that_are_words_are_refused_as_such(tmp_path):
    data = [{**film, "label": "normal"} for film in films()]
    with pytest.raises(BadInputError, match=r"have labels that are no tensors \(str\)"):
        Measurement.of(evaluator_of(Brightness(), data), [CleanSweep()], tmp_path)
