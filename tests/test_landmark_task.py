from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import outcomes_of
from monai_robust.losses import LandmarkLoss, landmark_maps
from monai_robust.tasks import Landmarks

NAN = math.nan
RADIUS = 3.0
SHAPES = {"2-D": (16, 13), "3-D": (9, 12, 10)}


def case(dims: str = "2-D", seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and landmarks (4, 3, 2D): one at a corner, one between pixels, one missing, one sample without any."""
    generator = torch.Generator().manual_seed(seed)
    shape = SHAPES[dims]
    size = torch.tensor(shape)
    points = torch.rand(4, 3, len(shape), generator=generator) * (size - 1)
    points[0, 0] = -0.4
    points[0, 1] = size - 1
    points[1, 0] = 4.5
    points[2, 1] = NAN
    points[3] = NAN
    spacing = torch.linspace(0.5, 1.5, len(shape)).expand_as(points)
    outputs = torch.randn(4, 3 * (1 + len(shape)), *shape, generator=generator)
    return outputs, torch.cat([points, spacing], dim=2)


def perfect(points: torch.Tensor, shape: tuple[int, ...], radius: float = RADIUS, logit: float = 12.0) -> torch.Tensor:
    """Outputs that say exactly where ``points`` (B, L, D) are; nothing is said outside the discs."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(length) for length in shape], indexing="ij"))
    steps = points.reshape(*points.shape, *[1] * len(shape)) - grid
    heatmaps = torch.where(steps.norm(dim=2) <= radius, logit, -logit)
    return torch.cat([heatmaps, (steps / radius).transpose(1, 2).flatten(1, 2)], dim=1)


def terms_by_hand(outputs: torch.Tensor, targets: torch.Tensor, heatmap: str) -> dict[str, list[float]]:
    """The terms by dense maps, landmark for landmark, in NumPy."""
    shape = outputs.shape[2:]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    result: dict[str, list[float]] = {name: [] for name in ["heatmap", *(f"offset_{a}" for a in "xyz"[: len(shape)])]}
    for output, landmarks in zip(outputs.double().numpy(), targets.double().numpy(), strict=True):
        maps = output.reshape(1 + len(shape), len(landmarks), *shape)
        own: dict[str, list[float]] = {name: [] for name in result}
        for index, point in enumerate(landmarks[:, : len(shape)]):
            if np.isnan(point).any():
                continue
            steps = point[(slice(None), *[None] * len(shape))] - grid
            disc = np.linalg.norm(steps, axis=0) <= RADIUS
            p = 1 / (1 + np.exp(-maps[0, index]))
            dice = 1 - 2 * p[disc].sum() / (p.sum() + disc.sum())
            bce = -(np.log(p[disc]).sum() + np.log(1 - p[~disc]).sum()) / disc.sum()
            own["heatmap"].append(dice if heatmap == "dice" else bce)
            for axis, name in enumerate("xyz"[: len(shape)]):
                own[f"offset_{name}"].append(np.abs(maps[1 + axis, index] - steps[axis] / RADIUS)[disc].mean())
        for name, values in own.items():
            result[name].append(float(np.mean(values)) if values else 0.0)
    return result


@pytest.mark.parametrize("dims", list(SHAPES))
@pytest.mark.parametrize("heatmap", ["dice", "bce"])
def test_terms_are_those_of_dense_maps(dims, heatmap):
    outputs, targets = case(dims)
    terms = LandmarkLoss(RADIUS, heatmap).terms(outputs, targets)
    wanted = terms_by_hand(outputs, targets, heatmap)
    assert list(terms) == list(wanted)
    for name, values in wanted.items():
        assert terms[name].tolist() == pytest.approx(values, abs=1e-5), name


def test_the_loss_is_the_mean_of_the_weighted_terms():
    outputs, targets = case()
    plain = LandmarkLoss(RADIUS).terms(outputs, targets)
    loss = LandmarkLoss(RADIUS, weights={"heatmap": 0.5, "offset_y": 2})
    expected = (0.5 * plain["heatmap"] + plain["offset_x"] + 2 * plain["offset_y"]).mean()
    assert loss(MetaTensor(outputs), MetaTensor(targets)).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("heatmap", ["dice", "bce"])
def test_perfect_maps_have_next_to_no_loss_and_an_empty_map_has_much(heatmap):
    _, targets = case()
    loss = LandmarkLoss(RADIUS, heatmap)
    right = perfect(targets[:3, :, :2].nan_to_num(0), SHAPES["2-D"])
    assert loss(right, targets[:3]).item() < 1e-2
    empty = right.clone()
    empty[:, :3] = -12
    assert loss.terms(empty, targets[:3])["heatmap"].min().item() > 0.99


def test_a_missing_landmark_counts_nowhere():
    outputs, targets = case()
    outputs.requires_grad_(True)
    LandmarkLoss(RADIUS)(outputs, targets).backward()
    assert (outputs.grad[2, [1, 4, 7]] == 0).all()
    assert (outputs.grad[2, [0, 3, 6]] != 0).flatten(1).any(dim=1).all()
    without = torch.cat([outputs[2:3, [0, 2, 3, 5, 6, 8]]])
    alone = LandmarkLoss(RADIUS).terms(without, targets[2:3, [0, 2]])
    for name, value in LandmarkLoss(RADIUS).terms(outputs, targets).items():
        assert value[2].item() == pytest.approx(alone[name].item(), rel=1e-6)


@pytest.mark.parametrize("single", [False, True])
def test_a_sample_without_landmarks_has_terms_of_zero_with_a_graph_and_they_are_not_defined(single):
    outputs, targets = case()
    outputs.requires_grad_(True)
    task = Landmarks(radius=RADIUS, single_term=single)
    terms, defined = task.terms(outputs, targets), task.defined(outputs, targets)
    assert list(defined) == list(terms) == (["loss"] if single else ["heatmap", "offset_x", "offset_y"])
    for name, value in terms.items():
        assert value[3].item() == 0
        assert defined[name].tolist() == [True, True, True, False]
    sum(value[3] for value in terms.values()).backward()
    assert (outputs.grad == 0).all()


@pytest.mark.parametrize("wanted", [[-0.5, 3.0], [15.5, 3.0], [7.3, 12.5]])
def test_a_landmark_at_the_rim_of_the_picture_is_seen(wanted):
    maps = landmark_maps(torch.tensor([[wanted]]), SHAPES["2-D"], 0.2)
    assert maps.visible.tolist() == [[True]]
    assert maps.label_map().sum().item() == 1  # a disc between pixels holds the nearest one


@pytest.mark.parametrize("outside", [[-0.6, 3.0], [16.0, 3.0], [3.0, 12.6], [NAN, 3.0]])
def test_a_landmark_outside_the_picture_is_missing(outside):
    assert landmark_maps(torch.tensor([[outside]]), SHAPES["2-D"], 4.0).visible.tolist() == [[False]]


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5, 3.0, 30.0])
def test_a_disc_holds_every_pixel_within_its_radius(radius):
    points = torch.tensor([[[5.0, 6.0], [5.49, 6.51], [0.2, 11.7]]])
    grid = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(13), indexing="ij"))
    for landmark in points[0]:
        disc = (grid - landmark[:, None, None]).norm(dim=0) <= radius
        if not disc.any():
            disc[tuple(landmark.round().long())] = True
        drawn = landmark_maps(landmark[None, None], (16, 13), radius).label_map()[0]
        assert torch.equal(drawn.bool(), disc)


@pytest.mark.parametrize("heatmap", ["dice", "bce"])
def test_half_precision_outputs_are_judged_in_single_precision(heatmap):
    outputs, targets = case()
    loss = LandmarkLoss(RADIUS, heatmap)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss.terms(outputs.bfloat16(), targets)
    for name, value in loss.terms(outputs.bfloat16().float(), targets).items():
        assert half[name].dtype == torch.float32
        assert torch.equal(half[name], value)


@pytest.mark.parametrize("dims", list(SHAPES))
def test_what_a_sample_is_told_does_not_depend_on_its_batch_nor_on_preparing_the_targets(dims):
    outputs, targets = case(dims)
    task = Landmarks(radius=RADIUS)
    whole = {**task.terms(outputs, targets), **outcomes_of(task).values(outputs, targets)}
    ready = task.prepared(torch.zeros(4, 1, *SHAPES[dims]), targets)
    prepared = {**task.terms(outputs, ready), **outcomes_of(task).values(outputs, ready)}
    for i in range(4):
        alone = {**task.terms(outputs[i : i + 1], targets[i : i + 1])}
        alone |= outcomes_of(task).values(outputs[i : i + 1], targets[i : i + 1])
        for name, value in alone.items():
            assert torch.allclose(value[0], whole[name][i], atol=1e-6, equal_nan=True), name
            assert torch.equal(prepared[name].nan_to_num(-1), whole[name].nan_to_num(-1)), name
    for name, value in task.defined(outputs, ready).items():
        assert torch.equal(value, task.defined(outputs, targets)[name])


@pytest.mark.parametrize("dims", list(SHAPES))
@pytest.mark.parametrize("shift", [0.0, -60.0])
def test_votes_find_points_between_pixels_also_where_all_logits_are_low(dims, shift):
    generator = torch.Generator().manual_seed(4)
    shape = SHAPES[dims]
    points = torch.rand(2, 3, len(shape), generator=generator) * (torch.tensor(shape) - 1)
    outputs = perfect(points, shape)
    outputs[:, :3] += shift
    assert torch.allclose(Landmarks(radius=RADIUS).points(outputs), points, atol=1e-4)


def test_a_second_weaker_spot_has_no_vote():
    points = torch.tensor([[[20.3, 11.2]]])
    outputs = perfect(points, (32, 24), logit=8.0)
    outputs[0, 0, 2:5, 2:5] = 9.0
    outputs[0, 1:, 2:5, 2:5] = 0.0
    assert torch.allclose(Landmarks(radius=RADIUS).points(outputs), points, atol=1e-3)


def test_voters_count_by_their_probability():
    outputs = torch.zeros(1, 3, 12, 12)
    outputs[0, 0] = -30
    outputs[0, 0, 4, 5], outputs[0, 0, 6, 5], outputs[0, 0, 5, 5] = 8.0, torch.logit(torch.tensor(0.6)), -0.5
    found = Landmarks(radius=RADIUS).points(outputs)[0, 0]  # 0.38 is less than half of the top: no vote
    top = torch.sigmoid(torch.tensor(8.0)).item()
    assert found.tolist() == pytest.approx([(4 * top + 6 * 0.6) / (top + 0.6), 5], abs=1e-5)


def test_errors_are_in_millimetres_along_each_axis():
    _, targets = case()
    moved = targets[..., :2].nan_to_num(5) + torch.tensor([0.5, -0.25])
    task = Landmarks(radius=RADIUS)
    outputs = perfect(moved.clamp(min=0), SHAPES["2-D"])
    outcomes = outcomes_of(task).values(outputs, targets)
    assert (
        list(outcomes) == list(outcomes_of(task).columns(["a", "b", "c"])) == ["error_1", "error_2", "error_3", "score"]
    )
    expected = np.linalg.norm((moved.clamp(min=0) - targets[..., :2]).numpy() * targets[..., 2:].numpy(), axis=2)
    found = np.stack([outcomes[f"error_{index}"].numpy() for index in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(outcomes["score"][:3], np.nanmean(expected[:3], axis=1), atol=1e-4)
    assert outcomes["score"][3].isnan()
    assert torch.equal(task.score(outputs, targets).nan_to_num(-1), outcomes["score"].nan_to_num(-1))
    pixels = outcomes_of(task).values(outputs, targets[..., :2])["error_1"][1].item()
    assert pixels == pytest.approx(math.hypot(0.5, 0.25), abs=1e-4)


def test_an_attack_on_landmarks_stays_in_its_ball_and_moves_them():
    torch.manual_seed(3)
    network = TinyNet(classes=9, dense=True)
    state = copy.deepcopy(network.state_dict())
    inputs = torch.rand(4, 1, *SHAPES["2-D"])
    _, targets = case()
    task = Landmarks(radius=RADIUS)
    adversarial = PGD(norm="l2", eps=2.0, steps=4, task=task, bounds=None)(network, inputs, targets)
    network.eval()
    clean, hurt = (sum(task.terms(network(x), targets).values()) for x in (inputs, adversarial))
    assert (hurt[:3] > clean[:3]).all()
    assert ((adversarial - inputs).flatten(1).norm(dim=1) <= 2.0 + 1e-4).all()
    assert torch.equal(adversarial[3], inputs[3])  # nothing to hurt
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_few_steps_of_training_find_the_landmarks():
    generator = torch.Generator().manual_seed(5)
    points = 4 + torch.rand(8, 1, 2, generator=generator) * 8
    grid = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij"))
    steps = points[..., None, None] - grid
    inputs = torch.cat([(-steps.square().sum(dim=2) / 8).exp(), steps[:, 0] / 16 * (steps.norm(dim=2) < 5)], dim=1)
    network = TinyNet(classes=3, channels=3, dense=True).eval()
    task = Landmarks(LandmarkLoss(RADIUS))
    before = task.score(network(inputs), points).mean().item()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(network(inputs), points).backward()
        optimizer.step()
    after = task.score(network(inputs), points).mean().item()
    assert after < 0.7 < before


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((2, 9, 8, 8), (2, 4, 4)), ((2, 8, 8, 8), (2, 3, 4)), ((2, 9, 8, 8), (2, 3, 3)), ((2, 9, 8, 8), (3, 3, 4))],
)
def test_outputs_and_landmarks_that_do_not_fit_are_refused_with_both_shapes(outputs, targets):
    for method in (Landmarks().terms, Landmarks().errors, Landmarks().defined):
        with pytest.raises(BadInputError) as caught:
            method(torch.zeros(outputs), torch.zeros(targets))
        assert str(outputs) in str(caught.value)
        assert str(targets) in str(caught.value)


def test_maps_for_other_outputs_or_another_radius_are_refused():
    outputs, targets = case()
    with pytest.raises(BadInputError, match=r"radius 4 .* the loss has radius 3"):
        LandmarkLoss(3).terms(outputs, landmark_maps(targets, SHAPES["2-D"], 4))
    with pytest.raises(BadInputError, match=r"\(8, 8\) pixels; .* outputs \(16, 13\)"):
        LandmarkLoss(3).terms(outputs, landmark_maps(targets, (8, 8), 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LandmarkLoss(0), "radius of the landmarks' discs is 0"),
        (lambda: LandmarkLoss(NAN), "is nan"),
        (lambda: LandmarkLoss(heatmap="focal"), "'focal'; it must be one of 'dice', 'bce'"),
        (lambda: LandmarkLoss(weights={"offset": 1}), "'offset'; it must be one of 'heatmap', 'offset_x'"),
        (lambda: LandmarkLoss(weights={"heatmap": -1}), "is -1; it must be 0 or above"),
        (lambda: Landmarks(LandmarkLoss(), radius=3), "but not both"),
        (lambda: Landmarks("dice"), "is a str; it must be a LandmarkLoss"),
        (lambda: Landmarks().points([torch.zeros(1, 3, 4, 4)]), "are a list"),
        (lambda: Landmarks().points(torch.zeros(1, 4, 8, 8)), r"have shape \(1, 4, 8, 8\)"),
        (lambda: Landmarks().points(torch.full((1, 3, 8, 8), NAN)), "not finite"),
        (lambda: Landmarks().errors(torch.zeros(1, 3, 8, 8), torch.tensor([[[3.0, 3, 0, 1]]])), r"\[0.0, 1.0\] mm"),
        (lambda: Landmarks().terms(torch.zeros(1, 3, 8, 8), None), "labels are a NoneType, and landmarks take numbers"),
        (lambda: Landmarks().errors(torch.zeros(1, 3, 8, 8), "a"), "labels are a str, and landmarks take numbers"),
        (lambda: Landmarks().prepared(torch.zeros(1, 1, 8, 8), None), "labels are a NoneType, and landmarks take"),
        (lambda: Landmarks().aim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 2), 0), "has no attack goal 0"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(BadInputError, match=message):
        make()


def test_captions_count_what_is_visible():
    outputs, targets = case()
    task = Landmarks(radius=RADIUS)
    outcomes = outcomes_of(task).values(outputs, targets)
    captions = [outcomes_of(task).caption(outcomes, index, ["a", "b", "c"]) for index in range(4)]
    assert [caption["label"] for caption in captions] == ["3 landmarks", "3 landmarks", "2 landmarks", "0 landmarks"]
    assert captions[0]["prediction"] == f"MRE {outcomes['score'][0].item():.2f} mm"
    assert captions[3]["prediction"] == "no MRE"


def test_examples_are_spread_over_the_data_set_and_show_many_landmarks():
    some, most, none = [[1.0, 2.0], [NAN, NAN]], [[1.0, 2.0], [3.0, 4.0]], [[NAN, NAN], [NAN, NAN]]
    items = [{"points": points} for points in (some, most, none, most, none, none, some, some)]
    assert outcomes_of(Landmarks()).examples(items, ["a", "b"]) == [1, 3, 6]
    assert outcomes_of(Landmarks()).examples(items[:2], ["a", "b"]) == [0, 1]
    assert outcomes_of(Landmarks()).class_counts(items, ["a", "b"]) == {"a": 5, "b": 2}


def test_pictures_show_where_landmarks_are_and_where_they_are_found():
    points = torch.tensor([[[4.0, 5.0], [NAN, NAN]]])
    outputs = perfect(torch.tensor([[[10.0, 9.0], [2.0, 2.0]]]), SHAPES["2-D"])
    found, truth = outcomes_of(Landmarks(radius=RADIUS)).picture_masks(outputs, points)
    assert found.dtype == truth.dtype == torch.uint8
    assert found.shape == truth.shape == (1, 16, 13)
    assert (found[0, 10, 9], found[0, 2, 2], truth[0, 4, 5]) == (1, 1, 1)
    assert (found.sum(), truth.sum()) == (10, 5)
    assert outcomes_of(Landmarks(radius=RADIUS)).picture_masks(*case("3-D")) is None


def test_landmarks_in_arrays_of_numpy_are_those_in_tensors() -> None:
    outputs, points = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((2, 2, 2), 3.0)
    expected, found = (Landmarks().terms(outputs, one) for one in (points, points.numpy()))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
