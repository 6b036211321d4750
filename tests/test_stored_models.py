"""Networks that come from a file or a function are measured and attacked as the networks that they were made from."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, TinyNet, environment
from torch import Tensor, nn

from monai_robust.attacks import APGD, FMN, PGD, AttackEnsemble, Square, WindowAttack, attack_curve, minimal_radius
from monai_robust.attacks.common.guard import untouched
from monai_robust.attacks.table import follows_gradients
from monai_robust.errors import BadInputError, BadSamplesError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, NearestSweep, read_outcomes
from monai_robust.evaluation.tables.provenance import weights_digest
from monai_robust.evaluation.tables.sanity_file import read_sanity
from monai_robust.networks.gradients import missing_gradient
from monai_robust.networks.stored import FunctionModel, OnnxModel, ScriptedModel, StoredModel, stored_model
from monai_robust.tasks import Segmentation

CLASSES, SIZE = ["covid", "normal", "pneumonia"], 8


def classifier(seed: int = 1) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = TinyNet().eval()
    with torch.no_grad():
        made.head.weight.mul_(60)
        made.head.bias.sub_(made(torch.full((1, 1, SIZE, SIZE), 0.5))[0])
    return made


def films(count: int = 9) -> list[dict[str, Any]]:
    """Images, but for the first labelled as the network sees them."""
    draw = torch.Generator().manual_seed(5)
    images = 0.1 + 0.8 * torch.rand(count, 1, SIZE, SIZE, generator=draw)
    with torch.no_grad():
        labels = classifier()(images).argmax(dim=1)
    labels[0] = (labels[0] + 1) % 3
    return [
        {"image": image, "label": int(label), "sample_id": f"film{index}", "patient_id": f"patient{index}"}
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def images(count: int = 5) -> Tensor:
    return torch.stack([film["image"] for film in films(count)])


def write_onnx(network: nn.Module, path: Path, *, batch: int | None = None, size: Any = SIZE, **options: Any) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    free = {} if batch else {"dynamic_axes": {"image": {0: "batch"}}}
    example = torch.rand(batch or 2, 1, *([size] * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (example,), path, dynamo=False, input_names=["image"], **{**free, **options})
    return path


def onnx(network: nn.Module, folder: Path) -> StoredModel:
    return stored_model(write_onnx(network, folder / "model.onnx"))


def onnx_of_three(network: nn.Module, folder: Path) -> StoredModel:
    return stored_model(write_onnx(network, folder / "three.onnx", batch=3))


def scripted(network: nn.Module, folder: Path) -> StoredModel:
    torch.jit.save(torch.jit.script(network), folder / "model.ts")
    return stored_model(folder / "model.ts")


def traced(network: nn.Module, folder: Path) -> StoredModel:
    torch.jit.save(torch.jit.trace(network, torch.rand(2, 1, SIZE, SIZE)), folder / "model.pt")
    return stored_model(str(folder / "model.pt"))


def frozen(network: nn.Module, folder: Path) -> StoredModel:
    torch.jit.save(torch.jit.freeze(torch.jit.script(network)), folder / "frozen.pth")
    return stored_model(folder / "frozen.pth")


def of_arrays(network: nn.Module, folder: Path) -> StoredModel:
    def predict(given: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(given)).numpy()

    return FunctionModel(predict)


def of_tensors(network: nn.Module, folder: Path) -> StoredModel:
    return FunctionModel(lambda given: network(given))


BLIND: dict[str, Callable[[nn.Module, Path], StoredModel]] = {
    "onnx": onnx,
    "onnx of three": onnx_of_three,
    "arrays": of_arrays,
}
SEEING: dict[str, Callable[[nn.Module, Path], StoredModel]] = {
    "scripted": scripted,
    "traced": traced,
    "frozen": frozen,
    "tensors": of_tensors,
}


def measured(network: nn.Module, folder: Path, *attacks: Any, **changes: Any) -> pd.DataFrame:
    arguments: dict[str, Any] = {
        "task": None,
        "perturbations": [CleanSweep(), *attacks, CorruptionSweep("gaussian", [0.1])],
        "output_dir": folder,
        "name": "erm",
        "classes": CLASSES,
        "batch_size": 4,
        "sanity_samples": 0,
        "progress": False,
    }
    from monai_robust.tasks import Classification

    arguments["task"] = Classification()
    Measurement(network, films(), **(arguments | changes)).run()
    return read_outcomes(folder / "outcomes.csv")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What is measured of the network itself, attacked without gradients."""
    return measured(classifier(), tmp_path_factory.mktemp("itself"), *guessing())


def guessing() -> list[Any]:
    square = Square(norm="linf", queries=20, bounds=(0.0, 1.0))
    return [AttackSweep(square, [0.02, 0.1]), NearestSweep(square, 0.3, tolerance=0.1, method="bisection")]


def assert_same_table(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert (found["prediction"].to_numpy() == wanted["prediction"].to_numpy()).all()
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.groupby("perturbation")["score"].mean().nunique() > 1  # the attack did something


@pytest.mark.parametrize("kind", [*BLIND, *SEEING])
def test_what_is_measured_without_gradients_is_that_of_the_network_itself(kind, tmp_path, wanted):
    model = {**BLIND, **SEEING}[kind](classifier(), tmp_path)
    assert_same_table(measured(model, tmp_path / "measured", *guessing()), wanted)


@pytest.mark.parametrize("kind", list(SEEING))
def test_a_model_with_a_gradient_is_attacked_by_it_as_the_network_itself(kind, tmp_path):
    model, labels = SEEING[kind](classifier(), tmp_path), torch.tensor([0, 1, 2, 0, 1])
    assert model.differentiable is None
    assert model.probe(images())
    assert model.differentiable is True
    for attack in (PGD(eps=0.3, steps=3), APGD(eps=0.3, steps=3)):
        torch.testing.assert_close(attack(model, images(), labels), attack(classifier(), images(), labels))
    sweep = AttackSweep(PGD(steps=3), [0.1, 0.5])
    assert_same_table(measured(model, tmp_path / "model", sweep), measured(classifier(), tmp_path / "itself", sweep))


@pytest.mark.parametrize("kind", ["scripted", "frozen"])
def test_a_script_is_left_as_it_was_found(kind, tmp_path):
    model = SEEING[kind](classifier().train() if kind == "scripted" else classifier(), tmp_path)
    with torch.no_grad():
        before = {name: value.clone() for name, value in model.state_dict().items()}
        flags = [one.requires_grad for one in model.parameters()]
    modes = [getattr(one, "training", None) for one in model.modules()]
    with untouched(model) as guarded:
        assert torch.equal(guarded(images()), model(images()))
    Square(eps=0.1, queries=3, mode="train")(model, images(), torch.tensor([0, 1, 2, 0, 1]))
    assert [getattr(one, "training", None) for one in model.modules()] == modes
    assert [one.requires_grad for one in model.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", list(BLIND))
def test_an_attack_by_gradient_is_refused_before_anything_is_written(kind, tmp_path):
    model = BLIND[kind](classifier(), tmp_path)
    attacks = [AttackSweep(Square(queries=2), [0.1]), AttackSweep(PGD(), [0.1]), NearestSweep(FMN())]
    with pytest.raises(BadInputError, match=r"no gradient.*pgd_l2, nearest_l2 follow it.*Square") as told:
        measured(model, tmp_path / "measured", *attacks)
    assert "\n" not in str(told.value)
    assert "square_l2" not in str(told.value)
    assert not (tmp_path / "measured").exists()
    assert model.differentiable is False
    assert not model.probe(images())


def test_attacks_called_by_themselves_say_what_would_do():
    model, labels = of_arrays(classifier(), Path()), torch.tensor([0, 1, 2, 0, 1])
    for attack in (PGD(eps=0.1, steps=1), APGD(eps=0.1, steps=1), FMN(eps=0.1, steps=1)):
        with pytest.raises(BadSamplesError, match="Square"):
            attack(model, images(), labels)


def test_searches_of_radii_take_square_and_find_what_they_find_of_the_network():
    labels, square = torch.tensor([0, 1, 2, 0, 1]), Square(norm="linf", queries=15, bounds=(0.0, 1.0))
    model = of_arrays(classifier(), Path())

    def starts() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(index) for index in range(5)]

    curves = [
        attack_curve(network, images(), labels, [0.02, 0.1, 0.3], attack=square, generator=starts())
        for network in (model, classifier())
    ]
    assert torch.equal(curves[0].broken, curves[1].broken)
    assert curves[0].broken.any()
    nearest = [
        minimal_radius(network, images(), labels, high=0.3, attack=square, generator=starts())
        for network in (model, classifier())
    ]
    torch.testing.assert_close(nearest[0].radius, nearest[1].radius)
    assert nearest[0].found.any()
    with pytest.raises(BadInputError, match=r"minimum_norm.*Square.*bisection"):
        minimal_radius(model, images(), labels, high=0.3, attack=square, method="minimum_norm")


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (PGD(), True),
        (FMN(), True),
        (Square(), False),
        (AttackEnsemble([Square(queries=2), APGD()]), True),
        (AttackEnsemble([Square(queries=2), Square(queries=3)]), False),
        (WindowAttack(Square(), (4, 4)), False),
        (WindowAttack(PGD(), (4, 4)), True),
        (lambda network, inputs, targets, eps=None, **_: inputs, False),
    ],
)
def test_which_attacks_follow_gradients(attack, expected):
    assert follows_gradients(attack) is expected


def test_checks_that_need_gradients_are_left_out_with_a_reason(tmp_path):
    both = AttackEnsemble([Square(norm="linf", queries=5), Square(norm="linf", queries=5)])
    attacks = [AttackSweep(Square(norm="linf", queries=10), [0.1]), AttackSweep(both, [0.1])]
    measured(of_arrays(classifier(), tmp_path), tmp_path / "measured", *attacks, sanity_samples=4)
    found = read_sanity(tmp_path / "measured")
    assert found is not None
    for name in ("square_linf", "strong_linf"):
        told = {one.check: one for one in found.findings if one.perturbation == name}
        for check in ("gradients_alive", "black_box_does_not_win", "start_does_not_win"):
            assert told[check].status == "not_applicable"
            assert told[check].sentence
        assert told["deterministic_network"].status == "pass"


def test_probabilities_are_attacked_by_square_and_told_of(tmp_path):
    network = classifier()
    model = FunctionModel(lambda given: network(given).softmax(dim=1).detach())
    with pytest.warns(UserWarning, match="probabilities"):
        found = measured(model, tmp_path / "measured", *guessing()[:1])
    scores = found.groupby(["perturbation", "severity"])["score"].mean()
    assert scores["square_linf", 0.1] < scores["clean", 0.0]


def test_a_network_whose_backward_pass_fails_has_no_gradient():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, given: Tensor) -> Tensor:
            return given.flatten(1)

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:
            raise RuntimeError("this operation has\nno derivative")

    assert missing_gradient(Broken.apply, images()) == "its backward pass fails: this operation has no derivative"
    assert missing_gradient(lambda given: given.detach().flatten(1), images()) is not None
    assert missing_gradient(lambda given: {"logits": [given.flatten(1)]}, images()) is None


def test_a_probe_passes_over_samples_that_fail_and_leaves_chance_as_it_was(tmp_path):
    class Noisy(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            logits = given.detach().mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 2.0, 3.0]) + torch.rand(
                len(given), 3
            )
            if float(given[0, 0, 0, 0].detach()) == float(images()[0, 0, 0, 0]):
                raise RuntimeError("not this one")
            return logits

    with pytest.raises(BadInputError, match="no gradient"):
        measured(Noisy(), tmp_path / "refused", AttackSweep(PGD(), [0.1]))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(BadInputError, match="no gradient"):
        measured(Noisy(), tmp_path / "again", AttackSweep(PGD(), [0.1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_models_of_other_files_are_told_apart_where_pytorch_sees_no_weights(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = frozen(classifier(1), tmp_path / "one"), frozen(classifier(2), tmp_path / "other")
    assert not list(one.parameters())
    assert weights_digest(one) == weights_digest(stored_model(tmp_path / "one" / "frozen.pth"))
    assert weights_digest(one) != weights_digest(other)
    measured(one, tmp_path / "measured")
    with pytest.raises(BadInputError, match="another measurement"):
        measured(other, tmp_path / "measured")


# ONNX.


@pytest.mark.full
def test_the_example_writes_a_report(tmp_path, warm_python):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    few = ("--patients", 12, "--epochs", 1, "--queries", 2)
    done = warm_python.run(
        REPOSITORY / "examples" / "onnx_without_gradients.py", "--output_dir", tmp_path, *few, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path / 'report.html'}" in done.stdout
    found = read_outcomes(tmp_path / "measured" / "outcomes.csv")
    assert set(found["perturbation"]) == {"clean", "square_linf", "gaussian", "contrast_low"}


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = classifier()

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(given)
        return logits, logits.argmax(dim=1)


@pytest.mark.parametrize("count", [1, 3, 5, 0])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_an_onnx_graph_answers_any_number_of_images(tmp_path, batch, count):
    model = stored_model(write_onnx(Heads(), tmp_path / "heads.onnx", batch=batch))
    given = torch.rand(count, 1, SIZE, SIZE)
    logits, classes = model(given)
    with torch.no_grad():
        torch.testing.assert_close(logits, Heads()(given)[0], rtol=1e-5, atol=1e-5)
    assert classes.dtype == torch.int64
    assert torch.equal(classes, logits.argmax(dim=1))


def test_outputs_of_an_onnx_graph_are_chosen_by_name(tmp_path):
    path = write_onnx(Heads(), tmp_path / "heads.onnx", output_names=["logits", "class"])
    assert stored_model(path, outputs=["class"])(images()).shape == (5,)
    swapped = stored_model(path, outputs=["class", "logits"])(images())
    assert [part.ndim for part in swapped] == [1, 2]
    with pytest.raises(BadInputError, match=r"'logits' \(tensor\(float\)\).*'scores' is no output"):
        stored_model(path, outputs=["scores"])


def test_a_volume_is_segmented_by_an_onnx_graph_of_free_sizes(tmp_path):
    torch.manual_seed(1)
    network = TinyNet(classes=2, dense=True).eval()
    axes = {"image": {0: "batch", 2: "rows", 3: "columns"}}
    model = stored_model(write_onnx(network, tmp_path / "dense.onnx", dynamic_axes=axes))
    given, labels = torch.rand(2, 1, 6, 9), torch.randint(0, 2, (2, 1, 6, 9))
    torch.testing.assert_close(model(given), network(given).detach(), rtol=1e-5, atol=1e-5)
    attack = Square(eps=0.5, queries=5, task=Segmentation())
    start = torch.Generator().manual_seed(1)
    made = attack(model, given, labels, generator=start)
    torch.testing.assert_close(made, attack(network, given, labels, generator=start.manual_seed(1)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_are_given_in_the_precision_that_the_graph_takes(tmp_path, dtype):
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 3)).to(dtype)
    path = tmp_path / "precise.onnx"
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch.onnx.export(
        network, (images(2).to(dtype),), path, dynamo=False, dynamic_axes={"image": {0: "b"}}, input_names=["image"]
    )
    answer = stored_model(path)(images())
    assert answer.dtype == dtype
    torch.testing.assert_close(answer, network(images().to(dtype)).detach())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (torch.rand(2, 3, SIZE, SIZE), r"shape \(any, 1, 8, 8\).*\(2, 3, 8, 8\)"),
        (torch.rand(2, 1, SIZE, SIZE + 1), r"\(2, 1, 8, 9\)"),
        (torch.rand(2, 1, SIZE), r"\(2, 1, 8\)"),
        (torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8), "floating.*torch.uint8"),
    ],
)
def test_images_that_a_graph_does_not_take_are_told_in_a_sentence(tmp_path, given, told):
    with pytest.raises(BadInputError, match=told):
        onnx(classifier(), tmp_path)(given)


def test_a_batch_that_is_baked_into_a_graph_is_found_by_its_answers(tmp_path):
    class Baked(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given.reshape(2, -1)[:, :3]

    model = stored_model(write_onnx(Baked(), tmp_path / "baked.onnx"))
    assert model(images(2)).shape == (2, 3)
    with pytest.raises(BadInputError, match=r"answers 4 images.*shape \(2, 3\)"):
        model(images(4))


def graph(folder: Path, kinds: dict[str, int]) -> Path:
    """A graph that hands on each of its inputs."""
    helper = pytest.importorskip("onnx").helper
    import onnx

    pytest.importorskip("onnxruntime")
    ends = {
        place: [helper.make_tensor_value_info(f"{place}{name}", kind, ["b", 4]) for name, kind in kinds.items()]
        for place in ("in", "out")
    }
    nodes = [helper.make_node("Identity", [f"in{name}"], [f"out{name}"]) for name in kinds]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends["in"], ends["out"]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(made, folder / "graph.onnx")
    return folder / "graph.onnx"


def test_graphs_that_cannot_be_given_images_alone_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"inputs 'ina', 'inb'.*package.module:function"):
        stored_model(graph(tmp_path, {"a": 1, "b": 1}))
    with pytest.raises(BadInputError, match=r"takes tensor\(uint8\)"):
        stored_model(graph(tmp_path, {"a": 2}))


def test_a_file_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("onnxruntime")
    for name, told in [("no.onnx", "as an ONNX model"), ("no.ts", "TorchScript"), ("no.h5", "no known kind")]:
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(BadInputError, match=f"{name}.*{told}|{told}.*{name}"):
            stored_model(tmp_path / name)
    with pytest.raises(BadInputError, match="there is no model"):
        stored_model(tmp_path / "missing.onnx")
    torch.save(classifier().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(BadInputError, match=r"weights.pt cannot be read as TorchScript.*weights alone"):
        stored_model(tmp_path / "weights.pt")
    with pytest.raises(BadInputError, match="outputs are chosen of an ONNX model"):
        stored_model(tmp_path / "no.ts", outputs=["a"])
    with pytest.raises(BadInputError, match="arrays are for a function"):
        stored_model(tmp_path / "no.ts", arrays=True)


def test_without_onnxruntime_the_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"pip install 'monai-robust\[onnx\]'"):
        stored_model(tmp_path / "model.onnx")


# Functions.

MODULE = """
import numpy as np
import torch

def arrays(images: np.ndarray):
    assert isinstance(images, np.ndarray)
    return images.reshape(len(images), -1)[:, ::-1][:, :3]

def tensors(images):
    assert isinstance(images, torch.Tensor)
    return {"logits": images.flatten(1)[:, :3]}

class Server:
    def ask(self, images):
        return images.flatten(1)[:, :3].detach().numpy().astype("float64")

server = Server()
NUMBER = 3
"""


def test_a_function_is_found_in_the_working_directory_and_given_what_it_takes(tmp_path, monkeypatch):
    (tmp_path / "answering_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    flat = images().flatten(1)
    assert torch.equal(stored_model("answering_module:arrays")(images()), flat.flip(1)[:, :3])
    assert torch.equal(stored_model("answering_module:tensors")(images())["logits"], flat[:, :3])
    assert torch.equal(stored_model("answering_module:server.ask")(images()), flat[:, :3].double())
    assert stored_model("answering_module:tensors").probe(images())
    assert not stored_model("answering_module:arrays").probe(images())
    assert not stored_model("answering_module:server.ask").probe(images())
    with pytest.raises(AssertionError):
        stored_model("answering_module:tensors", arrays=True)(images())
    for name, told in [
        ("answering_module:missing", "has no 'missing'"),
        ("answering_module:Server", "is a class"),
        ("answering_module:NUMBER", "is int"),
        ("no_such_module:predict", "cannot be imported"),
        (":predict", "cannot be imported"),
    ]:
        with pytest.raises(BadInputError, match=told):
            stored_model(name)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda given: "yes", "by str"),
        (lambda given: given.mean(), r"shape \(\)"),
        (lambda given: given[:1].flatten(1), r"5 images by values of shape \(1, 64\)"),
    ],
)
def test_an_answer_that_is_not_one_for_each_image_is_told_in_a_sentence(answer, told):
    with pytest.raises(BadInputError, match=told):
        FunctionModel(answer)(images())


def test_detections_are_one_dictionary_for_each_image():
    found = FunctionModel(lambda given: [{"boxes": np.zeros((index, 4))} for index in range(len(given))])(images())
    assert [tuple(one["boxes"].shape) for one in found] == [(index, 4) for index in range(5)]


def test_a_module_of_another_package_keeps_its_weights():
    network = classifier()
    model = FunctionModel(network, name="package.module:network")
    assert len(list(model.parameters())) == len(list(network.parameters()))
    assert model.probe(images())
    assert "package.module:network" in repr(model)
    assert isinstance(model, StoredModel)
    assert not isinstance(model, (OnnxModel, ScriptedModel))
