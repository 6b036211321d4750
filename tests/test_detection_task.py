from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.anchor_utils import AnchorGenerator, AnchorGeneratorWithAnchorShape
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler
from monai.losses import FocalLoss
from torch import nn

from monai_robust.attacks import PGD, ScoreBeyond
from monai_robust.errors import BadInputError
from monai_robust.evaluation import outcomes_of
from monai_robust.losses import DetectionLoss
from monai_robust.networks import retinanet
from monai_robust.tasks import Detection

SIZE = (48, 32)
STRIDES = (4, 8)
CORNERS = ["xmin", "ymin", "xmax", "ymax"]

Outputs = dict[str, list[torch.Tensor]]


def generator() -> AnchorGenerator:
    return AnchorGeneratorWithAnchorShape((1, 2), ((8, 8), (12, 8)))


def loss(**settings: object) -> DetectionLoss:
    return DetectionLoss(generator(), **{"strides": STRIDES, **settings})


def random_outputs(batch: int = 3, classes: int = 3, seed: int = 0) -> Outputs:
    """As a RetinaNet with two anchors at a position would give them."""
    source = torch.Generator().manual_seed(seed)
    levels = [tuple(length // stride for length in SIZE) for stride in STRIDES]
    return {
        name: [torch.randn(batch, 2 * values, *level, generator=source) for level in levels]
        for name, values in (("classification", classes), ("box_regression", 4))
    }


def targets() -> torch.Tensor:
    """Three boxes; one that reaches beyond the picture and one as small as a pixel; none at all."""
    label = torch.zeros(3, 4, 5)
    label[:, :, -1] = -1
    label[0, :3] = torch.tensor([[4.0, 3, 14, 12, 0], [20, 10, 31, 25, 2], [36, 19, 46, 29, 1]])
    label[1, :2] = torch.tensor([[-3.0, 20, 8, 36, 1], [30, 8, 31, 9, 0]])
    return label


def as_dictionaries(label: torch.Tensor, keys: tuple[str, str] = ("boxes", "labels")) -> list[dict[str, torch.Tensor]]:
    real = [rows[rows[:, -1] >= 0] for rows in label]
    return [{keys[0]: rows[:, :-1], keys[1]: rows[:, -1].long()} for rows in real]


def saying(boxes: torch.Tensor, logit: float = 6.0) -> Outputs:
    """Outputs that say exactly what ``boxes`` (B, N, 5) are, at every anchor matched to one, and nothing else."""
    outputs = random_outputs(len(boxes))
    outputs = {name: [torch.zeros_like(level) for level in levels] for name, levels in outputs.items()}
    logits, codes, matched = loss().matched(outputs, boxes)
    logits = torch.where(matched.classes > 0, logit, -logit)
    for image in range(len(boxes)):
        inside = matched.inside[image]
        codes[image, matched.foreground[image, inside]] = matched.codes[image, inside]
    counts = [2 * level[0, 0].numel() for level in outputs["classification"]]
    for name, flat in (("classification", logits), ("box_regression", codes)):
        for index, part in enumerate(flat.split(counts, dim=1)):
            shape = outputs[name][index].shape
            by_place = part.unflatten(1, (*shape[2:], 2)).permute(0, 3, 4, 1, 2)
            outputs[name][index] = by_place.reshape(shape).clone()
    return outputs


def detector_of(network: nn.Module) -> RetinaNetDetector:
    detector = RetinaNetDetector(network, generator())
    detector.set_atss_matcher(4, center_in_gt=False)
    detector.set_cls_loss(FocalLoss(reduction="mean", gamma=2.0, alpha=0.25))
    detector.set_box_regression_loss(nn.SmoothL1Loss(beta=1 / 9, reduction="sum"), encode_gt=True, decode_pred=False)
    return detector


def tiny_network(classes: int = 3) -> nn.Module:
    return retinanet(classes, backbone="resnet10", features=8, returned_layers=(1, 2), anchors=2)


def test_terms_are_those_of_monais_detector_image_by_image():
    detector = detector_of(tiny_network())
    outputs, label = random_outputs(), targets()
    (anchors,) = detector.anchor_generator(torch.zeros(1, 3, *SIZE), outputs["classification"])
    positions = [level[0, 0].numel() for level in outputs["classification"]]
    flat = {name: detector._reshape_maps(levels) for name, levels in outputs.items()}
    expected: dict[str, list[float]] = {"classification": [], "box_regression": []}
    for index, own in enumerate(as_dictionaries(label)):
        _, matches = detector.proposal_matcher(own["boxes"], anchors, positions, 2)
        count = max(1, int((matches >= 0).sum()))
        elements = 3 * len(anchors)  # MONAI's FocalLoss takes the mean over them, whatever its reduction
        classification = detector.compute_cls_loss(flat["classification"][index : index + 1], [own], [matches])
        box = detector.compute_box_loss(flat["box_regression"][index : index + 1], [own], [anchors], [matches])
        expected["classification"].append(float(classification) * elements / count)
        expected["box_regression"].append(float(box) / count)
    found = loss().terms(outputs, label)
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], torch.tensor(values))
    assert found["box_regression"][2] == 0


def test_an_images_terms_do_not_depend_on_its_batch():
    outputs, label, task = random_outputs(), targets(), Detection(loss())
    together = task.terms(outputs, label)
    for index in range(3):
        alone = {name: [level[index : index + 1] for level in levels] for name, levels in outputs.items()}
        for name, value in task.terms(alone, label[index : index + 1]).items():
            torch.testing.assert_close(value, together[name][index : index + 1])


def test_every_form_of_targets_gives_the_same_terms():
    outputs, label, task = random_outputs(), targets(), Detection(loss())
    expected = task.terms(outputs, label)
    prepared = task.prepared(torch.zeros(3, 3, *SIZE), label)
    for form in (as_dictionaries(label), as_dictionaries(label, ("box", "label")), prepared, prepared):
        for name, value in task.terms(outputs, form).items():
            assert torch.equal(value, expected[name])


def test_gradients_reach_both_kinds_of_outputs_and_are_finite_without_boxes():
    outputs = {name: [level.requires_grad_() for level in levels] for name, levels in random_outputs().items()}
    terms = loss().terms(outputs, targets())
    leaves = [*outputs["classification"], *outputs["box_regression"]]
    gradients = torch.autograd.grad(terms["classification"].sum() + terms["box_regression"].sum(), leaves)
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients)
    assert not gradients[2][2].any()  # codes of the image without boxes
    assert terms["box_regression"].requires_grad


def test_half_precision_outputs_are_computed_in_single_precision():
    outputs, label = random_outputs(), targets()
    exact = {name: [level.bfloat16().float() for level in levels] for name, levels in outputs.items()}
    rounded = {name: [level.bfloat16() for level in levels] for name, levels in outputs.items()}
    for name, value in loss().terms(rounded, label).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss().terms(exact, label)[name])


def test_a_trainer_lowers_the_mean_of_the_weighted_terms():
    outputs, label = random_outputs(), targets()
    weighted, plain = loss(weights={"box_regression": 3.0}), loss()
    terms = plain.terms(outputs, label)
    torch.testing.assert_close(weighted(outputs, label), (terms["classification"] + 3 * terms["box_regression"]).mean())
    assert plain.state_dict() == {}


def test_a_sampler_is_for_training_alone():
    sampler = HardNegativeSampler(batch_size_per_image=16, positive_fraction=0.5)
    sampling, outputs, label = loss(sampler=sampler), random_outputs(), targets()
    assert sampling(outputs, label) < loss()(outputs, label)
    for name, value in sampling.terms(outputs, label).items():
        assert torch.equal(value, loss().terms(outputs, label)[name])


def test_anchors_between_the_thresholds_of_a_plain_matcher_are_ignored():
    def matcher(overlaps: torch.Tensor) -> torch.Tensor:
        best, index = overlaps.max(dim=0)
        return torch.where(best > 0.4, index, torch.where(best > 0.2, -2, -1))

    own = loss(matcher=matcher, classification="bce")
    outputs, label = random_outputs(), targets()
    logits, _, matched = own.matched(outputs, label)
    assert matched.ignored is not None
    assert matched.ignored.any(dim=1).tolist() == [True, True, False]
    elementwise = nn.functional.binary_cross_entropy_with_logits(logits, matched.classes, reduction="none")
    expected = (elementwise.sum(dim=2) * ~matched.ignored).sum(dim=1) / matched.counts.clamp(min=1)
    torch.testing.assert_close(own.terms(outputs, label)["classification"], expected)


def test_boxes_are_matched_once_for_all_steps_and_all_radii():
    class Counting(ATSSMatcher):
        calls = 0

        def compute_matches(self, *args: object, **kwargs: object) -> tuple[torch.Tensor, torch.Tensor]:
            self.calls += 1
            return super().compute_matches(*args, **kwargs)

    matcher = Counting(4, center_in_gt=False)
    task = Detection(loss(matcher=matcher))
    for _ in range(2):
        task.terms(random_outputs(), targets())
    assert matcher.calls == 2  # of the images with boxes


def test_matches_made_in_inference_mode_can_be_attacked_later():
    network, task = tiny_network().eval(), Detection(loss())
    images = torch.rand(3, 3, *SIZE)
    with torch.inference_mode():
        task.terms(network(images), targets())
    adversarial = PGD(eps=1.0, steps=1)(network, images, targets(), task=task)
    assert bool((adversarial != images).flatten(1).any(dim=1).all())


@pytest.mark.parametrize("strides", [STRIDES, None])
def test_image_sizes_come_from_strides_or_from_the_inputs(strides):
    task = Detection(loss(strides=strides))
    prepared = task.prepared(torch.zeros(3, 3, *SIZE), targets())
    found = task.terms(random_outputs(), prepared)
    torch.testing.assert_close(found["box_regression"], loss().terms(random_outputs(), targets())["box_regression"])
    if strides is None:
        with pytest.raises(BadInputError, match="give the strides"):
            task.terms(random_outputs(), targets())


def test_an_image_without_boxes_has_no_box_regression():
    assert Detection(loss()).defined(random_outputs(), targets())["box_regression"].tolist() == [True, True, False]


def test_what_the_outputs_say_is_detected():
    label = targets()[:2]
    label[1] = label[1].roll(0) * 0
    label[1, :, -1] = -1
    task = Detection(loss())
    outputs = saying(label)
    found = task.detect(outputs, SIZE)
    own = as_dictionaries(label)[0]
    order = found[0]["boxes"][:, 0].argsort()
    torch.testing.assert_close(found[0]["boxes"][order], own["boxes"], atol=1e-3, rtol=0)
    assert found[0]["labels"][order].tolist() == own["labels"].tolist()
    assert len(found[1]["boxes"]) == 0
    outcomes = outcomes_of(task).values(outputs, label)
    assert list(outcomes) == list(outcomes_of(task).columns(["a", "b", "c"]))
    assert outcomes["boxes"].tolist() == [3, 0]
    assert outcomes["detections"].tolist() == [3, 0]
    assert float(outcomes["score"][0]) == pytest.approx(1, abs=1e-3)
    assert math.isnan(outcomes["score"][1])


def test_false_positives_count_zero_and_a_missed_image_scores_zero():
    label = targets()[[0, 0]]
    outputs = saying(label)
    other = label.clone()
    other[0, 0, -1] = 1  # the detection of class 0 is none of this box
    for level in outputs["classification"]:
        level[1] = -9
    outcomes = outcomes_of(Detection(loss())).values(outputs, other)
    assert outcomes["detections"].tolist() == [3, 0]
    assert outcomes["score"].tolist() == pytest.approx([2 / 3, 0], abs=1e-3)
    assert torch.equal(Detection(loss()).score(outputs, other), outcomes["score"])


def test_without_a_label_detections_are_compared_with_those_of_the_clean_image():
    task, label = Detection(loss()), targets()
    outputs, other = saying(label[:1, :1]), saying(label[:1, 1:2])
    own = task.predicted_targets(outputs, label[:1])
    assert [len(one["boxes"]) for one in own] == [len(one["boxes"]) for one in task.counted(outputs, label[:1])]
    assert task.score(outputs, own).tolist() == [1.0]
    criterion = ScoreBeyond(0.9, reference="prediction")
    assert criterion(task, other, label[:1], outputs).tolist() == [True]
    assert criterion(task, outputs, label[:1], outputs).tolist() == [False]


def test_boxes_are_clipped_to_the_image():
    label = targets()[1:2]
    label[0, 1, -1] = -1
    (found,) = Detection(loss()).detect(saying(label))
    assert found["boxes"].tolist()[0] == pytest.approx([0, 20, 8, 32], abs=1e-3)


def test_the_table_of_details_agrees_with_the_outcomes():
    task = Detection(loss(), score_threshold=0.9, keep_threshold=0.4)
    outputs, label = random_outputs(), targets()
    details, outcomes = outcomes_of(task).details(outputs, label), outcomes_of(task).values(outputs, label)
    assert [sum(row["score"] >= 0.9 for row in rows) for rows in details] == outcomes["detections"].tolist()
    assert all(row["score"] > 0.4 for rows in details for row in rows)
    assert min(row["score"] for row in details[0]) < 0.9
    assert list(details[0][0]) == list(outcomes_of(task).detail_columns()) == ["class", "score", *CORNERS]
    true = outcomes_of(task).true_details(label)
    assert [len(rows) for rows in true] == [3, 2, 0]
    assert true[0][1] == dict(zip(["class", *CORNERS], [2, 20, 10, 31, 25], strict=True))
    assert list(true[0][0]) == list(outcomes_of(task).truth_columns())
    assert outcomes_of(task).settings()["score_threshold"] == 0.9


def test_captions_say_how_many_boxes_and_how_well_they_fit():
    outcomes = {"boxes": torch.tensor([12, 1, 0]), "detections": torch.tensor([11, 1, 0])}
    outcomes["score"] = torch.tensor([0.783, 0.5, math.nan])
    captions = [outcomes_of(Detection(loss())).caption(outcomes, index, ["a"]) for index in range(3)]
    assert captions[0] == {"label": "12 boxes", "prediction": "11 detections, average IoU 0.78"}
    assert captions[1] == {"label": "1 box", "prediction": "1 detection, average IoU 0.50"}
    assert captions[2] == {"label": "0 boxes", "prediction": "0 detections"}


def test_items_are_counted_by_box_and_examples_show_many_classes():
    items = [{"classes": classes} for classes in ([0], [0, 1], [], [0, 0], [2], [1, 1, 1], [], [])]
    task = Detection(loss())
    assert outcomes_of(task).class_counts(items, ["a", "b", "c"]) == {"a": 4, "b": 4, "c": 1}
    assert outcomes_of(task).examples(items, ["a", "b", "c"]) == [1, 3, 5]
    assert outcomes_of(task).examples([], ["a"]) == []


def test_pictures_show_small_boxes_on_top_of_large_ones():
    label = torch.tensor([[[5.0, 5, 9, 9, 2], [4, 4, 16, 16, 0]]])
    found, truth = outcomes_of(Detection(loss())).picture_masks(saying(label), label)
    assert found.dtype == torch.uint8
    assert found.shape == truth.shape == (1, *SIZE)
    assert truth[0, [6, 12, 20], [6, 12, 20]].tolist() == [3, 1, 0]
    assert int((truth == 1).sum() + (truth == 3).sum()) == 144


@pytest.mark.parametrize("form", ["tensor", "dictionaries"])
def test_targeted_attacks_get_boxes_that_serve_their_goal(form):
    label = targets()
    given = label if form == "tensor" else as_dictionaries(label)
    outputs = saying(label)
    for level in outputs["classification"]:
        level.unflatten(1, (2, 3))[:, :, 2] += 1  # class 2 is everywhere a little more likely
    task = Detection(loss())
    assert (task.aim(outputs, given, "vanishing")[:, :, -1] == -1).all()
    assert task.aim(outputs, given, "mislabelling")[0, :3, -1].tolist() == [2, 0, 2]
    assert task.aim(outputs, given, "least_likely")[0, :3, -1].tolist() == [1, 0, 0]
    assert task.aim(outputs, given, 1)[1, :, -1].tolist()[:2] == [1, 1]
    assert torch.equal(task.aim(outputs, given, 1)[1, :2, :4], label[1, :2, :4])
    with pytest.raises(BadInputError, match="'vanishing', 'mislabelling', 'least_likely' or a class from 0 to 2"):
        task.aim(outputs, given, 3)


def test_one_class_leaves_no_wrong_one():
    label = targets()
    label[:, :, -1] = label[:, :, -1].clamp(max=0)
    with pytest.raises(BadInputError, match="only one class"):
        Detection(loss()).aim(random_outputs(classes=1), label, "mislabelling")


@pytest.mark.full
def test_a_network_learns_two_images_and_an_attack_undoes_it():
    torch.manual_seed(0)
    images = torch.full((2, 3, *SIZE), 0.2)
    label = torch.tensor([[[6.0, 6, 16, 15, 0], [28, 14, 40, 24, 1]], [[24, 4, 34, 13, 0], [0, 0, 0, 0, -1]]])
    for index, box in ((0, 0), (0, 1), (1, 0)):
        xmin, ymin, xmax, ymax, kind = label[index, box].int().tolist()
        images[index, kind, xmin:xmax, ymin:ymax] = 1
    network, task = tiny_network(2), Detection(loss())
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        value = task.loss(network(images), label)
        value.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        outcomes = outcomes_of(task).values(network(images), label)
    assert outcomes["detections"].tolist() == [2, 1]
    assert bool((outcomes["score"] > 0.6).all())
    before = copy.deepcopy(network.state_dict())
    attacks = (PGD(eps=5.0, steps=10, bounds=(0.0, 1.0), goal=goal, task=task) for goal in ("untargeted", "vanishing"))
    with torch.no_grad():
        attacked, hidden = (
            outcomes_of(task).values(network(attack(network, images, label)), label) for attack in attacks
        )
    assert bool((attacked["score"] < 0.5).all())
    assert bool((hidden["detections"] < outcomes["detections"]).all())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_monai_detectors_network_can_be_attacked():
    detector = detector_of(tiny_network()).eval()
    detector.set_target_keys("box", "label")
    detector.set_box_selector_parameters(score_thresh=0.001, nms_thresh=0.4, detections_per_img=7)
    task = Detection.of(detector, score_threshold=0.002)
    assert task.loss.matching.strides == ((4, 4), (8, 8))
    images, given = torch.rand(2, 3, *SIZE), as_dictionaries(targets()[:2], ("box", "label"))
    outputs = detector.network(images)
    with torch.no_grad():
        (expected, _), (found, _) = detector(images), task.detect(outputs, SIZE)
    torch.testing.assert_close(found["boxes"], expected["box"])
    torch.testing.assert_close(found["scores"], expected["label_scores"])
    adversarial = PGD(eps=1.0, steps=2)(detector.network, images, given, task=task)
    before, after = (sum(task.terms(detector.network(x), given).values()) for x in (images, adversarial))
    assert bool((after > before).all())


def test_a_detector_with_an_unknown_loss_is_refused():
    detector = detector_of(tiny_network())
    detector.set_cls_loss(nn.MSELoss())
    with pytest.raises(BadInputError, match="MSELoss"):
        Detection.of(detector)


def test_volumes_are_detected_in_too():
    anchors = AnchorGeneratorWithAnchorShape((1, 2), ((8, 8, 8),))
    task = Detection(DetectionLoss(anchors, strides=STRIDES), keep_threshold=0.0)
    network = retinanet(
        2, spatial_dims=3, in_channels=1, backbone="resnet10", features=8, returned_layers=(1, 2), anchors=1
    ).eval()
    inputs = torch.rand(2, 1, 16, 24, 16)
    label = torch.tensor([[[2.0, 3, 4, 9, 12, 11, 1]], [[0, 0, 0, 0, 0, 0, -1]]])
    adversarial = PGD(eps=0.5, steps=1)(network, inputs, label, task=task)
    outputs = network(adversarial)
    assert task.defined(outputs, label)["box_regression"].tolist() == [True, False]
    assert list(outcomes_of(task).detail_columns())[2:] == ["xmin", "ymin", "zmin", "xmax", "ymax", "zmax"]
    assert outcomes_of(task).true_details(label)[0] == [
        {"class": 1, "xmin": 2, "ymin": 3, "zmin": 4, "xmax": 9, "ymax": 12, "zmax": 11}
    ]
    assert set(outcomes_of(task).details(outputs, label)[0][0]) == set(outcomes_of(task).detail_columns())
    assert outcomes_of(task).picture_masks(outputs, label) is None


@pytest.mark.parametrize(
    ("label", "named"),
    [
        (torch.zeros(3, 4), r"\(B, N, 5\)"),
        (torch.tensor([[[5.0, 5, 5, 9, 0]]]).expand(3, 1, 5), "sample 0 of the batch has the box"),
        (torch.tensor([[[math.nan, 5, 9, 9, 0]]]).expand(3, 1, 5), "sample 0 of the batch has the box"),
        (torch.tensor([[[1.0, 5, 9, 9, 3]]]).expand(3, 1, 5), "knows classes 0 to 2"),
        (torch.tensor([[[1.0, 5, 9, 9, 0.5]]]).expand(3, 1, 5), "class 0.5"),
        (targets()[:2], "outputs are of 3 images, the boxes of 2"),
        ([{"boxes": torch.zeros(0, 4)}] * 3, "no 'labels'"),
        ("boxes", "detection takes a tensor"),
    ],
)
def test_targets_that_cannot_be_used_are_refused(label, named):
    with pytest.raises(BadInputError, match=named):
        loss().terms(random_outputs(), label)


def test_outputs_that_do_not_fit_are_refused():
    outputs = random_outputs()
    with pytest.raises(BadInputError, match="2 anchors at a position"):
        loss().terms(outputs | {"box_regression": [level[:, :4] for level in outputs["box_regression"]]}, targets())
    with pytest.raises(BadInputError, match="those of a RetinaNet"):
        loss().terms(torch.zeros(3, 2), targets())
    with pytest.raises(BadInputError, match="multiples of all strides"):
        Detection(loss()).terms(outputs, loss().prepare(targets(), (47, 32)))
    with pytest.raises(BadInputError, match="not finite"):
        Detection(loss()).detect({name: [level * np.inf for level in levels] for name, levels in outputs.items()})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"strides": (4,)}, "2 levels, but 1"),
        ({"classification": "hinge"}, "'focal', 'bce'"),
        ({"alpha": 2.0}, "alpha 2.0"),
        ({"weights": {"box": 1.0}}, "'box_regression'"),
        ({"gamma": -1.0}, "gamma -1.0"),
    ],
)
def test_settings_of_the_loss_that_cannot_work_are_refused(settings, named):
    with pytest.raises(BadInputError, match=named):
        loss(**settings)


def test_thresholds_that_cannot_work_are_refused():
    with pytest.raises(BadInputError, match="both must be from 0 to 1"):
        Detection(loss(), keep_threshold=0.5)
    with pytest.raises(BadInputError, match="max_detections 0"):
        Detection(loss(), max_detections=0)
    with pytest.raises(BadInputError, match="must be a DetectionLoss"):
        Detection(nn.MSELoss())
