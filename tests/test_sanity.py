"""Sanity checks of an evaluation: attacks made to fail, networks made to hide, and sound ones that pass."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from monai_robust.attacks import APGD, BIM, FGSM, FMN, PGD, AttackEnsemble, Square, WindowAttack
from monai_robust.attacks.threat import L2
from monai_robust.commands.app import main
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, read_run, write_report
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, seeded
from monai_robust.evaluation.sanity.check import probe_radius, telling_samples
from monai_robust.evaluation.sanity.probed_attack import chance
from monai_robust.evaluation.sanity.probes import Probe, limited, unlimited, unmoved
from monai_robust.evaluation.tables.sanity_file import CHECKS, Finding, Sanity, read_sanity, write_sanity
from monai_robust.tasks import Classification, Landmarks, Segmentation

SIZE = 8


class Films:
    """Images with a bright left or right half, which is their class."""

    def __init__(self, count: int = 24) -> None:
        generator = torch.Generator().manual_seed(3)
        self.items = []
        for index in range(count):
            image = 0.3 + 0.1 * torch.rand(1, SIZE, SIZE, generator=generator)
            image[..., slice(0, SIZE // 2) if index % 2 else slice(SIZE // 2, SIZE)] += 0.2
            names = {"sample_id": f"film{index}", "patient_id": f"patient{index}"}
            self.items.append({"image": image, "label": index % 2, **names})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index]


class Halves(nn.Module):
    """Compares both halves: linear, so that every gradient is right and one step is as good as many."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, inputs: Tensor) -> Tensor:
        left, right = inputs.flatten(1, -2).mean(dim=1).split(SIZE // 2, dim=1)
        difference = self.gain * (left.mean(dim=1) - right.mean(dim=1))
        return torch.stack([-difference, difference], dim=1)


class Stepped(Halves):
    """Sees intensities in steps, whose gradient is zero."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward((inputs * 20).round() / 20)


class Misleading(Halves):
    """Right forwards, but its gradient points the wrong way."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(2 * inputs.detach() - inputs)


class Noisy(Halves):
    """Adds noise to what it is shown, each time another."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs + 0.02 * torch.randn_like(inputs))


PLAIN = PGD(norm="l2", steps=10, bounds=(0.0, 1.0))
RADII = [0.2, 0.7, 1.2]  # a film changes its class at about 0.8


def measurement(folder: Path, network: nn.Module | None = None, attack=PLAIN, radii=RADII, **changes) -> Measurement:
    arguments = {
        "network": network or Halves(),
        "dataset": Films(),
        "task": Classification(),
        "perturbations": [CleanSweep(), AttackSweep(attack, radii, name="attack")],
        "output_dir": folder,
        "name": "erm",
        "classes": ["left", "right"],
        "progress": False,
    }
    return Measurement(**(arguments | changes))


def findings(folder: Path, *arguments, **changes) -> dict[str, Finding]:
    found = read_sanity(measurement(folder, *arguments, **changes).run())
    assert found is not None
    return {one.check: one for one in found.findings}


def warned(found: dict[str, Finding]) -> set[str]:
    return {name for name, one in found.items() if one.status == "warn"}


def test_a_sound_attack_on_an_honest_network_passes_every_check(tmp_path):
    found = findings(tmp_path, attack=PGD(norm="l2", steps=10, bounds=(0.0, 1.0), random_start="ball"))
    assert list(found) == list(CHECKS)
    assert {one.status for one in found.values()} == {"pass"}


@pytest.mark.parametrize(
    "attack",
    [
        APGD(norm="linf", steps=6, bounds=(0.0, 1.0), loss="dlr"),
        APGD(norm="l2", steps=6, restarts=2, stop_at_success=True),
        BIM(norm="l2", goal="least_likely"),
        PGD(norm="l2", steps=5, goal=1, bounds="per_image"),
        FGSM(norm="l2"),
        FMN(norm="l2", steps=20),
        AttackEnsemble([APGD(norm="l2", steps=6, random_start="ball"), Square(norm="l2", queries=20)]),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_other_sound_attacks_pass_whatever_applies(tmp_path, attack):
    radii = [0.02, 0.08, 0.15] if attack.norm.name == "linf" else RADII
    found = findings(tmp_path, attack=attack, radii=radii)
    assert warned(found) == set(), [one.sentence for one in found.values() if one.status == "warn"]
    assert sum(one.status == "pass" for one in found.values()) >= 6


def test_checks_that_make_no_sense_for_a_black_box_say_so(tmp_path):
    found = findings(tmp_path, attack=Square(norm="l2", queries=40, bounds=(0.0, 1.0)))
    apart = {"black_box_does_not_win", "gradients_alive", "start_does_not_win", "travels_radius"}
    assert {name for name, one in found.items() if one.status == "not_applicable"} == apart
    assert "guesses itself" in found["black_box_does_not_win"].sentence
    assert warned(found) == set()


def test_a_search_that_finds_no_way_is_seen_by_its_loss(tmp_path):
    found = findings(tmp_path, Stepped())
    assert found["loss_grows_with_steps"].status == "warn"
    assert found["loss_grows_with_steps"].numbers["raised"] == 0


class Returning(PGD):
    """Does its first step only, and loses it in longer searches."""

    def _search(self, network, samples, task):
        found = super()._search(network, samples, task)
        return found if self.steps == 1 else samples.clean + 0.1 * (found - samples.clean)


def test_a_longer_search_that_does_less_harm_is_seen(tmp_path):
    found = findings(tmp_path, attack=Returning(norm="l2", steps=10))
    assert "A longer search does less harm" in found["loss_grows_with_steps"].sentence
    assert found["loss_grows_with_steps"].status == "warn"
    losses = found["loss_grows_with_steps"].numbers["loss"]
    assert losses[0] < losses[2] < losses[1]


class Timid(PGD):
    """Does nothing where its radius is large."""

    def _search(self, network, samples, task):
        found = super()._search(network, samples, task)
        large = (samples.eps > 1.0).reshape(-1, 1, 1, 1)
        return torch.where(large, samples.clean, found)


def test_a_larger_radius_that_does_less_harm_is_seen_in_the_table(tmp_path):
    found = findings(tmp_path, attack=Timid(norm="l2", steps=5), radii=[0.2, 0.95, 1.2])
    assert found["loss_grows_with_radius"].status == "warn"
    assert {"loss_grows_with_radius", "succeeds_at_large_radius"} <= warned(found)


def test_a_few_samples_that_do_better_at_a_larger_radius_are_chance(tmp_path):
    folder = measurement(tmp_path).run()
    table = pd.read_csv(folder / "outcomes.csv")
    assert table.groupby(["perturbation", "severity"])["score"].mean().loc["attack"].iloc[-1] == 0
    few = table.index[(table["perturbation"] == "attack") & (table["severity"] == 1.2)][:2]
    table.loc[few, "score"] = 1
    table.to_csv(folder / "outcomes.csv", index=False)
    (folder / "sanity.json").unlink()
    measurement(tmp_path).run()
    assert not read_sanity(folder).warnings


def test_a_network_that_survives_a_change_without_limit_is_not_believed(tmp_path):
    found = findings(tmp_path, Stepped())
    assert found["succeeds_at_large_radius"].status == "warn"
    assert found["succeeds_at_large_radius"].numbers["share"] == 0
    assert "the search fails" in found["succeeds_at_large_radius"].sentence


def test_guesses_that_beat_the_search_betray_a_hidden_gradient(tmp_path):
    found = findings(tmp_path, Misleading(), radii=[2.0])
    verdict = found["black_box_does_not_win"]
    assert verdict.status == "warn"
    assert verdict.numbers["black_box_only"] > 4
    assert verdict.numbers["p"] < 0.05


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (4, 0), (5, 0), (5, 1), (3, 9), (40, 21)])
def test_chance_is_that_of_the_one_sided_exact_sign_test(wins, losses):
    expected = binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
    assert chance(wins, losses) == pytest.approx(expected)


def test_gradients_that_vanish_are_counted(tmp_path):
    assert findings(tmp_path / "a", Stepped())["gradients_alive"].numbers == {
        "samples": 16, "zero": 16, "not_finite": 0
    }  # fmt: skip
    # a network so sure of itself that its loss underflows
    assert findings(tmp_path / "b", Halves(2000.0))["gradients_alive"].status == "warn"


def test_a_fragile_network_that_noise_alone_defeats_is_seen_at_the_start(tmp_path):
    class Fragile(Halves):
        """Wrong as soon as an image is not smooth."""

        def forward(self, inputs: Tensor) -> Tensor:
            rough = (inputs[..., 1:] - inputs[..., :-1]).abs().mean(dim=(1, 2, 3))
            return super().forward(inputs) * (0.075 - rough)[:, None]

    found = findings(tmp_path, Fragile(100.0), PGD(norm="l2", steps=10, random_start="sphere"), radii=[2.0])
    assert found["start_does_not_win"].status == "warn"
    assert found["start_does_not_win"].numbers["start"] > 8


def test_without_a_random_start_there_is_nothing_to_win_by_it(tmp_path):
    assert findings(tmp_path)["start_does_not_win"].status == "not_applicable"


@pytest.mark.parametrize(
    ("attack", "reach"),
    [
        (PGD(norm="l2", steps=10, step_size=0.02), 0.2),
        (BIM(norm="l2", steps=10, relative_step=0.5), 0.6),
        (APGD(norm="l2", steps=10, step_size=0.03), 0.3),
        (AttackEnsemble([APGD(norm="l2", steps=5), APGD(norm="l2", steps=5, step_size=0.01)]), 0.05),
    ],
    ids=["absolute", "relative", "apgd", "member"],
)
def test_steps_that_cannot_reach_the_radius_are_seen(tmp_path, attack, reach):
    verdict = findings(tmp_path, attack=attack)["travels_radius"]
    assert verdict.status == "warn"
    assert verdict.numbers == {"radius": 1.2, "reach": pytest.approx(reach)}


@pytest.mark.parametrize(("eot", "status"), [(1, "warn"), (4, "pass")])
def test_a_network_that_answers_at_random_needs_an_average(tmp_path, eot, status):
    verdict = findings(tmp_path, Noisy(), APGD(norm="l2", steps=4, eot=eot))["deterministic_network"]
    assert verdict.status == status
    assert verdict.numbers["difference"] > 0
    assert "at random" in verdict.sentence


def test_a_loss_that_overflows_is_a_warning_and_no_crash(tmp_path):
    class Overflowing(Halves):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * torch.where((inputs - 0.45).abs().amax() > 0.4, torch.inf, 1.0)

    found = findings(tmp_path, Overflowing(), radii=[0.2])
    assert found["succeeds_at_large_radius"].status == "warn"
    assert "broke off" in found["succeeds_at_large_radius"].sentence


class Blobs:
    """Images of a size of its own, each with a bright square to be found; some padded, with their mask."""

    def __init__(self, dims: int = 2) -> None:
        generator = torch.Generator().manual_seed(4)
        self.items = []
        for index in range(10):
            image = 0.2 * torch.rand(1, *[10] * dims, generator=generator)
            label = torch.zeros(1, *[10] * dims)
            mask = torch.ones(1, *[10] * dims, dtype=torch.bool)
            place = (slice(None), *[slice(index % 3 + 1, index % 3 + 6)] * dims)
            image[place] += 0.6
            label[place] = 1
            if index % 2:
                mask[:, 8:], image[:, 8:], label[:, 8:] = False, 0, 0
            names = {"sample_id": f"blob{index}", "patient_id": f"patient{index}", "foreground": (1,)}
            self.items.append({"image": image, "label": label, "image_mask": mask, **names})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index]


class Threshold(nn.Module):
    """Two logits for each pixel, by its intensity, seen in steps if asked to."""

    def __init__(self, stepped: bool = False) -> None:
        super().__init__()
        self.stepped = stepped

    def forward(self, inputs: Tensor) -> Tensor:
        seen = (inputs * 5).round() / 5 if self.stepped else inputs
        return torch.cat([0.5 - seen, seen - 0.5], dim=1) * 8


def segmentation(folder: Path, network: nn.Module, attack, dims: int = 2, **changes) -> dict[str, Finding]:
    given = {"task": Segmentation(), "dataset": Blobs(dims), "classes": ["blob"], "batch_size": 4}
    return findings(folder, network, attack, [0.5, 2.0], **(given | changes))


@pytest.mark.parametrize("dims", [2, 3])
def test_dense_outputs_of_padded_images_and_volumes_are_checked_by_loss_and_score(tmp_path, dims):
    found = segmentation(tmp_path, Threshold(), PGD(norm="l2", steps=5, random_start="ball"), dims)
    assert {one.status for one in found.values()} == {"pass"}
    numbers = found["succeeds_at_large_radius"].numbers
    assert numbers["attacked"] < 0.1 < numbers["clean"]
    assert numbers["wiped"] == 0


def test_dense_outputs_that_hide_their_gradient_are_seen(tmp_path):
    found = segmentation(tmp_path, Threshold(stepped=True), PGD(norm="l2", steps=5))
    expected = {"loss_grows_with_steps", "succeeds_at_large_radius", "black_box_does_not_win", "gradients_alive"}
    assert warned(found) == expected


def halves(inputs: Tensor, network: nn.Module) -> Tensor:
    """An inferer that runs the network on each half of an image."""
    return torch.cat([network(part) for part in inputs.chunk(2, dim=2)], dim=2)


@pytest.mark.full
def test_attacks_on_windows_and_inferers_are_probed_as_they_are(tmp_path):
    attack = WindowAttack(PGD(norm="l2", steps=4, random_start="sphere"), (6, 6))
    found = segmentation(tmp_path, Threshold(), attack, inferer=halves)
    assert warned(found) == set()
    assert found["travels_radius"].status == "pass"


class Points:
    """A bright dot in each image, and its place."""

    def __init__(self) -> None:
        self.items = []
        for index in range(6):
            image = torch.zeros(1, 16, 16)
            place = (4 + index, 10 - index)
            image[0, place[0], place[1]] = 1.0
            names = {"sample_id": f"dot{index}", "patient_id": f"patient{index}"}
            points = torch.tensor([[*map(float, place), 1.0, 1.0]])
            self.items.append({"image": image, "label": points, "points": [place], **names})
        self.items[3] |= {"label": torch.full((1, 4), torch.nan), "points": [(torch.nan, torch.nan)]}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self.items[index]


class Dots(nn.Module):
    """Heatmap logits by the smoothed image, and no offsets."""

    def forward(self, inputs: Tensor) -> Tensor:
        heat = 20 * nn.functional.avg_pool2d(inputs, 3, 1, 1) - 1
        return torch.cat([heat, 0 * heat, 0 * heat], dim=1)


def test_errors_grow_where_other_scores_fall(tmp_path):
    found = findings(
        tmp_path, Dots(), PGD(norm="l2", steps=5), [0.2, 1.0], task=Landmarks(radius=2.0), dataset=Points(),
        classes=["dot"],
    )  # fmt: skip
    assert warned(found) == set(), [one.sentence for one in found.values()]
    numbers = found["succeeds_at_large_radius"].numbers
    assert numbers["attacked"] > numbers["clean"] >= 0
    # the image without a visible dot has nothing to lose
    assert found["gradients_alive"].numbers["samples"] == 5


def evaluated_batches(attack) -> Probe:
    films = Films(4)
    inputs = torch.stack([film["image"] for film in films.items])
    labels = torch.tensor([film["label"] for film in films.items])
    evaluated = EvaluatedBatch(Halves().eval(), inputs, labels, Classification(), ["a", "b", "c", "d"], seed=1)
    return Probe(AttackSweep(attack, RADII), [evaluated], 0.4)


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_an_attack_that_does_not_move_is_its_start_and_the_given_one_is_left_alone(kind):
    attack = kind(norm="l2", steps=10, random_start="sphere")
    probe = evaluated_batches(attack)
    (start,) = probe.points(unmoved(attack))
    (moved,) = probe.points()
    generators = [seeded(1, probe.sweep.name, 0.4, name) for name in "abcd"]
    drawn = [L2().sample(probe.clean[0][:1], torch.tensor([0.4]), one, surface=True) for one in generators]
    torch.testing.assert_close(start - probe.clean[0], torch.cat(drawn))
    assert not torch.allclose(start, moved, atol=1e-3)
    assert (attack.steps, attack.step_size) == (10, None)


def test_the_start_of_an_ensemble_is_that_of_its_searching_members():
    members = [PGD(norm="l2", random_start="ball"), Square(norm="l2", queries=9), APGD(norm="l2")]
    kept = unmoved(AttackEnsemble(members))
    assert [type(one) for one in kept.members] == [PGD]
    assert kept.members[0].steps == 1


def test_budgets_and_steps_reach_the_members_of_an_ensemble_and_the_attack_on_windows():
    members = [APGD(norm="l2", steps=6, step_size=0.1), Square(norm="l2", queries=40)]
    halved = limited(AttackEnsemble(members), lambda steps: steps // 2)
    assert [one.budget for one in halved.members] == [3, 20]
    assert halved.members[1].queries == 20
    assert [one.budget for one in members] == [6, 40]
    windows = unlimited(WindowAttack(members[0], (4, 4)))
    assert windows.attack.step_size is None
    assert members[0].step_size == 0.1


def test_the_farthest_change_may_turn_an_image_into_any_other_within_its_bounds():
    probe = evaluated_batches(PGD(norm="linf", steps=2, relative_step=50.0, bounds=(0.0, 1.0)))
    (far,) = probe.farthest()
    assert set(far.unique().tolist()) == {0.0, 1.0}


def test_samples_are_those_with_something_to_lose_balanced_and_apart():
    labels = [0] * 12 + [1] * 6 + [2] * 2
    clean = pd.DataFrame({"label": labels, "score": [1.0] * 20})
    clean.loc[[0, 3], "score"] = 0.0
    chosen = telling_samples(clean, 7, higher_is_better=True)
    assert [labels[index] for index in chosen] == [0, 0, 0, 1, 1, 2, 2]
    assert not {0, 3} & set(chosen)
    assert all(later - earlier > 1 for earlier, later in pairwise(chosen[:5]))
    errors = pd.DataFrame({"score": [1.0, float("nan"), 0.0]})
    assert telling_samples(errors, 9, higher_is_better=False) == [0, 2]
    assert telling_samples(pd.DataFrame({"score": [0.0, 0.0]}), 9, higher_is_better=True) == [0, 1]


def test_an_attack_is_probed_where_half_of_the_score_is_left():
    merits = {0.0: 0.9, 1.0: 0.7, 2.0: 0.5, 3.0: 0.1}
    scores = {radius: torch.tensor([mean]).numpy() for radius, mean in merits.items()}
    assert probe_radius(scores, higher_is_better=True) == 2.0
    errors = {0.0: 2.0, 1.0: 3.0, 2.0: 5.0}
    assert probe_radius({key: torch.tensor([mean]).numpy() for key, mean in errors.items()}, False) == 1.0
    assert probe_radius({0.0: scores[0.0], 5.0: scores[3.0], 7.0: scores[3.0]}, higher_is_better=True) == 5.0


def test_a_finished_file_is_kept_and_the_same_arguments_give_the_same_file(tmp_path):
    noisy = {"network": Noisy(), "attack": PGD(norm="l2", steps=3, random_start="ball")}
    torch.manual_seed(5)
    first = measurement(tmp_path / "a", **noisy).run() / "sanity.json"
    torch.manual_seed(5)
    assert (measurement(tmp_path / "b", **noisy).run() / "sanity.json").read_bytes() == first.read_bytes()
    stamp = first.stat().st_mtime_ns
    measurement(tmp_path / "a", **noisy).run()
    assert first.stat().st_mtime_ns == stamp
    content = first.read_bytes()
    first.unlink()
    measurement(tmp_path / "a", **noisy).run()
    assert first.read_bytes() == content


def test_the_random_numbers_of_others_are_left_alone(tmp_path):
    drawn = []
    for samples in (0, 16):
        torch.manual_seed(7)
        measurement(tmp_path / str(samples), Noisy(), sanity_samples=samples).run()
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]


def test_checks_can_be_left_out_and_the_report_says_so(tmp_path):
    folder = measurement(tmp_path, sanity_samples=0).run()
    assert not (folder / "sanity.json").exists()
    assert read_run(folder).sanity is None
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "The attacks were not checked" in page
    with pytest.raises(BadInputError, match="sanity_samples is -1"):
        measurement(tmp_path, sanity_samples=-1)


def test_corruptions_need_no_such_checks(tmp_path):
    folder = measurement(tmp_path, perturbations=[CleanSweep(), CorruptionSweep("gaussian", [0.1])]).run()
    assert read_sanity(folder) == Sanity(16, [])
    assert "Can these numbers be trusted?" not in write_report([folder], tmp_path / "report.html").read_text()


def test_a_file_that_is_no_record_of_checks_is_refused(tmp_path):
    (tmp_path / "sanity.json").write_text("{}")
    with pytest.raises(BadInputError, match="no record of sanity checks"):
        read_sanity(tmp_path)
    write_sanity(tmp_path, Sanity(4, [Finding("pgd_l2", "it_rains", "pass", "It does.")]))
    with pytest.raises(BadInputError, match="it_rains"):
        read_sanity(tmp_path)


def test_numbers_that_do_not_exist_are_null(tmp_path):
    write_sanity(tmp_path, Sanity(4, [Finding("a", "travels_radius", "pass", "Far.", {"reach": [float("nan"), 1.0]})]))
    assert json.loads((tmp_path / "sanity.json").read_text())["findings"][0]["numbers"] == {"reach": [None, 1.0]}


def test_the_report_shows_every_check_and_the_warnings_in_full(tmp_path):
    sound = measurement(tmp_path / "a", name="sound").run()
    masked = measurement(tmp_path / "b", Stepped(), name="masked").run()
    page = write_report([sound, masked], tmp_path / "report.html").read_text()
    assert all(question in page for question in CHECKS.values())
    assert "Sanity checks warn of an attack on masked" in page
    warnings = read_sanity(masked).warnings
    assert warnings
    assert all(one.sentence in page for one in warnings)
    assert "sound, attack: all of 8 checks; 1 does not apply." in page
    table = pd.read_csv(tmp_path / "report_tables" / "table_sanity.csv").set_index("Check")
    assert set(table["sound, attack"]) == {"passed", "does not apply"}
    assert (table["masked, attack"] == "warning").sum() == len(warnings)
    rows = pd.read_csv(tmp_path / "report_tables" / "sanity.csv")
    assert len(rows) == 2 * len(CHECKS)


BUNDLE = """
measurement:
  _target_: test_sanity.measurement
  folder: "@evaluation_dir"
  network: "$@network_class()"
  sanity_samples: "@samples"
  checkpoint: "@checkpoint"
run: ["$@measurement.run()"]
"""


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """``monai-robust evaluate`` of a bundle with a given network: exit status and standard error."""
    configs = tmp_path / "bundle" / "configs"
    configs.mkdir(parents=True)
    train = "imports: ['$import test_sanity']\nnetwork_class: $test_sanity.Halves\nsamples: 16\n"
    (configs / "train.yaml").write_text(train)
    (configs / "robustness.yaml").write_text(BUNDLE)
    torch.save({"network": {}}, tmp_path / "model.pt")
    (tmp_path / "training.json").write_text("{}")

    def run(*words: str) -> tuple[int, list[str]]:
        given = ["evaluate", tmp_path / "bundle", "--checkpoint", tmp_path / "model.pt", "--output_dir", tmp_path / "o"]
        monkeypatch.setattr(sys, "argv", ["monai-robust", *map(str, given), *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, capsys.readouterr().err.splitlines()

    return run


pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, of every configuration


@pytest.mark.full
def test_strict_ends_with_status_0_where_every_check_passes(evaluate, tmp_path):
    status, lines = evaluate("--strict")
    assert status == 0, lines
    assert (tmp_path / "o" / "report.html").is_file()


def test_strict_ends_with_status_3_and_a_line_for_each_warning(evaluate, tmp_path):
    masked = ("--network_class", "$test_sanity.Stepped")
    assert evaluate(*masked)[0] == 0
    status, lines = evaluate("--strict", *masked)
    assert status == 3
    warnings = [line for line in lines if line.startswith("warning: attack, ")]
    assert len(warnings) == len(read_sanity(tmp_path / "o").warnings) > 2
    assert (tmp_path / "o" / "report.html").is_file()


def test_strict_without_checks_is_refused(evaluate):
    status, lines = evaluate("--strict", "--samples", "0")
    assert status == 2
    assert lines[-1].startswith("error: --strict needs sanity checks")
