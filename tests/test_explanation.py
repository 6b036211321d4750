"""What a network looks at: agreement of maps, layers found by hooks, and from a measurement to the report."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet, resnet10
from monai.visualize import VanillaGrad
from scipy.stats import spearmanr
from test_areas import Threshold, disc, films

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Explanation, Measurement, read_run
from monai_robust.evaluation.explanation.explain import check_explanation, explained_places
from monai_robust.evaluation.explanation.layers import features_of, find_layers
from monai_robust.evaluation.explanation.saliency import ClassLogits, saliency_maps
from monai_robust.evaluation.report.explanation import explanation_frames, explanation_sections
from monai_robust.evaluation.sections.figures_explanation import NEIGHBOURS
from monai_robust.evaluation.tables.explanation_file import EXPLANATION, read_explanation
from monai_robust.metrics import RankCorrelation, TopOverlap, rank_correlation, top_overlap
from monai_robust.tasks import Classification, Landmarks, MultiLabel, Segmentation

SWEEPS = [CleanSweep(), AttackSweep(PGD(steps=2, bounds=(0, 1)), [0.5, 1.0, 2.0])]


def test_rank_correlation_is_that_of_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3, 8, 9, generator=generator).mul(10).round()  # with ties
    second = first + torch.rand(3, 8, 9, generator=generator).mul(8)
    expected = [spearmanr(one.flatten(), other.flatten()).statistic for one, other in zip(first, second, strict=True)]
    assert rank_correlation(first, second).tolist() == pytest.approx(expected)
    metric = RankCorrelation()
    metric(first, second)
    assert metric.aggregate().item() == pytest.approx(np.mean(expected))
    assert rank_correlation(torch.ones(1, 4), torch.rand(1, 4)).isnan().all()


def test_the_overlap_of_the_top_is_that_of_sets() -> None:
    first, second = torch.arange(20.0)[None], torch.arange(20.0).roll(1)[None]
    assert top_overlap(first, second).item() == 0.5  # of 19 and 18 the second has 19 at another place: 18 and 19
    assert top_overlap(first, first).item() == 1
    assert top_overlap(first, -first, share=0.3).item() == 0
    metric = TopOverlap(0.5)
    metric(first, -first)
    assert metric.aggregate().item() == 0
    with pytest.raises(BadInputError, match="share is 0"):
        top_overlap(first, first, share=0)
    with pytest.raises(BadInputError, match="one shape"):
        top_overlap(first, first[:, :5])


def small(**more: Any) -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(2, 1, 3, init_features=4, growth_rate=4, block_config=(1, 1), **more).eval()


@pytest.mark.parametrize(
    ("network", "features", "width"),
    [
        (small(), "class_layers.out", 7),
        (resnet10(spatial_dims=2, n_input_channels=1, num_classes=3).eval(), "fc", 512),
    ],
    ids=["DenseNet", "ResNet"],
)
def test_the_last_linear_layer_is_found_and_what_it_is_given(network: Any, features: str, width: int) -> None:
    images = torch.rand(2, 1, 32, 32)
    layers = find_layers(network, images)
    assert layers.features == features
    found = features_of(network, images, features)
    module = network.get_submodule(features)
    with torch.no_grad():
        assert torch.allclose(module(found), network(images), atol=1e-6)
    assert found.shape[0] == 2
    assert width in (found.shape[1], 7)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_layer_may_be_named_and_one_that_is_none_is_refused() -> None:
    network, images = small(), torch.rand(2, 1, 32, 32)
    named = features_of(network, images, "features.transition1")
    assert named.shape[0] == 2
    assert named.ndim == 2
    with pytest.raises(BadInputError, match=r"no layer 'fc'; its last ones are .*class_layers"):
        features_of(network, images, "fc")


def test_saliency_is_the_gradient_of_the_predicted_class_and_leaves_the_network_alone() -> None:
    network = small(act=("relu", {"inplace": True}))
    before = copy.deepcopy(network.state_dict())
    inside = ClassLogits(network, Classification())
    image = torch.rand(1, 1, 32, 32)
    predicted, maps = saliency_maps(inside, image, find_layers(inside, image).spatial)
    own = image.clone().requires_grad_(True)
    logits = network(own)
    (gradient,) = torch.autograd.grad(logits[0, logits.argmax()], own)
    assert predicted == int(logits.argmax())
    assert torch.allclose(maps["gradient"], gradient[0, 0].abs(), atol=1e-6)
    assert torch.allclose(maps["gradient"], VanillaGrad(copy.deepcopy(network))(image.clone())[0, 0].abs(), atol=1e-6)
    assert {name: one.shape for name, one in maps.items()} == dict.fromkeys(
        ("gradient", "smoothgrad", "gradcam"), (32, 32)
    )
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_one_logit_stands_for_two_classes() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    inside = ClassLogits(network, Classification())
    image = torch.rand(1, 1, 4, 4)
    predicted, maps = saliency_maps(inside, image, None)
    assert predicted == int(network(image) > 0)
    assert list(maps) == ["gradient", "smoothgrad"]


def test_samples_are_spread_over_classes() -> None:
    items = [{"label": index // 20} for index in range(60)]
    chosen = explained_places(items, 7, "label")
    assert len(chosen) == 7
    assert [sum(place // 20 == label for place in chosen) for label in range(3)] == [3, 2, 2]
    held = [{"foreground": (1,) if index % 2 else ()} for index in range(10)]
    assert explained_places(held, 3, "foreground") == [1, 5, 9]


def film(index: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(index)
    image = 0.2 * torch.rand(1, 16, 16, generator=generator)
    image[:, 2 + 5 * (index % 3) : 6 + 5 * (index % 3)] += 0.6
    names = {"sample_id": f"secret{index}", "patient_id": f"secret{index}"}
    return {"image": image, "label": index % 3, **names}


class Rows(torch.nn.Module):
    """A convolution, and a linear layer that sees where rows are bright."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.relu = torch.nn.ReLU(inplace=True)
        self.linear = torch.nn.Linear(512, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(self.relu(self.convolution(inputs)).flatten(1))


def measured(folder: Path, **more: Any) -> Path:
    settings: dict[str, Any] = {"task": Classification(), "perturbations": SWEEPS, "classes": ["a", "b", "c"]}
    settings |= {"name": "erm", "sanity_samples": 0, "progress": False, "output_dir": folder, "batch_size": 4}
    network, dataset = more.pop("network", Rows()), more.pop("dataset", [film(index) for index in range(12)])
    return Measurement(network, dataset, **(settings | more)).run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = [film(100 + index) for index in range(30)]
    asked = Explanation(samples=4, embedded=9, training=training)
    return measured(tmp_path_factory.mktemp("explained") / "run", explanation=asked)


def test_a_measurement_keeps_what_was_looked_at(folder: Path) -> None:
    found = read_explanation(folder)
    assert found is not None
    assert (found.attack, found.radius) == ("pgd_l2", 1.0)
    assert found.images.shape == (4, 2, 16, 16)
    assert set(found.maps) == {"gradient", "smoothgrad", "gradcam"}
    places = explained_places([film(index) for index in range(12)], 4, "label")
    network = Rows().eval()
    for row, place in enumerate(places):
        one = film(place)
        assert np.allclose(found.images[row, 0], one["image"][0].T, atol=1e-3)  # upright
        assert found.labels[row] == one["label"]
        assert found.predictions[row, 0] == int(network(one["image"][None]).argmax())
    first = torch.from_numpy(found.maps["gradient"])
    again = rank_correlation(first[:, 0], first[:, 1])
    assert found.correlation["gradient"].tolist() == pytest.approx(again.tolist(), abs=0.02)  # maps in half precision
    # every sample is attacked, also one that is wrong already, which a search over radii would leave as it is
    assert (found.images[:, 0] != found.images[:, 1]).any(axis=(1, 2)).all()
    assert found.embedding is not None
    assert np.bincount(found.embedding.kinds).tolist() == [9, 9, 9]
    assert b"secret" not in (folder / EXPLANATION).read_bytes()


def test_a_report_shows_it_from_the_folder_alone(folder: Path) -> None:
    run = read_run(folder)
    (section,) = explanation_sections([run])
    found = read_explanation(folder)
    assert found is not None
    (table,) = section.tables
    assert table.frame()["Grad-CAM: rank correlation"][0] == pytest.approx(np.nanmean(found.correlation["gradcam"]))
    flips = int((found.predictions[:, 0] != found.predictions[:, 1]).sum())
    assert table.frame()["Samples"].tolist() == [
        "all (4)",
        f"prediction stays ({4 - flips})",
        f"prediction flips ({flips})",
    ]
    assert len(section.pictures) == 2
    panels = section.pictures[1].figure.axes
    assert [panel.get_title() for panel in panels] == ["training: 9", "test: 9", "test, attacked: 9"]
    assert str(NEIGHBOURS) in section.text
    frames = explanation_frames([run])
    assert len(frames["explanation"]) == 4
    assert len(frames["embedding"]) == 27


def test_of_several_findings_the_most_probable_is_explained(tmp_path: Path) -> None:
    states = ([1, 1, 0], [0, 0, 0], [0, -1, 1])
    dataset = [{**film(index), "label": np.array(states[index % 3], dtype=np.float32)} for index in range(12)]
    asked = Explanation(samples=4, embedded=9)
    folder = measured(tmp_path, dataset=dataset, task=MultiLabel(), explanation=asked)
    found = read_explanation(folder)
    assert found is not None
    network = Rows().eval()
    for row, place in enumerate(explained_places(dataset, 4, "label")):
        logits = network(dataset[place]["image"][None])[0].detach().numpy()
        present = dataset[place]["label"] == 1
        assert found.predictions[row, 0] == logits.argmax()
        assert found.labels[row] == (np.where(present, logits, -np.inf).argmax() if present.any() else -1)
    assert (found.labels == -1).any()
    (section,) = explanation_sections([read_run(folder)])
    assert "the one with the highest probability" in section.text
    texts = [text.get_text() for axes in section.pictures[0].figure.axes for text in axes.texts]
    assert texts
    assert not any("wrong" in text for text in texts)
    legend = [text.get_text() for text in section.pictures[1].figure.legends[0].get_texts()]
    assert legend == ["a", "b", "c", "none of them"]


def test_masks_of_a_segmentation_move(tmp_path: Path) -> None:
    items = [{**one, "foreground": (1,) if bool(one["label"].any()) else ()} for one in films(None)]
    dim = [{**one, "image": 0.42 + 0.12 * one["image"]} for one in items]
    folder = measured(
        tmp_path,
        network=Threshold(),
        dataset=dim,
        task=Segmentation(),
        classes=["disc"],
        explanation=Explanation(samples=3),
    )
    found = read_explanation(folder)
    assert found is not None
    assert found.masks is not None
    assert found.moved is not None
    assert found.masks.shape == (2, 3, 24, 24)  # two of four hold foreground
    assert np.array_equal(found.masks[0, 0], disc(5.0, 2.0)[0].T)
    _, clean, attacked = found.masks[0]
    assert found.moved[0] == pytest.approx(2 * (clean * attacked).sum() / (clean.sum() + attacked.sum()))
    assert found.moved[0] < 1
    (section,) = explanation_sections([read_run(folder)])
    assert section.tables[0].frame()["Dice"].tolist() == pytest.approx([np.nanmean(found.moved)])
    assert pd.DataFrame(explanation_frames([read_run(folder)])["explanation"])["dice_of_predictions"].notna().all()


def test_what_cannot_be_explained_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not for the task 'landmarks'; leave it out"):
        check_explanation(Landmarks(), Rows(), SWEEPS)
    with pytest.raises(BadInputError, match="there is no attack"):
        measured(tmp_path, perturbations=[CleanSweep()], explanation=Explanation(2))
    with pytest.raises(BadInputError, match="no layers to look into"):
        check_explanation(Classification(), lambda inputs: inputs, SWEEPS)
    assert not (tmp_path / "outcomes.csv").exists()
    with pytest.raises(BadInputError, match="samples is 0"):
        Explanation(samples=0)


def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(folder / EXPLANATION))
    for name, value in (
        ("images", np.zeros((4, 2, 8))),
        ("kinds", np.full(27, 7)),
        ("correlation_gradient", np.full(4, np.inf)),
        ("about", np.array("[]")),
    ):
        np.savez(tmp_path / EXPLANATION, **{**arrays, name: value})
        with pytest.raises(BadInputError, match="is no explanation"):
            read_explanation(tmp_path)
    (tmp_path / EXPLANATION).write_bytes((folder / EXPLANATION).read_bytes()[:-400])
    with pytest.raises(BadInputError, match="delete it"):
        read_explanation(tmp_path)
