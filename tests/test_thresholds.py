from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from conftest import TinyNet
from linear_margins import BOUNDARIES, Ramp, items, make_margins, make_trainer
from monai.data import DataLoader
from monai.handlers import CheckpointSaver
from torch import nn

from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, Thresholds, fit_thresholds, read_thresholds
from monai_robust.tasks import LossTask, Segmentation, Task
from monai_robust.tasks.tensors import plain

CLEAN = -np.array(list(BOUNDARIES.values()))  # what Ramp says of the items


class TwoTerms(Task):
    """What Ramp says, and its square."""

    name = "two terms"

    def terms(self, outputs, targets):
        return {"level": outputs[:, 0], "square": outputs[:, 0] ** 2}


def loader(batch_size: int = 3) -> DataLoader:
    return DataLoader(items(), batch_size=batch_size)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, CLEAN.mean()),
        ({"statistic": "mean_std"}, CLEAN.mean() + 2 * CLEAN.std()),
        ({"statistic": "mean_std", "k": 0.5}, CLEAN.mean() + 0.5 * CLEAN.std()),
        ({"statistic": "quantile"}, np.quantile(CLEAN, 0.9)),
        ({"statistic": "quantile", "quantile": 0.25}, np.quantile(CLEAN, 0.25)),
        ({"statistic": "maximum"}, CLEAN.max()),
    ],
)
def test_a_threshold_is_the_statistic_of_clean_values(keywords, expected):
    fitted = fit_thresholds(Ramp(), loader(), TwoTerms(), **keywords)
    assert fitted["level"] == pytest.approx(expected)
    statistics = fitted.statistics["level"]
    assert statistics["samples"] == 8
    assert statistics["mean"] == pytest.approx(CLEAN.mean())
    assert statistics["std"] == pytest.approx(CLEAN.std())
    assert (statistics["minimum"], statistics["maximum"]) == pytest.approx((CLEAN.min(), CLEAN.max()))
    assert statistics["below"] == np.mean(expected > CLEAN)
    edges, counts = statistics["histogram"]["edges"], statistics["histogram"]["counts"]
    assert counts == np.histogram(CLEAN, len(counts), (CLEAN.min(), CLEAN.max()))[0].tolist()
    assert edges == pytest.approx(np.linspace(CLEAN.min(), CLEAN.max(), len(counts) + 1))


def test_every_term_may_have_a_statistic_of_its_own():
    fitted = fit_thresholds(Ramp(), loader(), TwoTerms(), statistic={"level": "quantile", "square": "mean_std"}, k=1.0)
    assert fitted["level"] == pytest.approx(np.quantile(CLEAN, 0.9))
    assert fitted["square"] == pytest.approx((CLEAN**2).mean() + (CLEAN**2).std())
    assert fitted.fitted["statistic"] == {"level": "quantile", "square": "mean_std"}


def test_a_term_may_be_compared_with_the_level_of_another_and_be_the_only_one_that_is_judged():
    fitted = fit_thresholds(Ramp(), loader(), TwoTerms(), like={"level": "square"})
    assert fitted["level"] == fitted["square"] == pytest.approx((CLEAN**2).mean())
    assert fitted.statistics["level"]["mean"] == pytest.approx(CLEAN.mean())
    assert dict(fitted.of_terms(["level"])) == {"level": fitted["level"]}
    with pytest.raises(BadInputError, match="no loss term is called 'cube', which `like` names"):
        fit_thresholds(Ramp(), loader(), TwoTerms(), like={"level": "cube"})


def test_the_batches_do_not_matter():
    results = [dict(fit_thresholds(Ramp(), loader(size), TwoTerms(), statistic="mean_std")) for size in (1, 3, 8)]
    assert results[0] == pytest.approx(results[1])
    assert results[0] == pytest.approx(results[2])


def test_a_batch_without_samples_adds_nothing():
    loss, (batch,) = LossTask(lambda outputs, _: outputs.mean()), loader(len(CLEAN))
    empty = {"image": batch["image"][:0], "label": batch["label"][:0]}
    assert dict(fit_thresholds(Ramp(), [empty, batch, empty], loss)) == pytest.approx({"loss": CLEAN.mean()})


def slices() -> list[dict[str, torch.Tensor]]:
    """Four slices of 4x4 pixels, of which the second and the last hold no foreground."""
    labels = torch.zeros(4, 1, 4, 4)
    labels[0, 0, :2] = 1
    labels[2, 0, 1, 1:3] = 2
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]


def test_slices_without_foreground_do_not_count_in_the_dice_threshold_but_in_the_others():
    data = slices()
    fitted = fit_thresholds(nn.Identity(), DataLoader(data, batch_size=3), Segmentation())
    logits = torch.stack([item["image"] for item in data])
    probabilities = logits.softmax(dim=1)
    by_hand = []
    for index, present in ((0, 1), (2, 2)):
        p, t = probabilities[index, present], (data[index]["label"][0] == present).float()
        by_hand.append(1 - (2 * (p * t).sum() / (p.sum() + t.sum())).item())
    labels = torch.stack([item["label"] for item in data]).long()
    cross_entropy = -logits.log_softmax(dim=1).gather(1, labels).mean()
    assert fitted["dice"] == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert fitted.statistics["dice"]["samples"] == 2
    assert fitted["cross_entropy"] == pytest.approx(cross_entropy.item(), abs=1e-6)
    assert fitted.statistics["cross_entropy"]["samples"] == 4


def test_data_on_which_a_term_is_never_defined_is_refused():
    empty = [{**item, "label": torch.zeros(1, 4, 4)} for item in slices()]
    with pytest.raises(BadInputError, match="no samples to fit thresholds on"):
        fit_thresholds(nn.Identity(), DataLoader(empty, batch_size=2), Segmentation())
    with pytest.raises(BadInputError, match="no samples to fit thresholds on"):
        fit_thresholds(nn.Identity(), [], Segmentation())


def test_the_network_runs_in_evaluation_mode_and_is_left_as_it_was(batch):
    inputs, labels = batch
    torch.manual_seed(1)
    network = TinyNet().train()
    network.features[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss = LossTask(nn.CrossEntropyLoss())
    data = [{"image": image, "label": label} for image, label in zip(inputs, labels, strict=True)]
    fitted = fit_thresholds(network, DataLoader(data, batch_size=2), loss)
    assert network.training
    assert network.dropout.training
    assert not network.features[0].weight.requires_grad
    assert network.head.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        expected = nn.functional.cross_entropy(network.eval()(inputs), labels)
    assert fitted["loss"] == pytest.approx(expected.item(), abs=1e-6)


def test_thresholds_survive_a_file(tmp_path):
    fitted = fit_thresholds(Ramp(), loader(), TwoTerms(), statistic="quantile")
    path = fitted.write(tmp_path / "new" / "thresholds.json")
    again = read_thresholds(path)
    assert dict(again) == dict(fitted)
    assert again.statistics == fitted.statistics
    assert again.fitted == fitted.fitted
    assert json.loads(path.read_text())["thresholds"] == dict(fitted)


def test_a_file_by_hand_needs_nothing_but_numbers(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"dice": 0.3, "cross_entropy": 2}')
    assert dict(read_thresholds(path)) == {"dice": 0.3, "cross_entropy": 2.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"mine\.json is no thresholds file"),
        ("[1, 2]", r"mine\.json is no thresholds file: it holds a list"),
        ("{}", "a number for each loss term"),
        ('{"thresholds": 3}', "a number for each loss term"),
        ('{"dice": "low"}', "threshold of 'dice' is 'low'"),
        ('{"dice": true}', "threshold of 'dice' is True"),
        ('{"dice": NaN}', "threshold of 'dice' is nan"),
    ],
)
def test_files_that_hold_no_thresholds_are_refused(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        read_thresholds(path)


STATISTICS = {"minimum": 0.2, "maximum": 0.6, "mean": 0.35}


@pytest.mark.parametrize(
    ("value", "statistics", "message"),
    [
        (0.1, STATISTICS, r"0\.1 of 'dice' is met by no clean sample \(.*0\.2 to 0\.6, mean 0\.35\); raise it"),
        (0.2, STATISTICS, "met by no clean sample"),
        (0.3, {"minimum": 0.4, "maximum": 0.4, "mean": 0.4}, "met by no clean sample"),
        (6.5, STATISTICS, r"6\.5 of 'dice' is over 10 times the largest clean value .*0\.2 to 0\.6.*lower it"),
    ],
)
def test_thresholds_out_of_reach_are_refused_with_the_numbers(value, statistics, message):
    with pytest.raises(BadInputError, match=message):
        Thresholds({"dice": value}, {"dice": statistics})


def test_thresholds_within_reach_are_kept_also_where_all_samples_are_alike():
    assert Thresholds({"dice": 0.21}, {"dice": STATISTICS})["dice"] == 0.21
    assert Thresholds({"dice": 5.9}, {"dice": STATISTICS})["dice"] == 5.9
    assert fit_thresholds(Ramp(), DataLoader(items({"a": 1.0})), TwoTerms())["level"] == pytest.approx(-1.0)


def test_a_quantile_that_no_sample_is_below_is_refused_when_fitted():
    values = torch.tensor([[-1.0], [-1.0], [-1.0], [-0.5]])
    data = [{"image": value, "label": 0.0} for value in values]
    with pytest.raises(BadInputError, match="met by no clean sample"):
        fit_thresholds(nn.Identity(), DataLoader(data, batch_size=4), TwoTermsOfVectors(), statistic="quantile",
                       quantile=0.1)  # fmt: skip


class TwoTermsOfVectors(TwoTerms):
    def terms(self, outputs, targets):
        return {"level": plain(outputs)[:, 0]}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"statistic": "median"}, "'median'; it can be mean, mean_std, quantile, maximum"),
        ({"statistic": {"square": "median"}}, "of 'square' is 'median'"),
        (
            {"statistic": {"crossentropy": "quantile"}},
            "'crossentropy', which `statistic` names; there are level, square",
        ),
        ({"statistic": "quantile", "quantile": 1.5}, "quantile is 1.5"),
        ({"statistic": "quantile", "quantile": "0.9"}, "quantile is '0.9'"),
        ({"statistic": "mean_std", "k": "2"}, "k is '2'; it must be a number"),
        ({"statistic": "mean_std", "k": float("nan")}, "k is nan; it must be a number"),
        ({"like": "square"}, "`like` is 'square'; it must be"),
    ],
)
def test_statistics_that_do_not_exist_are_refused(keywords, message):
    with pytest.raises(BadInputError, match=message):
        fit_thresholds(Ramp(), loader(), TwoTerms(), **keywords)


@pytest.mark.parametrize(
    ("task", "message"),
    [(TwoTerms, r"class TwoTerms; make one: TwoTerms\(\)"), (nn.L1Loss(), "the task is a L1Loss; give a task")],
)
def test_a_class_or_a_loss_is_no_task_to_fit_thresholds_of(task, message):
    with pytest.raises(BadInputError, match=message):
        fit_thresholds(Ramp(), loader(), task)


def test_a_network_that_says_nan_is_refused():
    network = Ramp()
    network.gain.data.fill_(float("nan"))
    with pytest.raises(BadInputError, match="NaN or infinite on clean data"):
        fit_thresholds(network, loader(), TwoTerms())


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"level": 0.0, "squares": 9.0}, r"no loss term is called 'squares'; its terms are level, square"),
        ({"level": 0.0}, r"the loss term 'square' has none; its terms are level, square"),
    ],
)
def test_thresholds_of_other_terms_are_refused_with_the_terms_there_are(thresholds, message):
    with pytest.raises(BadInputError, match=message):
        make_trainer(AdaptiveMargins(0.5, thresholds), task=TwoTerms()).run()
    make_trainer(AdaptiveMargins(0.5, {"square": 99.0, "level": 0.0}), task=TwoTerms()).run()


# --- from a checkpoint, when training starts -------------------------------------------------------------------------


def trained(folder, gain: float = 2.0):
    network = Ramp()
    network.gain.data.fill_(gain)
    torch.save({"network": network.state_dict()}, folder / "trained.pt")
    return folder / "trained.pt"


def test_margins_fit_their_thresholds_from_a_checkpoint_and_leave_them_beside_it(tmp_path, caplog):
    margins = AdaptiveMargins(0.5, trained(tmp_path), fit={"statistic": "quantile", "quantile": 0.75})
    network = Ramp()
    with caplog.at_level(logging.INFO):
        make_trainer(margins, network=network, shuffle=True, epochs=2).run()
    wanted = np.quantile(2 * CLEAN, 0.75)  # of the checkpoint's network, not of the one in training
    assert margins.thresholds["loss"] == pytest.approx(wanted)
    assert read_thresholds(tmp_path / "trained.thresholds.json")["loss"] == pytest.approx(wanted)
    assert "trained.thresholds.json" in caplog.text
    assert network.gain.item() == 1.0
    for name, boundary in BOUNDARIES.items():
        distance = wanted + boundary  # from what Ramp says, -boundary, to the threshold
        first = 1.0 if distance > 0.5 else 0.5
        assert margins.margin(name) == pytest.approx(
            first + 0.5 if first < distance else max((max(distance, 0) + first) / 2, 0.5), rel=1e-3
        ), name


def test_thresholds_are_fitted_by_the_task_that_the_training_step_has(tmp_path):
    margins = AdaptiveMargins(0.5, trained(tmp_path, 1.0))
    make_trainer(margins, task=TwoTerms()).run()
    assert dict(margins.thresholds) == pytest.approx({"level": CLEAN.mean(), "square": (CLEAN**2).mean()})


def test_thresholds_are_fitted_through_the_trainers_inferer_and_preparation(tmp_path):
    def prepare(batch, device, non_blocking, **keywords):
        return batch["image"] + 1, batch["label"]  # raises what Ramp says by the 4 of a 4x4 image

    margins = AdaptiveMargins(0.5, trained(tmp_path, 1.0))
    trainer = make_trainer(margins, inferer=lambda inputs, network: 3 * network(inputs), prepare_batch=prepare)
    trainer.run()
    assert margins.thresholds["loss"] == pytest.approx(3 * (CLEAN.mean() + 4))


def test_a_resumed_run_keeps_the_thresholds_it_had(tmp_path):
    path = trained(tmp_path)
    network = Ramp()
    first = AdaptiveMargins(0.5, path)
    saver = CheckpointSaver(str(tmp_path), {"network": network}, save_final=True, final_filename="last.pt")
    make_trainer(first, network=network, handlers=[saver]).run()
    second = AdaptiveMargins(0.5, trained(tmp_path, gain=9.0))
    second.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True)["margins"])
    make_trainer(second, epochs=2).run()
    assert dict(second.thresholds) == dict(first.thresholds)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save(TinyNet().state_dict(), tmp_path / "other.pt")
    with pytest.raises(BadInputError, match=r"other\.pt holds another network"):
        make_trainer(AdaptiveMargins(0.5, tmp_path / "other.pt")).run()
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(BadInputError, match=r"text\.pt cannot be read as a checkpoint"):
        make_trainer(AdaptiveMargins(0.5, tmp_path / "text.pt")).run()


def test_a_file_of_thresholds_is_what_training_uses(tmp_path):
    path = Thresholds({"loss": -1.0}).write(tmp_path / "thresholds.json")
    margins = make_margins(thresholds=str(path))
    make_trainer(margins, epochs=4).run()
    # Ramp starts at -boundary, so that -1 is reached one unit earlier than 0.
    assert margins.margin("h") == pytest.approx(2.5)
    assert margins.margin("c") == pytest.approx(max((0.41 + 0.5) / 2, 0.5))
