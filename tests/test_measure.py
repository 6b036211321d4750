from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyNet
from synthetic_runs import measured_lines

from monai_robust.attacks import BIM, FGSM, FMN, IFGSM, PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import (
    AttackSweep,
    CleanSweep,
    CorruptionSweep,
    Measurement,
    NearestSweep,
    outcomes_of,
    read_gallery,
    read_outcomes,
    read_run,
    write_report,
)
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.tasks import Classification, Segmentation
from monai_robust.transforms import corruption

CLASSES = ["covid", "normal", "pneumonia"]
COUNT = 11
RADII = [0.25, 0.5]


class Films:
    """Images in memory, with the items they come from and those that were left out."""

    def __init__(self, count: int = COUNT) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = [0.1 + 0.8 * torch.rand(1, 8, 8, generator=generator) for _ in range(count)]
        self.items = [
            {
                "image": f"films/{index}.png",
                "label": index % 3,
                "sample_id": f"film{index}",
                "patient_id": f"patient{index // 2}",
                "source": "north" if index % 2 else "south",
            }
            for index in range(count)
        ]
        self.skipped = [{"sample_id": "film99", "file": "films/99.png", "reason": "it is constant, 0 everywhere"}]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index] | {"image": self.images[index]}


class Reversed(Films):
    """The same films in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.images.reverse()
        self.items.reverse()


def network(seed: int = 1) -> TinyNet:
    torch.manual_seed(seed)
    made = TinyNet()
    with torch.no_grad():
        made.head.weight.mul_(60)
        made.head.bias.sub_(made.eval()(torch.full((1, 1, 8, 8), 0.5))[0])
    return made.train()


def sweeps(radii=RADII, severities=(0.1, 0.5)):
    attack = PGD(norm="l2", steps=3, bounds=(0.0, 1.0), random_start="ball")
    noises = [CorruptionSweep(name, severities) for name in ("gaussian", "salt_and_pepper")]
    return [CleanSweep(), AttackSweep(attack, radii, faithful=True), *noises, CorruptionSweep("contrast_low", [0.5])]


def measurement(folder: Path, **changes) -> Measurement:
    arguments = {
        "network": network(),
        "dataset": Films(),
        "task": Classification(),
        "perturbations": sweeps(),
        "output_dir": folder,
        "name": "erm",
        "classes": CLASSES,
        "groups": ["source"],
        "record": {"recipe": "erm", "seed": 0, "epochs": 3},
        "batch_size": 4,
        "sanity_samples": 0,
        "progress": False,
    }
    return Measurement(**(arguments | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return measurement(tmp_path_factory.mktemp("finished")).run()


@pytest.fixture(scope="module")
def table(finished) -> pd.DataFrame:
    return read_outcomes(finished / "outcomes.csv", ["source"])


def block(table: pd.DataFrame, name: str, severity: float) -> pd.DataFrame:
    return table[(table["perturbation"] == name) & (table["severity"] == severity)].reset_index(drop=True)


def test_the_table_has_a_row_for_every_sample_perturbation_and_severity(table):
    planned = [(sweep.name, severity) for sweep in sweeps() for severity in sweep]
    assert len(table) == COUNT * len(planned)
    for name, severity in planned:
        rows = block(table, name, severity)
        assert rows["sample_id"].tolist() == [f"film{index}" for index in range(COUNT)]
        assert rows["patient_id"].tolist() == [f"patient{index // 2}" for index in range(COUNT)]
        assert rows["source"].tolist() == ["north" if index % 2 else "south" for index in range(COUNT)]
        assert rows["label"].tolist() == [index % 3 for index in range(COUNT)]
        assert set(rows["norm"]) == ({"l2"} if name == "pgd_l2" else {""})
    leading = ["sample_id", "patient_id", "perturbation", "severity", "norm", "source"]
    assert table.columns[:6].tolist() == leading
    task = ["label", "prediction", "probability_0", "probability_1", "probability_2", "score"]
    assert table.columns[-6:].tolist() == task


def test_clean_is_severity_0_and_what_the_network_says_to_the_inputs_themselves(table):
    assert set(table.loc[table["perturbation"] == "clean", "severity"]) == {0.0}
    assert not (table.loc[table["perturbation"] != "clean", "severity"] == 0).any()
    rows = block(table, "clean", 0.0)
    inputs = torch.stack(Films().images)
    with torch.no_grad():
        expected = network().eval()(inputs).softmax(dim=1).numpy()
    probabilities = rows[[f"probability_{index}" for index in range(3)]].to_numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert rows["prediction"].tolist() == expected.argmax(axis=1).tolist()
    assert (rows["distance"] == 0).all()
    np.testing.assert_allclose(rows["input_norm"], inputs.flatten(1).norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose(rows["contrast"], inputs.flatten(1).std(dim=1, correction=0), rtol=1e-5)


def searching(folder: Path, **changes) -> Measurement:
    attack = PGD(norm="l2", steps=3, bounds=(0.0, 1.0), random_start="ball")
    perturbations = [CleanSweep(), AttackSweep(attack, RADII)]
    return measurement(
        folder, perturbations=perturbations, batch_size=2, **changes
    )  # a block of 8 samples and one of 3


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    return searching(tmp_path_factory.mktemp("searched")).run()


@pytest.mark.parametrize("radius", RADII)
def test_a_search_over_radii_finds_right_and_wrong_as_attacks_at_every_radius_do(table, searched, radius):
    found = read_outcomes(searched / "outcomes.csv", ["source"])
    searched, faithful = block(found, "pgd_l2", radius), block(table, "pgd_l2", radius)
    assert searched["sample_id"].tolist() == faithful["sample_id"].tolist()
    assert (searched["distance"] <= radius * (1 + 1e-5)).all()
    assert (searched["score"] <= faithful["score"]).all()
    assert (faithful["score"] - searched["score"]).sum() <= 1  # a success on the way that the last step left again
    assert set(faithful["score"]) == {0.0, 1.0}


@pytest.mark.parametrize("radius", RADII)
def test_no_attack_leaves_its_radius_and_it_hurts(table, radius):
    rows = block(table, "pgd_l2", radius)
    assert (rows["distance"] <= radius * (1 + 1e-5)).all()
    assert (rows["distance"] > 0.9 * radius).all()

    def mean_loss(frame):
        picked = [row[f"probability_{int(row['label'])}"] for _, row in frame.iterrows()]
        return -np.log(picked).mean()

    assert mean_loss(rows) > mean_loss(block(table, "clean", 0.0)) + 0.01


def test_a_corrupted_sample_is_what_the_corruption_makes_of_it_alone():
    sweep = CorruptionSweep("gaussian", [0.5])
    inputs, names = torch.stack(Films().images), [f"film{index}" for index in range(COUNT)]
    together = sweep.apply(0.5, EvaluatedBatch(network(), inputs, None, Classification(), names, seed=3))
    alone = [
        sweep.apply(0.5, EvaluatedBatch(network(), inputs[i : i + 1], None, Classification(), [names[i]], seed=3))
        for i in (7, 2)
    ]
    assert torch.equal(torch.cat(alone), together[[7, 2]])
    assert not torch.equal(together[0] - inputs[0], together[1] - inputs[1])
    other = sweep.apply(0.5, EvaluatedBatch(network(), inputs, None, Classification(), names, seed=4))
    assert not torch.equal(other, together)


@pytest.mark.parametrize("name", ["gaussian", "salt_and_pepper"])
def test_what_a_corruption_does_to_a_sample_depends_neither_on_batches_nor_on_order(tmp_path, table, name):
    changes = {"batch_size": 3, "dataset": Reversed(), "perturbations": [CleanSweep(), CorruptionSweep(name, [0.5])]}
    folder = measurement(tmp_path, **changes).run()
    columns = ["label", "distance", "contrast", "probability_0", "probability_1"]
    here = block(read_outcomes(folder / "outcomes.csv", ["source"]), name, 0.5).set_index("sample_id")[columns]
    there = block(table, name, 0.5).set_index("sample_id")[columns]
    pd.testing.assert_frame_equal(here.sort_index(), there.sort_index(), rtol=1e-5)


def test_corruptions_without_noise_are_those_of_the_transforms(table):
    low = corruption("contrast_low", 0.5)
    expected = [float((low(image) - image).norm()) for image in Films().images]
    np.testing.assert_allclose(block(table, "contrast_low", 0.5)["distance"], expected, rtol=1e-4)


class Killed(BaseException):
    """As a signal would be: no ``except Exception`` stops it."""


class Stopping(Classification):
    """Dies at a given forward pass, whether it is an attack's or a measurement's; the first one is the probe's."""

    def __init__(self, after: int) -> None:
        self.left = after

    def forward(self, network, inputs, targets):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().forward(network, inputs, targets)


@pytest.mark.parametrize("after", [1, 3, 9, 21, 34])
def test_a_killed_measurement_continues_and_gives_the_identical_table(tmp_path, finished, after):
    with pytest.raises(Killed):
        measurement(tmp_path, task=Stopping(after)).run()
    whole = (finished / "outcomes.csv").read_bytes()
    assert set(measured_lines(tmp_path)) < set(whole.decode().splitlines())
    with pytest.raises(BadInputError):
        write_report([tmp_path], tmp_path / "report.html")  # half a table is no result
    measurement(tmp_path).run()
    assert (tmp_path / "outcomes.csv").read_bytes() == whole


@pytest.mark.parametrize("after", [8, 13, 21, 31, 37])
def test_a_killed_search_over_radii_continues_and_gives_the_identical_table(tmp_path, searched, after):
    with pytest.raises(Killed):
        searching(tmp_path, task=Stopping(after)).run()
    whole = (searched / "outcomes.csv").read_bytes()
    assert set(measured_lines(tmp_path)) < set(whole.decode().splitlines())
    searching(tmp_path).run()
    assert (tmp_path / "outcomes.csv").read_bytes() == whole


def test_a_run_says_whether_its_radii_were_searched(finished, searched):
    def attack(folder):
        return next(one for one in read_run(folder).perturbations if one.kind == "attack")

    assert attack(searched).settings["search"] == "smallest_radius"
    assert "search" not in attack(finished).settings


def test_a_table_that_was_cut_within_a_line_is_mended(tmp_path, finished):
    measurement(tmp_path).run()
    content = (tmp_path / "outcomes.csv").read_bytes()
    (tmp_path / "outcomes.csv").write_bytes(content[:-17])
    with pytest.raises(BadInputError, match="ends within a line"):
        read_run(tmp_path)
    measurement(tmp_path).run()
    assert (tmp_path / "outcomes.csv").read_bytes() == (finished / "outcomes.csv").read_bytes()


def test_what_is_measured_already_is_not_measured_again(tmp_path):
    measurement(tmp_path).run()
    before = (tmp_path / "outcomes.csv").read_bytes()
    measurement(tmp_path, task=Stopping(0)).run()
    assert (tmp_path / "outcomes.csv").read_bytes() == before


OTHERS = {
    "seed": {"seed": 1},
    "weights": {"network": network(2)},
    "radii": {"perturbations": sweeps(radii=[0.25, 0.75])},
    "attack": {"perturbations": [CleanSweep(), AttackSweep(PGD(steps=4), RADII)]},
    "severities": {"perturbations": sweeps(severities=(0.1, 0.6))},
    "training": {"record": {"recipe": "rtda", "seed": 0, "epochs": 3}},
    "samples": {"dataset": Films(COUNT - 1)},
    "batches": {"batch_size": 5},
}


@pytest.mark.parametrize("other", list(OTHERS))
def test_a_folder_with_another_measurement_is_refused_and_kept(tmp_path, other):
    with pytest.raises(Killed):
        measurement(tmp_path, task=Stopping(9)).run()
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(BadInputError, match="another folder"):
        measurement(tmp_path, **OTHERS[other]).run()
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_table_that_nobody_vouches_for_is_refused(tmp_path):
    (tmp_path / "outcomes.csv").write_text("sample_id\n")
    with pytest.raises(BadInputError, match=r"outcomes\.csv without run\.json"):
        measurement(tmp_path).run()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BadInputError, match=r"run\.json is damaged"):
        measurement(tmp_path).run()


def test_the_network_is_left_as_it_was_found(tmp_path):
    model = network()
    model.features[1].eval()
    model.head.bias.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measurement(tmp_path / "whole", network=model).run()
    with pytest.raises(Killed):
        measurement(tmp_path / "killed", network=model, task=Stopping(8)).run()
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [
        name != "head.bias" for name, _ in model.named_parameters()
    ]
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_the_record_says_what_was_measured_with_what_and_what_was_left_out(finished):
    info = json.loads((finished / "run.json").read_text())
    assert (info["name"], info["task"], info["recipe"], info["seed"]) == ("erm", "classification", "erm", 0)
    assert info["classes"] == CLASSES
    assert info["score"] == {"name": "accuracy", "higher_is_better": True}
    assert info["skipped"] == [{"file": "films/99.png", "reason": "it is constant, 0 everywhere"}]
    assert info["data"] == {"samples": 11, "patients": 6, "classes": {"covid": 4, "normal": 4, "pneumonia": 3}}
    assert info["settings"]["epochs"] == 3
    assert info["finished"] >= info["started"]
    assert info["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    described = {one["name"]: one for one in info["perturbations"]}
    assert described["pgd_l2"]["severities"] == RADII
    assert described["pgd_l2"]["settings"]["steps"] == 3
    assert described["pgd_l2"]["settings"]["random_start"] == "ball"


def test_the_checkpoint_is_known_by_its_content(tmp_path):
    torch.save(network().state_dict(), tmp_path / "model.pt")
    perturbations = [CleanSweep()]
    folder = measurement(tmp_path / "run", perturbations=perturbations, checkpoint=tmp_path / "model.pt").run()
    checkpoint = json.loads((folder / "run.json").read_text())["checkpoint"]
    assert checkpoint["file"] == "model.pt"
    assert len(checkpoint["sha256"]) == 64
    with pytest.raises(BadInputError, match=r"there is no checkpoint .*gone\.pt"):
        measurement(tmp_path / "other", checkpoint=tmp_path / "gone.pt").run()


def test_pictures_are_kept_of_one_sample_of_each_class(finished):
    gallery = read_gallery(finished / "gallery.npz")
    assert set(gallery.pictures) == {
        "clean", "pgd_l2@0.5", "gaussian@0.5", "salt_and_pepper@0.5", "contrast_low@0.5"
    }  # fmt: skip
    assert [caption.label for caption in gallery.captions["clean"]] == CLASSES
    upright = torch.cat(Films().images[:3]).mT  # readers order axes as (x, y), pictures have rows first
    np.testing.assert_allclose(gallery.pictures["clean"], upright.numpy())


class Counting(torch.nn.Module):
    """A network that counts the images that pass it."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.images = network(), 0

    def forward(self, inputs):
        self.images += len(inputs)
        return self.network(inputs)


def test_pictures_cost_no_pass_through_the_network(tmp_path):
    nearest = NearestSweep(FMN(steps=4, bounds=(0.0, 1.0)), 1.0)
    drawn, plain, again = Counting(), Counting(), Counting()
    folder = measurement(tmp_path / "drawn", network=drawn, perturbations=[*sweeps(), nearest]).run()
    without = measurement(tmp_path / "plain", network=plain, perturbations=[*sweeps(), nearest])
    without.pictures = False
    without.run()
    assert drawn.images == plain.images
    gallery = read_gallery(folder / "gallery.npz")
    assert len(gallery.pictures) == 6
    for place, said in enumerate(gallery.captions["nearest_l2@1.0"]):  # exactly what the table says
        row = block(read_outcomes(folder / "outcomes.csv", ["source"]), "nearest_l2", 1.0).iloc[place]
        assert said.prediction == CLASSES[row["prediction"]]
        assert said.confidence == row[f"probability_{row['prediction']}"]
    measurement(tmp_path / "drawn", network=again, perturbations=[*sweeps(), nearest]).run()
    assert again.images == 0


def test_a_killed_measurement_has_the_pictures_of_one_that_was_not(tmp_path, finished):
    with pytest.raises(Killed):
        measurement(tmp_path, task=Stopping(21)).run()
    measurement(tmp_path).run()
    assert (tmp_path / "gallery.npz").read_bytes() == (finished / "gallery.npz").read_bytes()
    assert not (tmp_path / "parts").exists()


def test_in_the_place_of_a_sample_that_failed_another_one_is_shown(tmp_path):
    class FirstUnreadable(Films):
        def __getitem__(self, index):
            if index == 0:
                raise OSError("the file is cut off")
            return super().__getitem__(index)

    folder = measurement(tmp_path / "run", dataset=FirstUnreadable(), perturbations=[CleanSweep()]).run()
    shown = read_gallery(folder / "gallery.npz").pictures["clean"]
    films = Films().images
    np.testing.assert_allclose(shown, torch.cat([films[1], films[2], films[3]]).mT.numpy()[[2, 0, 1]])


def test_the_report_shows_the_runs_own_numbers(tmp_path, finished):
    page = write_report([finished], tmp_path / "report.html").read_text()
    run = read_run(finished)
    accuracy = 100 * run.clean["score"].mean()
    assert f"{accuracy:.1f}" in page
    assert "erm" in page
    assert "film99" not in page
    assert "films/99.png" in (tmp_path / "report_tables" / "skipped.csv").read_text()
    assert "1 sample was skipped; why stands in report_tables/skipped.csv, which names it." in page


def test_perturbations_that_cannot_be_measured_are_refused(tmp_path):
    for radii in ([0.5, 0.0], [-1.0], [float("nan")]):
        with pytest.raises(BadInputError, match="radius eps is"):
            AttackSweep(PGD(), radii)
    with pytest.raises(BadInputError, match="no severities"):
        AttackSweep(PGD(), [])
    with pytest.raises(BadInputError, match="lists a severity twice"):
        CorruptionSweep("gaussian", [0.5, 0.5])
    with pytest.raises(BadInputError, match="gauss"):
        CorruptionSweep("gauss", [0.5])
    twice = [CleanSweep(), AttackSweep(PGD(), [1.0]), AttackSweep(PGD(steps=40), [1.0])]
    with pytest.raises(BadInputError, match="two perturbations have the same name"):
        measurement(tmp_path, perturbations=twice)


def test_two_attacks_of_one_kind_can_be_told_apart_by_name(tmp_path):
    perturbations = [CleanSweep(), AttackSweep(PGD(steps=2), [0.5]), AttackSweep(PGD(steps=4), [0.5], name="longer")]
    folder = measurement(tmp_path, perturbations=perturbations).run()
    found = read_outcomes(folder / "outcomes.csv", ["source"])
    assert set(found["perturbation"]) == {"clean", "pgd_l2", "longer"}


@pytest.mark.parametrize("key", ["label", "sample_id", "patient_id", "source"])
def test_a_data_set_without_what_the_table_needs_is_refused(tmp_path, key):
    films = Films()
    for item in films.items:
        del item[key]
    with pytest.raises(BadInputError, match=f"no {key!r}"):
        measurement(tmp_path, dataset=films).run()


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="empty"):
        measurement(tmp_path, dataset=Films(0)).run()


def test_the_largest_perturbation_in_linf_is_measured_in_linf(tmp_path):
    perturbations = [CleanSweep(), AttackSweep(PGD(norm="linf", steps=3), [0.05], faithful=True)]
    folder = measurement(tmp_path, perturbations=perturbations).run()
    rows = block(read_outcomes(folder / "outcomes.csv", ["source"]), "pgd_linf", 0.05)
    assert (rows["norm"] == "linf").all()
    np.testing.assert_allclose(rows["distance"], 0.05, atol=1e-6)


def test_what_an_attack_does_to_a_sample_depends_neither_on_batches_nor_on_order():
    sweep = AttackSweep(PGD(norm="l2", steps=2, random_start="sphere"), [1.0])
    inputs, model = torch.stack(Films().images), network().eval()
    labels, names = torch.arange(COUNT) % 3, [f"film{index}" for index in range(COUNT)]
    together = sweep.apply(1.0, EvaluatedBatch(model, inputs, labels, Classification(), names, seed=3))
    order = [7, 2, 5]
    evaluated = EvaluatedBatch(model, inputs[order], labels[order], Classification(), [names[i] for i in order], seed=3)
    torch.testing.assert_close(sweep.apply(1.0, evaluated), together[order], rtol=0, atol=1e-4)
    other = sweep.apply(1.0, EvaluatedBatch(model, inputs, labels, Classification(), names, seed=4))
    assert (other - together).flatten(1).norm(dim=1).min() > 0.05


def test_sweeps_of_different_attacks_have_different_names_by_default():
    attacks = [PGD(norm="l2"), BIM(norm="l2"), FGSM(norm="l2"), PGD(norm="linf"), BIM()]
    names = [AttackSweep(attack, [1.0]).name for attack in attacks]
    assert names == ["pgd_l2", "bim_l2", "fgsm_l2", "pgd_linf", "bim_linf"]
    assert AttackSweep(IFGSM(norm="l2"), [1.0], name="ifgsm_l2").describe(Classification())["name"] == "ifgsm_l2"


SIZES = [(8, 8)] * 3 + [(6, 10)] * 2 + [(8, 8)] * 3


class Slices:
    """Slices of three volumes, of two sizes; items tell what a slice is, not its pixels."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(6)
        self.images = [torch.rand(1, *size, generator=generator) for size in SIZES]
        self.labels = [(image > 0.6).long() + (image > 0.8).long() for image in self.images]
        self.labels[3] = torch.zeros_like(self.labels[3])
        self.labels[1] = self.labels[1].clamp(max=1)
        self.items = [
            {
                "sample_id": f"case{sum(place >= end for end in (3, 5))}/{place:03d}",
                "patient_id": f"case{sum(place >= end for end in (3, 5))}",
                "size": size,
                "foreground": tuple(label.unique()[label.unique() > 0].tolist()),
            }
            for place, (size, label) in enumerate(zip(SIZES, self.labels, strict=True))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index] | {"image": self.images[index], "label": self.labels[index]}


def segmenter() -> TinyNet:
    torch.manual_seed(3)
    made = TinyNet(dense=True)
    with torch.no_grad():
        made.head.weight.mul_(60)
        made.head.bias.sub_(made.eval()(torch.full((1, 1, 8, 8), 0.6)).mean(dim=(0, 2, 3)))
    return made.train()


def slices_measurement(folder: Path, **changes) -> Measurement:
    arguments = {
        "network": segmenter(),
        "dataset": Slices(),
        "task": Segmentation(),
        "perturbations": [
            CleanSweep(),
            AttackSweep(PGD(norm="l2", steps=2, random_start="ball"), [0.5, 2.0]),
            AttackSweep(BIM(norm="l2", steps=1), [1.0], name="ifgsm_l2"),
        ],
        "classes": ["head", "tail"],
        "groups": [],
        "batch_size": 2,
    }
    return measurement(folder, **(arguments | changes))


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> Path:
    return slices_measurement(tmp_path_factory.mktemp("slices")).run()


def test_slices_of_different_sizes_are_measured_in_their_own_batches(slices):
    found = block(read_outcomes(slices / "outcomes.csv"), "clean", 0.0)
    data, model = Slices(), segmenter().eval()
    assert (found[["tp_1", "tp_2", "fp_1", "fn_2"]].sum() > 0).all()  # predictions of every class, right and wrong
    for index, row in found.iterrows():
        with torch.no_grad():
            predicted = model(data.images[index][None]).argmax(dim=1)
        truth = data.labels[index]
        for c in (1, 2):
            assert row[f"tp_{c}"] == int(((predicted == c) & (truth == c)).sum())
            assert row[f"fp_{c}"] == int(((predicted == c) & (truth != c)).sum())
            assert row[f"fn_{c}"] == int(((predicted != c) & (truth == c)).sum())
    assert found["sample_id"].tolist() == [item["sample_id"] for item in data.items]


def test_a_slice_without_foreground_has_an_empty_score_and_is_no_scored_sample(slices, tmp_path):
    lines = (slices / "outcomes.csv").read_text().splitlines()
    assert lines[4].startswith("case1/003,")
    assert lines[4].endswith(",")
    found = read_outcomes(slices / "outcomes.csv")
    assert found["score"].isna().sum() == 4  # one of eight slices, under four perturbations
    write_report([slices], tmp_path / "report.html")
    summary = pd.read_csv(tmp_path / "report_tables" / "summary_of_runs.csv")
    assert set(summary["n"]) == {7}
    assert summary["score"].iloc[0] == pytest.approx(block(found, "clean", 0.0)["score"].dropna().mean())


class StoppingSegmentation(Segmentation):
    """Segmentation that dies at a given forward pass."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, network, inputs, targets):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().forward(network, inputs, targets)


@pytest.mark.parametrize("after", [1, 4, 5, 10, 22])
def test_a_killed_measurement_of_uneven_batches_continues_to_the_identical_table(tmp_path, slices, after):
    with pytest.raises(Killed):
        slices_measurement(tmp_path, task=StoppingSegmentation(after)).run()
    whole = (slices / "outcomes.csv").read_bytes()
    assert set(measured_lines(tmp_path)) < set(whole.decode().splitlines())
    slices_measurement(tmp_path).run()
    assert (tmp_path / "outcomes.csv").read_bytes() == whole


def test_the_gallery_of_slices_holds_what_was_predicted_and_what_is_true(slices):
    gallery = read_gallery(slices / "gallery.npz")
    assert gallery.truth is not None
    data = Slices()
    chosen = outcomes_of(Segmentation()).examples(data.items, ["head", "tail"])
    assert gallery.truth.shape == (len(chosen), 10, 8)
    with torch.no_grad():
        predicted = segmenter().eval()(data.images[chosen[0]][None]).argmax(dim=1)[0]
    width, height = SIZES[chosen[0]]
    np.testing.assert_array_equal(gallery.masks["clean"][0, :height, :width], predicted.mT)
    np.testing.assert_array_equal(gallery.truth[0, :height, :width], data.labels[chosen[0]][0].mT)
    assert set(gallery.masks) == {"clean", "pgd_l2@2.0", "ifgsm_l2@1.0"}


def test_the_record_of_slices_counts_those_that_hold_a_class(slices):
    info = json.loads((slices / "run.json").read_text())
    assert (info["task"], info["classes"]) == ("segmentation", ["head", "tail"])
    assert info["data"] == {"samples": 8, "patients": 3, "classes": {"head": 7, "tail": 6}}


def inverted(inputs, network):
    return network(1 - inputs)


def test_an_inferer_runs_the_network_for_attack_and_evaluation(tmp_path, slices):
    folder = slices_measurement(tmp_path / "a", inferer=inverted).run()
    other = read_outcomes(folder / "outcomes.csv")
    plain = read_outcomes(slices / "outcomes.csv")
    assert not block(other, "clean", 0.0)["score"].equals(block(plain, "clean", 0.0)["score"])
    assert json.loads((folder / "run.json").read_text())["settings"]["inferer"] == "inverted"

    class Inverting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = segmenter()

        def forward(self, x):
            return self.inner(1 - x)

    same = slices_measurement(tmp_path / "b", network=Inverting()).run()
    assert (same / "outcomes.csv").read_bytes() == (folder / "outcomes.csv").read_bytes()


def test_tables_of_the_training_are_copied_where_they_exist(tmp_path):
    (tmp_path / "epoch_times.csv").write_text("epoch,seconds\n1,2.5\n")
    tables = [tmp_path / "epoch_times.csv", tmp_path / "margins.csv"]
    folder = slices_measurement(tmp_path / "run", perturbations=[CleanSweep()], training_tables=tables).run()
    assert (folder / "epoch_times.csv").read_text() == "epoch,seconds\n1,2.5\n"
    assert not (folder / "margins.csv").exists()
    assert "Seconds per epoch" in write_report([folder], tmp_path / "report.html").read_text()


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(tmp_path, size):
    with pytest.raises(BadInputError, match=f"batch_size is {size}; it must be a whole number of at least 1"):
        measurement(tmp_path, batch_size=size)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "classification"}, "the task is 'classification'; give a task"),
        ({"perturbations": []}, r"no CleanSweep among the perturbations \(there are none\)"),
        ({"perturbations": sweeps()[1:]}, "no CleanSweep among the perturbations"),
        ({"perturbations": [CleanSweep(), PGD()]}, "a PGD is among the perturbations; they are sweeps"),
        ({"perturbations": [CleanSweep]}, "the class CleanSweep is among the perturbations"),
        ({"batch_size": "2"}, "batch_size is '2'; it must be a whole number of at least 1"),
        ({"num_workers": -1}, "num_workers is -1; it must be a whole number of at least 0"),
        ({"sanity_samples": 1.5}, "sanity_samples is 1.5; it must be a whole number of at least 0; 0 for no"),
        ({"perturbations": PGD()}, "a PGD is among the perturbations; they are sweeps"),
        ({"classes": ["covid", "normal", "covid"]}, "two classes are called 'covid'"),
        ({"classes": ["covid", "normal"]}, "outputs for 3 classes, and 2 are named"),
        ({"classes": [*CLASSES, "tuberculosis"]}, "outputs for 3 classes, and 4 are named"),
        ({"output_dir": None}, "output_dir is None; it takes a folder's path"),
        ({"output_dir": __file__}, "is a file, so that no results can go to .*; name another folder"),
        ({"output_dir": f"{__file__}/below"}, "is a file, so that no results can go to .*; name another folder"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_measured(tmp_path, changes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        measurement(tmp_path / "run", **changes).run()
    assert not (tmp_path / "run" / "outcomes.csv").exists()


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (float("nan"), "the label of sample 'film3' is nan: a label is nan"),
        (None, "the label of sample 'film3' is None: "),
        ("covid", "the label of sample 'film3' is 'covid': "),
        (0.5, "the label of sample 'film3' is 0.5: a label is 0.5"),
        (-1, "the label of sample 'film3' is -1, and 3 classes are named"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_its_sample(tmp_path, label, sentence):
    films = Films()
    films.items[3]["label"] = label
    with pytest.raises(BadInputError, match=sentence):
        measurement(tmp_path, dataset=films).run()


def test_samples_may_be_called_by_numbers_and_have_labels_of_one_row_of_classes(tmp_path):
    films = [
        {"image": image, "label": torch.eye(3)[index % 3], "sample_id": index, "patient_id": index // 2}
        for index, image in enumerate(Films().images)
    ]
    folder = measurement(tmp_path, dataset=films, perturbations=[CleanSweep()], groups=[]).run()
    found = read_outcomes(folder)
    assert found["sample_id"].tolist() == [str(index) for index in range(COUNT)]
    assert found["label"].tolist() == [index % 3 for index in range(COUNT)]


@pytest.mark.parametrize("nobody", [float("nan"), None, "", "unknown", np.float32("nan")])
def test_a_sample_whose_patient_or_group_nobody_knows_has_none(tmp_path, nobody):
    films = Films()
    for one in films.items[:6]:
        one.update(patient_id=nobody, source=nobody)
    folder = measurement(tmp_path, dataset=films, perturbations=[CleanSweep()], groups=["source"]).run()
    run = read_run(folder)
    assert len(np.unique(run.patients)) == 6 + 3  # patients 3, 4 and 5 have five films
    assert set(run.outcomes["source"].iloc[:6]) <= {"", "unknown"}
    assert set(run.outcomes["patient_id"].iloc[:6]) == {""}


def test_groups_that_are_one_in_two_spellings_are_refused(tmp_path):
    films = Films()
    films.items[4]["source"] = "South "
    with pytest.raises(BadInputError, match="the data set has the source 'South ' and the source 'south'"):
        measurement(tmp_path, dataset=films).run()


@pytest.mark.parametrize("seed", ["1", 1.0, True])
def test_a_seed_that_no_report_could_read_again_is_refused(tmp_path, seed):
    with pytest.raises(BadInputError, match="seed"):
        measurement(tmp_path / "run", seed=seed).run()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("attack", "radii", "sentence"),
    [
        (PGD(), 0.3, r"radii of a sweep are 0.3; give a list, such as \[0.3\]"),
        (PGD(), "0.3", "radii of a sweep are '0.3'"),
        (PGD(), None, "radii of a sweep are None; give a list"),
        (PGD, [0.3], "the class PGD; make one"),
        (lambda network, inputs, targets: inputs, [0.3], "the attack of a sweep is a function"),
    ],
)
def test_a_sweep_without_an_attack_or_a_list_of_radii_is_refused(attack, radii, sentence):
    with pytest.raises(BadInputError, match=sentence):
        AttackSweep(attack, radii)
