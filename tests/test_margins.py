from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyNet
from ignite.engine import Events
from ignite.handlers import Checkpoint, DiskSaver
from linear_margins import BOUNDARIES, Ramp, course_of, expected, image, items, level, make_margins, make_trainer
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, PersistentDataset
from monai.engines import IterationEvents, SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandCropByPosNegLabeld,
    RandSpatialCropSamplesd,
)
from torch import nn

from monai_robust.attacks import BIM, PGD, WindowAttack
from monai_robust.attacks.threat import L2
from monai_robust.data.sample_ids import batch_ids
from monai_robust.engines import RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, RecordedMargins, TrainingLoader, TrainingSaver, WarmupRadius
from monai_robust.margins.radii import AttackTrace
from monai_robust.recipes import Recipe
from monai_robust.tasks import Classification, LossTask, Watched
from monai_robust.tasks.tensors import select_rows

# --- the rule, on a loss whose boundary is known ---------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.5, 7.3], ids=["from inside", "from outside"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_margins_close_in_on_the_boundary(norm, start):
    # In L-inf a perturbation of size r raises the sum of 16 pixels by 4 times as much as in L2.
    boundaries = {name: value / (4.0 if norm == "linf" else 1.0) for name, value in BOUNDARIES.items()}
    step = 0.5 if norm == "l2" else 0.125
    start = start if norm == "l2" else start / 4
    margins = make_margins(step, initial=start)
    course = course_of(make_trainer(margins, epochs=20, attack=PGD(norm=norm, steps=5)), margins)
    for name, boundary in boundaries.items():
        assert course[name] == pytest.approx(expected(boundary, 20, step, start), rel=1e-3), name
        assert max(boundary, step) * 0.999 <= course[name][-1] <= boundary + step
        if start > boundary + step:
            assert course[name][-1] < start / 1.2
    came_down = sum(
        np.diff([start, *expected(boundary, 20, step, start)]).min() < 0 for boundary in boundaries.values()
    )
    assert margins.ever_shrunk == came_down / len(boundaries) > 0.8


@pytest.mark.parametrize("start", [0.5, 7.3], ids=["from inside", "from outside"])
@pytest.mark.parametrize("random_start", ["sphere", "ball"])
def test_an_attack_that_starts_elsewhere_has_its_segment_bisected(random_start, start):
    margins = make_margins(initial=start)
    attack = PGD(steps=20, random_start=random_start)
    course = course_of(make_trainer(margins, epochs=20, attack=attack), margins)
    for name, boundary in BOUNDARIES.items():
        # Iterates end a few degrees off the steepest direction, in which the boundary is a little further away.
        assert 0.99 * max(boundary, 0.5) <= course[name][-1] <= 1.05 * (boundary + 0.5), name


def test_bisection_on_request_finds_what_the_path_finds():
    courses = []
    for locate in ("auto", "bisection"):
        margins = make_margins(initial=3.0, locate=locate)
        courses.append(course_of(make_trainer(margins, epochs=4), margins))
    for name in BOUNDARIES:
        assert courses[0][name] == pytest.approx(courses[1][name], rel=1e-3)


def test_bisection_finds_a_crossing_that_a_straight_line_misses():
    # excess (r / 4)^3 - 1/8 crosses at 2 of 4; a line between its ends, -1/8 and 7/8, crosses at 0.5.
    def at(share, rows):
        return {"loss": share**3 - 0.125}

    results = {}
    for bisections in (0, 1, 6):
        margins = make_margins(bisections=bisections, floor=0.0)
        margins.observe(hand(["a"], [4.0], final={"loss": [0.875]}, at=at, sizes=[[4.0]], path={"loss": [[0.5]]}))
        results[bisections] = margins.margin("a")
    assert results[0] == pytest.approx((0.5 + 4) / 2)
    assert results[1] == pytest.approx((2 + 4) / 2)
    assert results[6] == pytest.approx((2 + 4) / 2, abs=1e-3)


def test_in_the_papers_mode_margins_that_are_too_large_never_come_down():
    margins = make_margins(mode="paper", initial=7.3)
    course = course_of(make_trainer(margins, epochs=6), margins)
    assert all(value == pytest.approx([7.3] * 6) for value in course.values())
    margins = make_margins(mode="paper")
    course = course_of(make_trainer(margins, epochs=20), margins)
    for name, boundary in BOUNDARIES.items():
        grown = 0.5 + 0.5 * int(np.ceil((boundary - 0.5) / 0.5)) if boundary > 0.5 else 0.5
        assert course[name][-1] == pytest.approx(grown), name  # the first multiple of the step that harms, for ever
    assert margins.ever_shrunk == 0.0


def test_the_papers_mode_judges_the_final_iterate_and_the_perturbation_that_clipping_left():
    margins = make_margins(0.5, mode="paper", initial=2.0)
    margins.observe(
        hand(["harmed", "fine"], [2.0, 2.0], size=[1.0, 2.0], final={"loss": [0.3, -0.1]}, path={"loss": [[-1, 3.0]]})
    )
    assert margins.margin("harmed") == pytest.approx((1.0 + 2.0) / 2)
    assert margins.margin("fine") == pytest.approx(2.5)


# --- the rule, on attacks written out by hand ------------------------------------------------------------------------


def hand(ids, eps, *, final, size=None, sizes=None, path=None, at=None) -> AttackTrace:
    """An attack whose iterates had the norms ``sizes`` (K, B); by default it saw the clean sample alone."""
    eps = torch.tensor(eps)
    sizes = torch.zeros(1, len(eps)) if sizes is None else torch.tensor(sizes)
    path = {name: [[-1.0] * len(eps)] * len(sizes) for name in final} if path is None else path

    def nowhere(share, rows):
        raise AssertionError("no forward pass is needed")

    return AttackTrace(
        list(ids),
        eps,
        eps if size is None else torch.tensor(size),
        sizes,
        {name: torch.tensor(value) for name, value in path.items()},
        {name: torch.tensor(value) for name, value in final.items()},
        at or nowhere,
    )


def observed(margins: AdaptiveMargins, trace: AttackTrace) -> dict[str, float]:
    margins.observe(trace)
    return {name: margins.margin(name) for name in trace.ids}


def test_a_loss_that_rises_above_its_threshold_and_falls_again_counts_along_the_path_only():
    # At the norms 0, 1, 2 and (finally) 3 the excess is -1, 1, -1, -0.5: it crosses at 0.5 first.
    trace = hand(
        ["a"], [3.0], final={"loss": [-0.5]}, sizes=[[0.0], [1.0], [2.0]], path={"loss": [[-1.0], [1.0], [-1.0]]}
    )
    assert observed(make_margins(initial=3.0), trace) == {"a": pytest.approx((0.5 + 3) / 2)}
    assert observed(make_margins(initial=3.0, check="final"), trace) == {"a": pytest.approx(3.5)}


def test_a_crossing_after_the_sphere_was_reached_is_located_on_the_line_from_the_clean_sample():
    # On the sphere already at the second iterate, it crosses at the third; the line from -1 to 3 crosses at a quarter.
    trace = hand(
        ["a"], [2.0], final={"loss": [3.0]}, sizes=[[0.0], [2.0], [2.0]], path={"loss": [[-1.0], [-0.5], [1.0]]}
    )
    assert observed(make_margins(initial=2.0, floor=0.0), trace) == {"a": pytest.approx((0.25 * 2 + 2) / 2)}


@pytest.mark.parametrize(("first", "second", "grows"), [(-1, -1, True), (-1, 1, False), (1, -1, False), (1, 1, False)])
def test_margins_grow_only_when_every_term_is_below_its_own_threshold(first, second, grows):
    margins = AdaptiveMargins(0.5, {"dice": 0.2, "cross_entropy": 3.0}, initial=2.0, floor=0.0)
    final = {"cross_entropy": [3.0 + second], "dice": [0.2 + first]}
    trace = hand(["a"], [2.0], final=final, path={"dice": [[0.2 - 1]], "cross_entropy": [[3.0 - 1]]})
    # Each term is 1 below its threshold where clean, and 1 above it at a norm of 2: it crosses at 1.
    assert observed(margins, trace) == {"a": pytest.approx(2.5 if grows else 1.5)}


def test_of_several_terms_the_first_to_cross_tells_the_distance():
    margins = AdaptiveMargins(0.5, {"one": 0.0, "two": 0.0}, initial=4.0)
    trace = hand(["a"], [4.0], final={"one": [1.0], "two": [1.0]}, path={"one": [[-1.0]], "two": [[-3.0]]})
    assert observed(margins, trace) == {"a": pytest.approx((0.5 * 4 + 4) / 2)}


def test_only_the_terms_that_are_judged_need_a_threshold():
    def seen(**terms: float) -> AttackTrace:
        values = {name: torch.tensor([value]) for name, value in terms.items()}
        path = {name: torch.zeros(1, 1) for name in terms}
        return AttackTrace(["a"], torch.ones(1), torch.ones(1), torch.zeros(1, 1), path, values, at=None)

    margins = AdaptiveMargins(0.5, {"best_class": 0.2}, judged=["best_class"], initial=1.0)
    margins.observe(seen(cross_entropy=9.0, best_class=0.1))
    assert margins.margin("a") == 1.5
    with pytest.raises(BadInputError, match="judged by 'best_class', and the task has the loss terms cross_entropy"):
        margins.observe(seen(cross_entropy=9.0))


def test_a_sample_that_has_none_of_the_judged_terms_keeps_its_margin():
    """A slice without foreground has no Dice: its margin would grow at every visit, whatever the network says."""
    terms = {"dice": torch.tensor([0.0, 0.0]), "cross_entropy": torch.tensor([0.1, 0.1])}
    path = {name: torch.zeros(1, 2) for name in terms}
    has = {"dice": torch.tensor([True, False]), "cross_entropy": torch.tensor([True, True])}
    trace = AttackTrace(["full", "empty"], torch.ones(2), torch.ones(2), torch.zeros(1, 2), path, terms, None, has)
    for judged, margin in (["dice"], 1.0), (["cross_entropy"], 1.5), (None, 1.5):
        thresholds = {name: 0.2 for name in judged or terms}
        margins = AdaptiveMargins(0.5, thresholds, judged=judged, initial=1.0)
        margins.observe(trace)
        assert margins.margin("full") == 1.5
        assert margins.margin("empty") == margin


def test_a_term_exactly_at_its_threshold_is_not_below_it():
    trace = hand(["a"], [2.0], final={"loss": [0.0]})
    assert observed(make_margins(initial=2.0), trace) == {"a": pytest.approx(2.0)}


def test_floor_and_cap_hold():
    trace = hand(["harmed", "fine"], [2.0, 2.0], final={"loss": [999.0, -1.0]})
    margins = observed(make_margins(initial=2.0, floor=1.7, cap=2.2), trace)
    assert margins == {"harmed": pytest.approx(1.7), "fine": pytest.approx(2.2)}
    margins = observed(make_margins(initial=2.0, floor=0.0), trace)
    assert margins == {"harmed": pytest.approx((2 / 1000 + 2) / 2), "fine": pytest.approx(2.5)}


def test_the_floor_is_one_step_by_default_and_none_in_the_papers_mode():
    trace = hand(["a"], [0.6], final={"loss": [1.0]}, path={"loss": [[1.0]]}, size=[0.1])
    assert observed(make_margins(0.5, initial=0.6), trace) == {"a": pytest.approx(0.5)}
    assert observed(make_margins(0.5, initial=0.6, mode="paper"), trace) == {"a": pytest.approx(0.35)}


def test_samples_the_network_fails_on_are_reset_on_request():
    trace = hand(["failed", "fine"], [4.0, 4.0], final={"loss": [2.0, 2.0]}, path={"loss": [[0.1, -2.0]]})
    assert observed(make_margins(0.5, initial=4.0), trace) == {"failed": pytest.approx(2.0), "fine": pytest.approx(3.0)}
    margins = observed(make_margins(0.5, initial=4.0, reset_failed=True), trace)
    assert margins == {"failed": pytest.approx(0.5), "fine": pytest.approx(3.0)}


def test_a_reset_margin_can_still_be_attacked_in_the_papers_mode():
    margins = make_margins(0.5, mode="paper", reset_failed=True)
    data = items({"failed": -0.2, "fine": 3.0})  # the first is beyond its threshold before any attack
    make_trainer(margins, data, epochs=3).run()
    assert margins.margin("failed") == pytest.approx(0.5)
    assert margins.margin("fine") == pytest.approx(2.0)


@pytest.mark.parametrize(("repeats", "result"), [("mean", 2.0), ("min", 1.5), ("last", 2.5)])
def test_several_crops_of_a_sample_in_a_batch_are_settled_by_one_policy(repeats, result):
    # Margin 2: the first crop crosses at 1, which makes 1.5 of it; the other does not, which makes 2.5.
    trace = hand(["a", "a"], [2.0, 2.0], final={"loss": [1.0, -1.0]})
    assert observed(make_margins(initial=2.0, repeats=repeats), trace) == {"a": pytest.approx(result)}


def test_an_epoch_grows_a_margin_by_one_step_at_most_where_it_is_updated_at_its_end():
    sampler = [0, 0, 0, 0]  # the same item four times: four visits an epoch
    loader = DataLoader(items({"a": 9.0}), batch_size=1, sampler=sampler)
    results = {}
    for update in ("iteration", "epoch"):
        margins = make_margins(update=update)
        results[update] = course_of(make_trainer(margins, loader=loader, epochs=3), margins)["a"]
    assert results["iteration"] == pytest.approx([2.5, 4.5, 6.5])
    assert results["epoch"] == pytest.approx([1.0, 1.5, 2.0])


@pytest.mark.parametrize(("repeats", "result"), [("mean", 2.0), ("min", 1.5), ("last", 1.5)])
def test_visits_of_an_epoch_are_settled_by_the_same_policy(repeats, result):
    margins = make_margins(initial=2.0, repeats=repeats, update="epoch")
    for final in (1.0, -1.0), (-1.0, 1.0):
        margins.observe(hand(["a", "b"], [2.0, 2.0], final={"loss": list(final)}))
    assert margins.margin("a") == 2.0  # not before the epoch's end
    margins.store.merge()
    assert margins.margin("b") == pytest.approx(result)


@pytest.mark.parametrize(("repeats", "result"), [("mean", 1.75), ("min", 1.0), ("last", 1.0)])
def test_what_another_process_made_of_the_same_sample_counts_as_a_repeat(monkeypatch, repeats, result):
    others = {"made": {"a": [1.0], "b": [3.0]}, "visited": ["a", "b"], "shrunk": ["b"]}
    others["counts"] = {"enlarged": 1, "refined": 1}
    monkeypatch.setattr("monai_robust.margins.store.idist.all_gather", lambda own: [own, others])
    margins = make_margins(initial=2.0, repeats=repeats)
    margins.observe(hand(["a", "c"], [2.0, 2.0], final={"loss": [-1.0, -1.0]}))  # 2.5 here
    assert margins.store.merge() == 3
    assert margins.margins == pytest.approx({"a": result, "b": 3.0, "c": 2.5})
    assert margins.ever_shrunk == pytest.approx(1 / 3)  # "b", says the other; the mean of "a" is no update of its own
    assert margins.store.counts == {"enlarged": 3, "refined": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thresholds": None}, "need thresholds.*--robust#thresholds"),
        ({"step": 0}, "step is 0"),
        ({"step": float("inf")}, "step is inf"),
        ({"mode": "printed"}, "'printed'"),
        ({"check": "never"}, "'never'"),
        ({"locate": "guess"}, "'guess'"),
        ({"repeats": "max"}, "'max'"),
        ({"update": "batch"}, "'batch'"),
        ({"final_terms": "train"}, "'train'"),
        ({"cap": 0.1}, "0.5 and 0.1"),
        ({"floor": -1.0}, "-1"),
        ({"floor": "a"}, "floor is 'a'; it must be a number of at least 0"),
        ({"floor": True}, "floor is True"),
        ({"floor": float("nan")}, "floor is nan"),
        ({"bisections": -3}, "bisections is -3; it must be a whole number of at least 0"),
        ({"bisections": 2.7}, "bisections is 2.7"),
        ({"bisections": "4"}, "bisections is '4'"),
        ({"initial": -2}, "initial is -2"),
        ({"initial": 0.01}, "start at 0.01, and lie between 0.5 and inf, their floor and cap; widen them"),
        ({"thresholds": "gone.pt"}, r"no checkpoint gone\.pt"),
        ({"thresholds": "gone.json"}, r"no thresholds file gone\.json"),
        ({"thresholds": {}}, "thresholds are"),
        ({"judged": "loss"}, r"judged is 'loss'; it must be a list of loss terms, such as \['dice'\]"),
        ({"judged": [3]}, r"judged is \[3\]"),
        ({"judged": []}, r"judged is \[\]"),
        ({"radii_of_interest": "a"}, "radii_of_interest is 'a'; it must be a positive number"),
        ({"output_dir": 3}, "output_dir is 3; it takes a folder's path"),
        ({"fit": 3}, "fit is 3; it must name further arguments of fit_thresholds"),
        ({"fit_on": 3}, "fit_on is 3; it must be 'samples', 'epoch' or a loader"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        AdaptiveMargins(**({"step": 0.5, "thresholds": {"loss": 0.0}} | arguments))


# --- the right sample ------------------------------------------------------------------------------------------------


def assert_every_sample_has_its_own(margins, visits, names=None, step=0.5):
    for name, boundary in BOUNDARIES.items():
        found = margins.margin(name if names is None else names[name])
        assert found == pytest.approx(expected(boundary, visits, step)[-1], rel=1e-3), name


def with_file_names() -> list[dict[str, object]]:
    return [
        {"image": MetaTensor(item["image"], meta={"filename_or_obj": f"{item['sample_id']}.nii.gz"}), "label": 0.0}
        for item in items()
    ]


def crops(size: int, samples: int) -> RandSpatialCropSamplesd:
    return RandSpatialCropSamplesd("image", (size, size), num_samples=samples, random_size=False)


def balanced_crops() -> RandCropByPosNegLabeld:
    return RandCropByPosNegLabeld(("image", "label"), "label", (4, 4), pos=1, neg=1, num_samples=2)


def labelled(data):
    mask = torch.zeros(1, 9, 9)
    mask[:, 3:6, 3:6] = 1
    return [{**item, "label": mask} for item in data]


PIPELINES = {
    "in order": lambda folder: DataLoader(Dataset(items()), batch_size=3),
    "shuffled": lambda folder: DataLoader(Dataset(items()), batch_size=3, shuffle=True),
    "cached": lambda folder: DataLoader(CacheDataset(items(), progress=False), batch_size=3, shuffle=True),
    "cached in part": lambda folder: DataLoader(
        CacheDataset(items(), cache_num=3, progress=False), batch_size=3, shuffle=True
    ),
    "persistent": lambda folder: DataLoader(
        PersistentDataset(items(), Compose([]), cache_dir=folder), batch_size=3, shuffle=True
    ),
    "workers": lambda folder: DataLoader(Dataset(items()), batch_size=3, shuffle=True, num_workers=2),
    "one crop": lambda folder: DataLoader(
        Dataset(items(size=9, crop=4), crops(4, 1)), batch_size=3, shuffle=True
    ),
    "several crops": lambda folder: DataLoader(
        CacheDataset(items(size=9, crop=4), Compose([crops(4, 3)]), progress=False), batch_size=3, shuffle=True
    ),
    "foreground crops": lambda folder: DataLoader(
        Dataset(labelled(items(size=9, crop=4)), balanced_crops()), batch_size=3, shuffle=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("pipeline", list(PIPELINES))
def test_margins_stay_with_their_samples(pipeline, tmp_path):
    margins = make_margins()
    make_trainer(margins, loader=PIPELINES[pipeline](tmp_path), epochs=6).run()
    assert set(margins.margins) == set(BOUNDARIES)
    assert_every_sample_has_its_own(margins, 6)


def test_without_a_sample_id_the_image_file_is_the_key():
    margins = make_margins()
    make_trainer(margins, with_file_names(), epochs=4, shuffle=True).run()
    assert_every_sample_has_its_own(margins, 4, {name: f"{name}.nii.gz" for name in BOUNDARIES})


def as_text(path: Path) -> str:
    return str(path)


def with_a_dot(path: Path) -> str:
    return f"{path.parent}/./{path.name}"


@pytest.mark.parametrize("write", [as_text, with_a_dot, Path], ids=["text", "untidy text", "Path"])
@pytest.mark.parametrize("kind", [Dataset, CacheDataset])
def test_image_files_are_one_key_however_their_path_is_written(tmp_path, write, kind):
    data = []
    for item in items():
        path = tmp_path / f"{item['sample_id']}.npy"
        np.save(path, item["image"][0].numpy())
        data.append({"image": write(path), "label": 0.0})
    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image", channel_dim="no_channel")])
    margins = make_margins()
    dataset = kind(data, load) if kind is Dataset else kind(data, load, progress=False)
    make_trainer(margins, loader=DataLoader(dataset, batch_size=3, shuffle=True), epochs=3).run()
    assert set(margins.margins) == {f"{name}.npy" for name in BOUNDARIES}
    assert_every_sample_has_its_own(margins, 3, {name: f"{name}.npy" for name in BOUNDARIES})


@pytest.mark.parametrize("write", [str, Path])
def test_slices_that_share_a_file_are_refused_without_a_sample_id(tmp_path, write):
    path = tmp_path / "volume.npy"
    np.save(path, np.zeros((4, 4), dtype=np.float32))
    data = [{"image": write(path), "label": 0.0, "slice": index} for index in range(3)]
    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image", channel_dim="no_channel")])
    loader = DataLoader(Dataset(data, load), batch_size=3)
    with pytest.raises(BadInputError, match=r"share their image file.*volume\.npy.*'sample_id'"):
        make_trainer(make_margins(), loader=loader).run()
    loader = DataLoader(
        Dataset([{**item, "sample_id": f"volume/{item['slice']}"} for item in data], load), batch_size=3
    )
    make_trainer(make_margins(), loader=loader).run()


def test_two_items_with_one_sample_id_are_refused():
    with pytest.raises(BadInputError, match=r"1 of the data set's samples share their sample_id.*'a'"):
        make_trainer(make_margins(), [*items(), *items({"a": 1.0})]).run()


def test_a_batch_that_names_no_sample_is_refused_with_what_it_has():
    data = [{"image": item["image"], "label": 0.0} for item in items()]
    with pytest.raises(BadInputError, match=r"no key 'sample_id'.*no file name.*image, label"):
        make_trainer(make_margins(), data).run()


def test_another_key_can_be_the_samples_name():
    data = [{"image": item["image"], "label": 0.0, "slice_id": item["sample_id"]} for item in items()]
    margins = make_margins(key="slice_id")
    make_trainer(margins, data, epochs=2).run()
    assert_every_sample_has_its_own(margins, 2)


# --- the training step -----------------------------------------------------------------------------------------------


def test_what_would_train_without_margins_is_refused():
    with pytest.raises(BadInputError, match=r"'amat' takes the radius of each sample from margins"):
        RobustUpdate("amat", PGD())
    with pytest.raises(BadInputError, match="'erm' attacks nothing"):
        RobustUpdate("erm", margins=make_margins())
    with pytest.raises(BadInputError, match="not stand among the trainer's handlers"):
        make_trainer(make_margins(), attached=False).run()
    trainer = make_trainer(None, recipe="sat", attack=PGD(eps=1.0, steps=2), attached=False, handlers=[make_margins()])
    with pytest.raises(BadInputError, match="used by no training step"):
        trainer.run()


def test_radii_that_no_training_step_was_given_are_refused():
    radii = WarmupRadius(0.3, 10)
    trainer = make_trainer(None, recipe="sat", attack=PGD(eps=1.0, steps=2), attached=False, handlers=[radii])
    with pytest.raises(BadInputError, match="radii of WarmupRadius are used by no training step"):
        trainer.run()


def test_a_sample_all_of_whose_labels_are_ignored_keeps_its_margin_and_out_of_the_means():
    loss = torch.nn.CrossEntropyLoss(ignore_index=255)
    data = [{"image": torch.rand(1, 8, 8), "label": torch.ones(8, 8).long(), "sample_id": f"s{i}"} for i in range(4)]
    data[1]["label"][:] = 255
    network, margins = torch.nn.Conv2d(1, 2, 3, padding=1), AdaptiveMargins(0.1, {"loss": 1e3})
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=DataLoader(data, batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=loss,
        train_handlers=[margins],
        iteration_update=RobustUpdate("amat", PGD(steps=2), margins=margins),
    )
    trainer.run()
    assert margins.margins == pytest.approx({"s0": 0.4, "s1": 0.1, "s2": 0.4, "s3": 0.4})
    assert math.isfinite(trainer.state.metrics["robust_adv_loss"])


def test_an_attack_that_does_not_run_the_batch_as_a_whole_is_refused():
    attack = WindowAttack(PGD(eps=1.0, steps=2), (2, 2), overlap=0.0)
    with pytest.raises(BadInputError, match="an attack that runs the whole batch"):
        make_trainer(make_margins(), labelled(items(size=9)), attack=attack).run()


def test_an_attack_that_is_a_function_has_its_margins_in_l2():
    def attack(network, inputs, targets, eps=None, *, task=None):
        return PGD(norm="l2", steps=2)(network, inputs, targets, eps, task=task)

    found = []
    for one in (attack, PGD(norm="l2", steps=2)):
        margins = make_margins()
        make_trainer(margins, attack=one, epochs=2).run()
        found.append(margins.margins)
    assert found[0] == found[1]


def test_each_sample_is_attacked_within_its_own_margin():
    margins = make_margins()
    trainer = make_trainer(margins, epochs=5, shuffle=True, batch_size=3)
    seen = []

    def before(engine):
        seen.append({name: margins.margin(name) for name in engine.state.batch["sample_id"]})

    def after(engine):
        radii = list(seen[-1].values())
        assert engine.state.output["eps"].tolist() == pytest.approx(radii)
        assert engine.state.output["adv_norm"].tolist() == pytest.approx(radii, rel=1e-3)

    trainer.add_event_handler(Events.ITERATION_STARTED, before)
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, after)
    trainer.run()
    assert len({value for batch in seen for value in batch.values()}) > 5


def asked_twice(size: int) -> list[tuple[bool, int]]:
    """Passes at the start of a training with margins: does the network answer at random?"""
    return [(False, size)] * 2


def test_refining_from_the_path_costs_no_forward_pass():
    network = Ramp()
    make_trainer(make_margins(), network=network).run()
    assert network.passes == asked_twice(4) + ([(False, 4)] * 5 + [(True, 8)]) * 2


def test_bisection_runs_the_samples_that_crossed_only():
    network = Ramp()
    make_trainer(make_margins(locate="bisection", bisections=3), network=network).run()
    # At the margin 0.5 the sample "a" of the first batch alone is beyond its boundary.
    asked, first, second = network.passes[:2], network.passes[2:11], network.passes[11:]
    assert asked == asked_twice(4)
    assert first == [(False, 4)] * 5 + [(True, 8)] + [(False, 1)] * 3
    assert second == [(False, 4)] * 5 + [(True, 8)]


class Normed(nn.Module):
    def __init__(self, norm: nn.Module | None) -> None:
        super().__init__()
        self.norm = norm or nn.Identity()
        self.head = nn.Conv2d(1, 1, 1)
        self.passes: list[tuple[bool, int]] = []

    def forward(self, x):
        self.passes.append((self.training, len(x)))
        return self.head(self.norm(x)).flatten(2).mean(dim=2)


@pytest.mark.parametrize(
    ("norm", "extra"),
    [
        (nn.InstanceNorm2d(1, affine=True), 0),
        (nn.GroupNorm(1, 1), 0),
        (nn.Dropout(0.0), 0),
        (nn.BatchNorm2d(1), 1),
        (nn.InstanceNorm2d(1, track_running_stats=True), 1),
        (nn.Dropout(0.3), 1),
    ],
    ids=["instance norm", "group norm", "idle dropout", "batch norm", "tracking instance norm", "dropout"],
)
def test_the_final_terms_need_a_pass_of_their_own_where_training_and_evaluation_differ(norm, extra):
    noise = torch.Generator().manual_seed(0)
    data = [{**item, "image": item["image"] + torch.rand(1, 4, 4, generator=noise)} for item in items()]
    network = Normed(norm)
    make_trainer(make_margins(thresholds={"loss": 1e6}), data, network=network, batch_size=8).run()
    assert network.passes == asked_twice(8) + [(False, 8)] * 5 + [(True, 16)] + [(False, 8)] * extra


def test_the_final_terms_are_those_of_the_network_in_evaluation_mode():
    seen = []

    class Spy(AdaptiveMargins):
        def observe(self, trace):
            seen.append(trace.final["loss"])
            super().observe(trace)

    torch.manual_seed(1)
    network = TinyNet(classes=1)
    trainer = make_trainer(Spy(0.5, {"loss": 1e6}), network=network)
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED,
        lambda engine: seen.append(network.eval()(engine.state.output["adv_image"]).detach().flatten()),
    )
    trainer.run()
    assert len(seen) == 4
    assert torch.allclose(seen[0], seen[1], atol=1e-5)
    assert torch.allclose(seen[2], seen[3], atol=1e-5)


def test_the_loss_and_the_weights_do_not_depend_on_watching():
    results = []
    for watched in (True, False):
        torch.manual_seed(1)
        network = TinyNet()
        if watched:
            margins = AdaptiveMargins(1e-9, {"loss": 1e6}, initial=0.7)
            recipe = "amat"
        else:
            margins, recipe = None, "sat"
        generator = torch.Generator().manual_seed(3)
        data = [
            {"image": torch.rand(1, 8, 8, generator=generator), "label": index % 3, "sample_id": str(index)}
            for index in range(8)
        ]
        make_trainer(
            margins, data, recipe=recipe, network=network, attack=PGD(eps=0.7, steps=2), lr=0.1,
            loss=nn.CrossEntropyLoss(), attached=watched, epochs=2,
        ).run()  # fmt: skip
        results.append(network.state_dict())
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-6), name


class Heads(nn.Module):
    """Deep supervision: three heads while it trains, one when evaluated."""

    deep_supervision = True

    def __init__(self) -> None:
        super().__init__()
        self.ramp = Ramp()

    def forward(self, x):
        out = self.ramp(x)
        return [out, out + 50, out + 90] if self.training else out


def deep_level(outputs, targets):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return sum(output.mean() for output in outputs) / len(outputs)


def test_deep_supervision_without_a_task_is_judged_by_the_head_that_evaluation_sees():
    margins = make_margins()
    make_trainer(margins, network=Heads(), loss=deep_level, epochs=4).run()
    assert_every_sample_has_its_own(margins, 4)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def savers(kind: str, folder: Path, network: nn.Module):
    state = {"network": network}
    return {
        "stock": lambda: CheckpointSaver(str(folder), state, save_final=True, final_filename="model.pt"),
        "stock, by interval": lambda: CheckpointSaver(str(folder), state, save_interval=1, n_saved=1),
        "ours": lambda: TrainingSaver(
            str(folder), state, save_final=True, final_filename="model.pt", save_interval=1, n_saved=1
        ),
    }[kind]()


def test_ids_can_be_hashed_in_checkpoints_and_tables_and_come_back(tmp_path):
    plain, network = make_margins(), Ramp()
    make_trainer(plain, network=network, epochs=5).run()
    hashed, network = make_margins(hash_ids=True, history=True), Ramp()
    make_trainer(hashed, network=network, epochs=3, handlers=[savers("ours", tmp_path, network)]).run()
    again, network = make_margins(hash_ids=True, history=True), Ramp()
    loader = TrainingLoader(str(tmp_path), {"network": network})
    make_trainer(again, network=network, epochs=5, handlers=[loader, savers("ours", tmp_path, network)]).run()
    assert {name: again.margin(name) for name in plain.margins} == plain.margins
    assert not set(again.margins) & set(plain.margins)
    stored = torch.load(tmp_path / "checkpoint_epoch=5.pt", weights_only=True)["margins"]["ids"]
    listed = pd.read_csv(tmp_path / "margins_by_sample.csv", dtype=str)["sample_id"]
    assert set(stored) == set(listed) == set(again.margins)


def final_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.pt"))
    return folder / "model.pt" if folder / "model.pt" in files else files[-1]


@pytest.mark.parametrize("kind", ["stock", "stock, by interval", "ours"])
def test_margins_are_in_the_checkpoints_of_the_trainers_saver(tmp_path, kind):
    margins, network = make_margins(), Ramp()
    make_trainer(margins, network=network, epochs=3, handlers=[savers(kind, tmp_path, network)]).run()
    stored = torch.load(final_file(tmp_path), weights_only=True)
    if kind == "ours":  # whose final file has no sample ids
        assert "ids" not in stored["margins"]
        stored = torch.load(tmp_path / "checkpoint_epoch=3.pt", weights_only=True)
    state = stored["margins"]
    assert dict(zip(state["ids"], state["margins"].tolist(), strict=True)) == margins.margins
    assert state["epoch"] == 3
    assert state["thresholds"] == {"loss": 0.0}
    assert_every_sample_has_its_own(margins, 3)


def test_ignites_own_checkpoints_of_several_objects_hold_margins_too(tmp_path):
    margins, network = make_margins(), Ramp()
    trainer = make_trainer(margins, network=network, epochs=2)
    several = {"network": network, "trainer": trainer}
    for name, objects in (("several", several), ("single", {"network": network})):
        keep = Checkpoint(objects, DiskSaver(str(tmp_path / name), require_empty=False))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, keep)
    trainer.run()
    (path,) = (tmp_path / "several").glob("*.pt")
    state = torch.load(path, weights_only=True)["margins"]
    assert dict(zip(state["ids"], state["margins"].tolist(), strict=True)) == margins.margins
    assert (tmp_path / "several" / "margins.csv").is_file()
    (path,) = (tmp_path / "single").glob("network_*.pt")  # named after its one object, as ever
    assert torch.load(path, weights_only=True).keys() == network.state_dict().keys()


@pytest.mark.parametrize("kind", ["stock", "stock, by interval", "ours"])
def test_a_second_run_goes_on_with_the_margins_of_the_first(tmp_path, kind):
    whole = make_margins(output_dir=tmp_path / "whole", history=True)
    make_trainer(whole, epochs=5).run()
    parts = tmp_path / "parts"
    first, network = make_margins(output_dir=parts, history=True), Ramp()
    make_trainer(first, network=network, epochs=3, handlers=[savers(kind, tmp_path, network)]).run()
    second, network = make_margins(output_dir=parts, history=True), Ramp()
    path, state = str(final_file(tmp_path)), {"network": network}
    if kind == "ours":
        trainer = make_trainer(second, network=network, epochs=5, handlers=[TrainingLoader(path, state)])
    else:
        trainer = make_trainer(second, network=network, epochs=5, handlers=[CheckpointLoader(path, state)])
        trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", 3))
        trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "iteration", 6))
    trainer.run()
    assert second.margins == pytest.approx(whole.margins)
    for name in ("margins.csv", "margin_histogram.csv", "margins_by_sample.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(parts / name), pd.read_csv(tmp_path / "whole" / name))


def test_margins_of_one_network_are_not_taken_into_the_training_of_another():
    margins, network = make_margins(), Ramp()
    make_trainer(margins, network=network, epochs=2).run()
    learned = dict(margins.margins)
    make_trainer(margins, network=network, epochs=1).run()  # a second stage of the same
    assert margins.margins != learned
    with pytest.raises(BadInputError, match="margins were learned of another network, in an earlier training"):
        make_trainer(margins, network=Ramp()).run()
    margins.load_state_dict(margins.state_dict())
    make_trainer(margins, network=Ramp()).run()


@pytest.mark.parametrize("content", [b"weights", b"", b"PK\x03\x04"], ids=["text", "empty", "cut off"])
def test_a_checkpoint_that_cannot_be_read_is_refused_by_the_loader_as_without_margins(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    messages = []
    for margins in (None, make_margins(output_dir=tmp_path)):
        network = Ramp()
        keywords = {"recipe": "amat"} if margins else {"recipe": "sat", "attached": False, "attack": PGD(eps=1.0)}
        loader = TrainingLoader(str(path), {"network": network})
        with pytest.raises(BadInputError, match=r"model\.pt cannot restore") as raised:
            make_trainer(margins, network=network, handlers=[loader], **keywords).run()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_an_interrupted_epoch_is_not_listed_twice(tmp_path):
    first, network = make_margins(), Ramp()
    trainer = make_trainer(first, network=network, epochs=4, handlers=[savers("ours", tmp_path, network)])
    make_stop(trainer, iteration=7)  # in the fourth epoch of two batches
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert pd.read_csv(tmp_path / "margins.csv")["epoch"].tolist() == [1, 2, 3]
    extra = pd.read_csv(tmp_path / "margins.csv").assign(epoch=[4, 5, 6])  # of a run that had come further
    extra.to_csv(tmp_path / "margins.csv", mode="a", header=False, index=False)
    second, network = make_margins(), Ramp()
    loader = TrainingLoader(str(tmp_path / "model.pt"), {"network": network})
    make_trainer(
        second, network=network, epochs=5, handlers=[loader, savers("ours", tmp_path, network)]
    ).run()  # fmt: skip
    assert pd.read_csv(tmp_path / "margins.csv")["epoch"].tolist() == [1, 2, 3, 4, 5]


def make_stop(trainer, iteration):
    def stop(engine):
        if engine.state.iteration == iteration:
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)


def test_a_new_run_in_an_old_folder_starts_its_tables_anew(tmp_path):
    for epochs in (3, 2):
        make_trainer(make_margins(output_dir=tmp_path, history=True), epochs=epochs).run()
    assert pd.read_csv(tmp_path / "margins.csv")["epoch"].tolist() == [1, 2]
    assert sorted(pd.read_csv(tmp_path / "margins_by_sample.csv")["epoch"].unique()) == [0, 1, 2]


def restored_from(names) -> AdaptiveMargins:
    margins = make_margins()
    count = len(names)
    margins.load_state_dict(
        {
            "ids": list(names),
            "margins": torch.full((count,), 3.0),
            "visited": torch.ones(count, dtype=torch.bool),
            "shrunk": torch.zeros(count, dtype=torch.bool),
            "thresholds": {"loss": 0.0},
            "step": 0.5,
            "epoch": 2,
        }
    )
    return margins


def test_margins_of_another_data_set_are_refused_with_the_numbers(caplog):
    with pytest.raises(BadInputError, match=r"another data set: 1 of 8 samples have one among 5"):
        make_trainer(restored_from(["a", "v", "w", "x", "y"])).run()
    with caplog.at_level(logging.WARNING):
        margins = restored_from(["a", "b", "c", "d", "e"])
        make_trainer(margins).run()
    assert "3 of 8 samples have no restored margin" in caplog.text
    assert margins.margin("a") == pytest.approx((0.37 + 3) / 2, rel=1e-3)
    assert margins.margin("h") == pytest.approx(1.0)


def test_state_is_primitives_and_tensors_and_survives_a_round_trip():
    margins = make_margins()
    make_trainer(margins, epochs=3).run()
    state = margins.state_dict()
    assert {type(value) for value in state.values()} <= {list, torch.Tensor, dict, float, int}
    again = make_margins(9.0, thresholds={"loss": 5.0})
    again.load_state_dict(state)
    assert again.margins == margins.margins
    assert again.ever_shrunk == margins.ever_shrunk
    assert dict(again.thresholds) == {"loss": 0.0}


# --- what a person reads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "reach", "enough"),
    [
        ({}, "about 3.5", True),  # 0.5 to start with, and 0.5 for each of 6 visits
        ({"radii_of_interest": 3.4}, "about 3.5", True),
        ({"radii_of_interest": 10.0}, "about 3.5", False),
        ({"radii_of_interest": 2.5, "cap": 2.0}, "about 2", False),
        ({"radii_of_interest": 7.0, "initial": 4.2}, "about 7.2", True),
    ],
)
def test_the_reach_of_margins_is_told_and_warned_of_where_it_is_short(caplog, keywords, reach, enough):
    with caplog.at_level(logging.INFO):
        make_trainer(make_margins(**keywords), epochs=6).run()
    (record,) = [record for record in caplog.records if "can reach" in record.getMessage()]
    assert f"visited about 6.0 times, so a margin can reach {reach}" in record.getMessage()
    assert record.levelno == (logging.INFO if enough else logging.WARNING)
    if not enough:
        assert f"below the radius {keywords['radii_of_interest']:g}" in record.getMessage()


def test_the_reach_of_a_resumed_run_is_what_its_margins_can_still_grow(caplog):
    with caplog.at_level(logging.INFO):
        margins = restored_from(BOUNDARIES)  # at 3, after two of six epochs
        make_trainer(margins, epochs=6).run()
    assert "visited about 4.0 times, so a margin can reach about 5" in caplog.text


def test_margins_that_nothing_keeps_are_warned_of(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        make_trainer(make_margins()).run()
    assert "margins will not be kept" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        make_trainer(make_margins(output_dir=tmp_path)).run()
    assert "will not be kept" not in caplog.text


def test_the_tables_hold_the_distribution_of_every_epoch(tmp_path):
    margins = make_margins(output_dir=tmp_path, history=True, initial=1.0)
    course = course_of(make_trainer(margins, epochs=4), margins)
    table = pd.read_csv(tmp_path / "margins.csv")
    by_sample = pd.read_csv(tmp_path / "margins_by_sample.csv")
    bins = pd.read_csv(tmp_path / "margin_histogram.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    previous = dict.fromkeys(BOUNDARIES, 1.0)
    shrunk: set[str] = set()
    for index, row in table.iterrows():
        now = {name: values[index] for name, values in course.items()}
        values = np.array(list(now.values()))
        assert (row["samples"], row["visited"]) == (8, 8)
        assert row["mean"] == pytest.approx(values.mean())
        for name, quantile in (("minimum", 0), ("p10", 10), ("p50", 50), ("p90", 90), ("maximum", 100)):
            assert row[name] == pytest.approx(np.percentile(values, quantile)), name
        shrunk |= {name for name in now if now[name] < previous[name]}
        assert row["enlarged"] == sum(previous[name] < boundary for name, boundary in BOUNDARIES.items())
        assert row["enlarged"] + row["refined"] == 8
        assert row["ever_shrunk"] == pytest.approx(len(shrunk) / 8)
        found = by_sample[by_sample["epoch"] == row["epoch"]].set_index("sample_id")["margin"].to_dict()
        assert found == pytest.approx(now)
        own = bins[bins["epoch"] == row["epoch"]]
        edges = np.append(own["low"].to_numpy(), own["high"].iloc[-1])
        assert own["samples"].tolist() == np.histogram(values, edges)[0].tolist()
        assert own["samples"].sum() == 8
        previous = now
    start = by_sample[by_sample["epoch"] == 0].set_index("sample_id")["margin"].to_dict()
    assert start == dict.fromkeys(BOUNDARIES, 1.0)


def test_the_history_is_a_table_also_where_nobody_knows_the_samples_beforehand(tmp_path):
    margins = make_margins(output_dir=tmp_path, history=True)
    make_trainer(margins, with_file_names(), epochs=2).run()
    table = pd.read_csv(tmp_path / "margins_by_sample.csv")
    assert set(table["sample_id"]) == {f"{name}.nii.gz" for name in BOUNDARIES}
    assert table.groupby("epoch").size()[[1, 2]].tolist() == [8, 8]


def test_a_summary_writer_gets_a_histogram_an_epoch():
    class Writer:
        def __init__(self):
            self.calls = []

        def add_histogram(self, tag, values, step):
            self.calls.append((tag, sorted(values.tolist()), step))

    writer = Writer()
    margins = make_margins(summary_writer=writer)
    course = course_of(make_trainer(margins, epochs=3), margins)
    assert [step for _, _, step in writer.calls] == [1, 2, 3]
    for _, values, step in writer.calls:
        assert values == pytest.approx(sorted(one[step - 1] for one in course.values()))


# --- radii that do not learn -----------------------------------------------------------------------------------------


def radii_of(trainer) -> list[dict[str, float]]:
    """Run ``trainer``; the radius of every sample in each epoch."""
    seen: list[dict[str, float]] = []

    def note(engine):
        if engine.state.epoch > len(seen):
            seen.append({})
        seen[-1].update(zip(engine.state.batch["sample_id"], engine.state.output["eps"].tolist(), strict=True))

    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, note)
    trainer.run()
    return seen


def test_a_warm_up_grows_linearly_to_its_radius_and_stays_there():
    trainer = make_trainer(WarmupRadius(2.0, 3), epochs=5)
    seen = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: seen.append(engine.state.output["eps"].unique().tolist())
    )
    trainer.run()
    wanted = [2 * min(1.0, iteration / 6) for iteration in range(1, 11)]
    assert [value for one in seen for value in one] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("eps", "epochs"), [(0.0, 3), ("20HU", 2), (True, 2), (float("inf"), 2), (1.0, "2"), (1.0, True)]
)
def test_a_warm_up_to_no_radius_or_over_no_epochs_is_refused(eps, epochs):
    with pytest.raises(BadInputError, match=f"is to {eps!r} over {epochs!r} epochs; both must be positive numbers"):
        WarmupRadius(eps, epochs)


@pytest.fixture
def recorded(tmp_path) -> Path:
    margins = make_margins(output_dir=tmp_path, history=True)
    make_trainer(margins, epochs=4).run()
    return tmp_path / "margins_by_sample.csv"


def learned(path: Path) -> list[dict[str, float]]:
    table = pd.read_csv(path)
    return [part.set_index("sample_id")["margin"].to_dict() for _, part in table.groupby("epoch")]


def test_recorded_margins_are_those_an_epoch_of_the_first_training_began_with(recorded):
    wanted = learned(recorded)
    found = radii_of(make_trainer(RecordedMargins(recorded), epochs=6, recipe="sat", shuffle=True))
    for epoch in range(6):
        assert found[epoch] == pytest.approx(wanted[min(epoch, 4)], rel=1e-5), epoch


def test_shuffled_margins_keep_their_distribution_and_change_their_owners_once_and_for_all(recorded):
    wanted = learned(recorded)
    found = radii_of(make_trainer(RecordedMargins(recorded, shuffle=True, seed=1), epochs=4, recipe="sat"))
    for epoch in range(4):
        assert sorted(found[epoch].values()) == pytest.approx(sorted(wanted[epoch].values()), rel=1e-5)
    assert found[3] != pytest.approx(wanted[3], rel=1e-3)
    owners = [
        {name: next(own for own in BOUNDARIES if abs(wanted[epoch][own] - value) < 1e-5) for name, value in one.items()}
        for epoch, one in list(enumerate(found))[3:]
    ]
    again = radii_of(make_trainer(RecordedMargins(recorded, shuffle=True, seed=1), epochs=4, recipe="sat"))
    assert again[3] == pytest.approx(found[3])
    for name, owner in owners[0].items():
        assert [one[name] for one in found] == pytest.approx([wanted[epoch][owner] for epoch in range(4)], rel=1e-5)


def test_recorded_margins_that_do_not_fit_are_refused(recorded, tmp_path):
    with pytest.raises(BadInputError, match=r"no margins for 1 of 1 samples, such as 'z'"):
        make_trainer(RecordedMargins(recorded), items({"z": 1.0}), recipe="sat").run()
    with pytest.raises(BadInputError, match=r"gone\.csv is no table of recorded margins"):
        RecordedMargins(tmp_path / "gone.csv")


def test_margins_work_with_every_recipe_that_attacks():
    margins = make_margins()
    make_trainer(margins, recipe="at", epochs=3, attack=BIM(norm="l2", steps=4)).run()
    assert margins.margin("h") == pytest.approx(2.0)
    assert image(2.0).sum() / 4 == pytest.approx(-2.0)


def test_an_adversarial_view_that_is_not_supervised_teaches_margins_too():
    margins = make_margins()
    recipe = Recipe({"clean": 1.0}, consistent=("clean", "adv"), consistency=lambda views: views[0].flatten(1).mean(1))
    make_trainer(margins, recipe=recipe, epochs=3).run()
    assert margins.margin("h") == pytest.approx(2.0)


def test_rounding_is_no_shrinking():
    margins = make_margins(mode="paper", initial=10.0)
    make_trainer(margins, epochs=4, attack=PGD(steps=7, random_start="sphere")).run()
    assert margins.ever_shrunk == 0.0


def test_refining_for_ever_ends_above_a_radius_of_0():
    margins = make_margins(floor=0.0)
    ahead = AttackTrace(
        ["a"], torch.tensor([1e-7]), torch.tensor([0.0]), torch.zeros(1, 1), {"loss": torch.ones(1, 1) * 9},
        {"loss": torch.tensor([9.0])}, lambda share, rows: {"loss": torch.full_like(share, 9.0)},
    )  # fmt: skip
    margins.observe(ahead)
    assert 0 < margins.margin("a") < 1e-5


def test_margins_are_shuffled_within_groups_where_there_are_some(tmp_path):
    path = tmp_path / "history.csv"
    rows = [
        (epoch, f"{kind}{index}", 10.0 * (kind == "b") + index)
        for epoch in (0, 1)
        for kind in "ab"
        for index in range(8)
    ]
    pd.DataFrame(rows, columns=["epoch", "sample_id", "margin"]).to_csv(path, index=False)
    groups = {f"{kind}{index}": kind for kind in "ab" for index in range(8)}
    recorded = RecordedMargins(path, shuffle=True, groups=groups)
    engine = SimpleNamespace(state=SimpleNamespace(epoch=1))
    names = list(groups)
    radii = recorded.radii(engine, {"sample_id": names}, len(names)).tolist()
    assert sorted(radii[:8]) == list(range(8))
    assert sorted(radii[8:]) == list(range(10, 18))
    assert radii != sorted(radii)


def test_a_history_that_begins_late_is_refused(tmp_path):
    path = tmp_path / "history.csv"
    pd.DataFrame([(5, "a", 1.0)], columns=["epoch", "sample_id", "margin"]).to_csv(path, index=False)
    with pytest.raises(BadInputError, match="begins after epoch 5"):
        RecordedMargins(path).radii(SimpleNamespace(state=SimpleNamespace(epoch=1)), {"sample_id": ["a"]}, 1)


def test_a_checkpoint_entry_that_is_no_margins_is_refused():
    with pytest.raises(BadInputError, match="none of AdaptiveMargins"):
        make_margins().load_state_dict({"weights": 1})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"margins": torch.tensor([1.0, math.nan])}, "a margin is nan"),
        ({"margins": torch.tensor([1.0, math.inf])}, "a margin is inf"),
        ({"margins": torch.tensor([-3.0, 1.0])}, "a margin is -3.0"),
        ({"ids": ["a", "a"]}, "a sample is there twice"),
    ],
)
def test_margins_of_a_checkpoint_that_are_no_radii_are_refused_and_not_gone_on_with(changes, what):
    margins = make_margins()
    state = restored_from(["a", "b"]).state_dict()
    with pytest.raises(BadInputError, match=f"none of AdaptiveMargins: .*{what}"):
        margins.load_state_dict({**state, **changes})
    assert margins.margins == {}


# --- targets that are prepared, and targets that are steered to ------------------------------------------------------


class Ready:
    """Targets after their preparation."""

    def __init__(self, targets) -> None:
        self.targets = targets


class Preparing(LossTask):
    """Counts what it prepares and how often it is asked for terms of raw and of prepared targets."""

    def __init__(self, loss) -> None:
        super().__init__(loss)
        self.prepared_batches = 0
        self.asked: list[type] = []

    def prepared(self, inputs, targets):
        self.prepared_batches += 1
        return Ready(targets)

    def terms(self, outputs, targets):
        self.asked.append(type(targets))
        return super().terms(outputs, targets.targets if isinstance(targets, Ready) else targets)


def watched_attack(task, goal):
    """What ``Watched`` saw of an attack, and the iterates it saw it of."""
    torch.manual_seed(1)
    network, x, y = TinyNet().eval(), torch.rand(5, 1, 6, 6), torch.tensor([0, 1, 2, 0, 1])
    iterates = []
    hook = network.register_forward_pre_hook(lambda module, args: iterates.append(args[0].detach().clone()))
    watched = Watched(task, x, y, L2())
    PGD(eps=2.0, steps=4, goal=goal)(network, x, y, task=watched)
    hook.remove()
    iterates = iterates[-4:]  # after the pass in which a goal looks for its targets
    losses = [nn.functional.cross_entropy(network(one), y, reduction="none").detach() for one in iterates]
    return watched, losses, [(one - x).flatten(1).norm(dim=1) for one in iterates]


@pytest.mark.parametrize("goal", ["untargeted", "least_likely", 2])
def test_the_terms_of_every_iterate_are_those_of_the_true_targets(goal):
    task = Preparing(nn.CrossEntropyLoss())
    watched, losses, sizes = watched_attack(task, goal)
    assert task.prepared_batches == (1 if goal == "untargeted" else 2)  # what it aims at, and what is true
    torch.testing.assert_close([seen["loss"] for seen in watched.terms_seen], losses)
    torch.testing.assert_close(watched.sizes, sizes, atol=1e-6, rtol=1e-5)
    assert not any(seen["loss"].requires_grad for seen in watched.terms_seen)
    # Terms of the true targets are those of the attack itself, unless it steers to others; all are prepared.
    assert task.asked.count(Ready) == len(task.asked)
    assert len(task.asked) == (4 if goal == "untargeted" else 8)


def test_margins_learn_the_same_from_targets_that_are_prepared():
    courses, tasks = [], (LossTask(level), Preparing(level))
    for task in tasks:
        margins = make_margins(initial=3.0)
        courses.append(course_of(make_trainer(margins, epochs=3, task=task), margins))
    assert courses[0] == courses[1]
    assert tasks[1].prepared_batches == 3 * 2  # epochs and batches


def test_margins_are_told_the_loss_of_the_true_labels_where_an_attack_steers_to_others(monkeypatch):
    traces = []
    margins = make_margins(initial=2.0, thresholds={"cross_entropy": 0.5})
    monkeypatch.setattr(margins, "observe", traces.append)
    data = [{"image": torch.rand(1, 6, 6), "label": index % 3, "sample_id": str(index)} for index in range(4)]
    network = TinyNet()
    trainer = make_trainer(
        margins,
        data,
        network=network,
        loss=nn.CrossEntropyLoss(),
        task=Classification(),
        attack=PGD(steps=3, goal="least_likely"),
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer.run()
    network.load_state_dict(before)
    network.eval()

    def losses(images):
        labels = torch.tensor([item["label"] for item in data])
        return nn.functional.cross_entropy(network(images), labels, reduction="none").detach()

    clean = losses(torch.stack([item["image"] for item in data]))
    torch.testing.assert_close(traces[0].path_terms["cross_entropy"][0], clean)
    start = traces[0].at(torch.zeros(2), torch.tensor([3, 1]))
    torch.testing.assert_close(start["cross_entropy"], clean[[3, 1]])
    assert traces[0].ids == [item["sample_id"] for item in data]


def test_rows_of_targets_are_taken_of_whatever_holds_a_batch():
    rows = torch.tensor([2, 0])
    tensor = torch.arange(12.0).view(3, 4)
    assert torch.equal(select_rows(tensor, rows), tensor[[2, 0]])
    tracked = select_rows(MetaTensor(tensor), rows)
    assert type(tracked) is torch.Tensor
    assert torch.equal(tracked, tensor[[2, 0]])
    boxes = [{"boxes": torch.full((count, 4), float(count)), "file": f"{count}.png"} for count in (0, 1, 2)]
    chosen = select_rows(boxes, rows)
    assert [one["file"] for one in chosen] == ["2.png", "0.png"]
    assert chosen[0] is boxes[2]  # a sample's own entries are left as they are
    nested = select_rows({"mask": tensor, "boxes": tuple(boxes)}, rows)
    assert torch.equal(nested["mask"], tensor[[2, 0]])
    assert isinstance(nested["boxes"], tuple)
    assert nested["boxes"][1] is boxes[0]
    heads = select_rows([tensor, tensor[:, :1]], rows)  # several tensors of a batch each
    assert torch.equal(heads[1], tensor[[2, 0], :1])
    none = torch.empty(0, dtype=torch.long)
    assert select_rows(tensor, none).shape == (0, 4)
    assert select_rows(boxes, none) == []


@pytest.mark.parametrize(
    "entries",
    [[5, 6, 7], ["a", "b", "c"], [torch.full((3 + n, 2), n) for n in range(3)]],
    ids=["numbers", "names", "tensors of different lengths"],
)
def test_rows_of_a_list_with_an_entry_for_each_sample_are_its_entries(entries):
    chosen = select_rows(entries, torch.tensor([2, 0]))
    assert len(chosen) == 2
    assert (
        torch.equal(torch.as_tensor(chosen[0]), torch.as_tensor(entries[2]))
        if entries[0] != "a"
        else chosen == ["c", "a"]
    )


# --- samples mixed from several --------------------------------------------------------------------------------------

MIXED = {
    "lists": [["a", "b"], ["c", "d"]],
    "tuples": (("a", "b"), ("c", "d")),
    "one of them": ["a", ["c", "d"]],
    "as torch collates them": torch.utils.data.default_collate([["a", "b"], ["c", "d"]]),
    "numbers": torch.tensor([[1, 2], [3, 4]]),
}


@pytest.mark.parametrize("kind", list(MIXED))
def test_samples_with_several_ids_are_refused(kind):
    with pytest.raises(BadInputError, match=r"several ids under 'sample_id'.*mixed.*give every mixture an id"):
        batch_ids({"image": torch.zeros(2, 1, 4, 4), "sample_id": MIXED[kind]}, "sample_id", 2)


@pytest.mark.parametrize("batch", [{"image": None, "sample_id": ids} for ids in (["a", "b"], ("a", "b"))])
def test_samples_with_an_id_each_are_no_mixtures(batch):
    assert batch_ids(batch, "sample_id", 2) == ["a", "b"]


def test_numbers_are_ids_too():
    assert batch_ids({"sample_id": torch.tensor([3, 5])}, "sample_id", 2) == ["3", "5"]


def test_training_on_mixtures_is_refused_at_the_first_batch():
    data = [{**item, "sample_id": [name, "b"]} for name, item in zip(BOUNDARIES, items(), strict=True)]
    with pytest.raises(BadInputError, match="several ids"):
        make_trainer(make_margins(), data).run()


@pytest.mark.parametrize(
    "batch",
    [
        {"sample_id": np.array([["a", "b"], ["c", "d"]])},
        {"image": MetaTensor(torch.zeros(2, 1, 4, 4), meta={"filename_or_obj": [["a", "b"], ["c", "d"]]})},
    ],
    ids=["array", "files"],
)
def test_several_ids_are_refused_wherever_they_stand(batch):
    with pytest.raises(BadInputError, match="several ids"):
        batch_ids(batch, "sample_id", 2)


def test_files_of_a_list_of_images_name_the_samples():
    images = [MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": name}) for name in ("a.png", "b.png")]
    assert batch_ids({"image": images}, "sample_id", 2) == ["a.png", "b.png"]


def test_a_batch_that_is_a_list_of_samples_names_them():
    batch = [{"image": torch.zeros(1, 4, 4), "sample_id": name} for name in "ab"]
    assert batch_ids(batch, "sample_id", 2) == ["a", "b"]


def test_thresholds_are_fitted_on_every_sample_also_where_training_drops_the_last_ones(tmp_path):
    network, data = Ramp(), items()
    torch.save({"network": network.state_dict()}, tmp_path / "model.pt")
    margins = AdaptiveMargins(0.5, tmp_path / "model.pt", fit={"statistic": "quantile", "quantile": 0.9})
    trainer = make_trainer(margins, data, batch_size=3, network=network, loss=nn.MSELoss())
    loader = DataLoader(trainer.data_loader.dataset, batch_size=3, shuffle=True, drop_last=True)
    trainer.data_loader = loader
    trainer.run()
    assert margins.thresholds.statistics["loss"]["samples"] == len(data) % 3 + 3 * (len(data) // 3)
    assert len(data) % 3


def test_a_number_is_no_thresholds():
    with pytest.raises(BadInputError, match=r"the margins' thresholds are 9\.0; they must be"):
        AdaptiveMargins(0.5, 9.0)
