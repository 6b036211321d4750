"""A bundle that knows nothing of us is measured by one command; what cannot be measured ends in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import environment
from mini_bundle import write_mini_bundle
from monai.bundle import ConfigParser

from monai_robust.commands.foreign import measure_foreign
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import read_run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The small classifier, with weights of its own in ``weights.pt``."""
    folder = write_mini_bundle(tmp_path / "bundle")
    parser = ConfigParser()
    parser.read_config([str(folder / "configs" / "train.json")])
    torch.manual_seed(3)
    torch.save(parser.get_parsed_content("network").state_dict(), folder / "weights.pt")
    return folder


def measured(bundle: Path, **words: str) -> Path:
    given = {"radii": "0.2,0.4", "attack_steps": "2", "sanity_samples": "0", **words}
    return measure_foreign(bundle, bundle / "weights.pt", bundle / "results", given)


def test_it_is_measured_by_its_own_evaluator(bundle: Path) -> None:
    run = read_run(measured(bundle, corruptions="gaussian", name="mine"))
    assert run.info["task"] == "classification"
    assert run.info["name"] == "mine"
    assert [(one.name, list(one.severities)) for one in run.perturbations] == [
        ("clean", [0.0]),
        ("pgd_l2", [0.2, 0.4]),
        ("gaussian", [0.005, 0.01, 0.02, 0.05, 0.1]),
    ]
    assert len(run.outcomes) == 12 * 8
    assert run.info["weights_sha256"]
    assert run.info["checkpoint"]


def test_radii_may_be_in_units_of_the_file_where_the_pipeline_tells_them(bundle: Path) -> None:
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    scaled = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 100, "b_min": 0.0, "b_max": 1.0}
    config["train"]["dataset"]["transform"] = {**scaled, "clip": True}
    train.write_text(json.dumps(config))
    run = read_run(measured(bundle, radii="2grey,5%"))
    (attack,) = [one for one in run.perturbations if one.name == "pgd_l2"]
    assert list(attack.severities) == pytest.approx([0.02, 0.05])
    settings = run.info["settings"]
    assert settings["radii_given"] == ["2grey", "5%"]
    assert settings["intensities"].startswith("1 of the input is 100 of the file (ScaleIntensityRange)")
    described = next(one for one in run.info["perturbations"] if one["name"] == "pgd_l2")
    assert described["settings"]["bounds"] == [0.0, 1.0]


PER_IMAGE = {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 1, "upper": 99, "b_min": 0.0}
NOISE = "torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(i)) * 40 * (i + 1)"


def scaled_by_itself(bundle: Path, **transform: object) -> Path:
    """The bundle with images of other ranges, each scaled by itself."""
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    config["items"] = f"$[{{'image': {NOISE}, 'label': i % 3}} for i in range(12)]"
    config["train"]["dataset"]["transform"] = {**PER_IMAGE, "b_max": 1.0, "clip": True, **transform}
    train.write_text(json.dumps(config))
    return bundle


def test_where_every_image_is_scaled_by_itself_each_has_a_radius_of_its_own(bundle: Path) -> None:
    run = read_run(measured(scaled_by_itself(bundle), radii="0.5,20grey,40grey", sanity_samples="4"))
    assert [(one.name, list(one.severities)) for one in run.perturbations] == [
        ("clean", [0.0]),
        ("pgd_l2", [0.5]),
        ("pgd_l2_grey", [20.0, 40.0]),
    ]
    assert run.perturbations[2].settings["unit"] == "grey levels"
    images = [
        torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(i)).double() * 40 * (i + 1) for i in range(12)
    ]
    units = [1 / float(np.subtract(*np.percentile(image, [99, 1]))) for image in images]
    for severity in (20.0, 40.0):
        rows = run.outcomes[(run.outcomes["perturbation"] == "pgd_l2_grey") & (run.outcomes["severity"] == severity)]
        assert rows["radius"].tolist() == pytest.approx([severity * unit for unit in units], rel=1e-5)
        assert (rows["distance"] <= rows["radius"] * (1 + 1e-5)).all()
        assert (rows["distance"] > 0.5 * rows["radius"]).any()  # clipped to each image's window
    rows = run.outcomes[run.outcomes["perturbation"] == "pgd_l2"]
    assert rows["radius"].tolist() == [0.5] * 12
    assert run.clean["radius"].isna().all()
    assert run.sanity is not None
    assert any("grey levels" in one.sentence for one in run.sanity.findings if one.perturbation == "pgd_l2_grey")


def test_a_measurement_in_units_of_each_image_is_continued(bundle: Path) -> None:
    first = (measured(scaled_by_itself(bundle), radii="20grey") / "outcomes.csv").read_bytes()
    (bundle / "results" / "outcomes.csv").unlink()
    assert (measured(bundle, radii="20grey") / "outcomes.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("transform", "radius", "sentence"),
    [
        ({"_target_": "HistogramNormalized", "keys": "image"}, "20HU", "HistogramNormalized"),
        (
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            "5%",
            "clips to none",
        ),
    ],
)
def test_units_that_an_image_does_not_have_are_refused(bundle: Path, transform, radius, sentence) -> None:
    train = bundle / "configs" / "train.json"
    scaled_by_itself(bundle)
    config = json.loads(train.read_text())
    config["train"]["dataset"]["transform"] = transform
    train.write_text(json.dumps(config))
    with pytest.raises(BadInputError, match=sentence):
        measured(bundle, radii=radius)
    assert not (bundle / "results").exists()


def test_units_are_those_of_the_networks_input_whatever_its_key(bundle: Path) -> None:
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    config["items"] = config["items"].replace("'image'", "'film'")
    scaled = {"_target_": "ScaleIntensityRanged", "keys": "film", "a_min": 0, "a_max": 100, "b_min": 0.0, "b_max": 1.0}
    config["train"]["dataset"]["transform"] = {**scaled, "clip": True}
    prepare = "$lambda batch, device, non_blocking, **_: (batch['film'].to(device), batch['label'].to(device))"
    config["train"]["trainer"]["prepare_batch"] = prepare
    config["validate"]["evaluator"]["prepare_batch"] = prepare
    train.write_text(json.dumps(config))
    run = read_run(measured(bundle, radii="2grey"))
    (attack,) = [one for one in run.perturbations if one.kind == "attack"]
    assert list(attack.severities) == pytest.approx([0.02])


def test_files_that_train_are_named_on_the_line_too(bundle: Path) -> None:
    (bundle / "configs" / "train.json").rename(bundle / "configs" / "learn.json")
    (bundle / "configs" / "other.json").write_text((bundle / "configs" / "learn.json").read_text())
    with pytest.raises(BadInputError, match="--config_file"):
        measured(bundle)
    assert read_run(measured(bundle, config_file="configs/learn.json")).info["task"] == "classification"


def test_postprocessing_that_saves_writes_nothing_and_the_rest_of_it_counts(bundle: Path) -> None:
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    config["validate"]["evaluator"]["postprocessing"] = {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": str(bundle / "saved")},
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda pred: torch.tensor([0.0, 9.0, 0.0])"},
        ],
    }
    accuracy = {"_target_": "ignite.metrics.Accuracy"}
    config["validate"]["evaluator"]["key_val_metric"] = {
        "accuracy": {**accuracy, "output_transform": "$lambda out: (torch.stack([one['pred'] for one in out]), "
                     "torch.tensor([int(one['label']) for one in out]))"},
    }  # fmt: skip
    train.write_text(json.dumps(config))
    run = read_run(measured(bundle, task="key_metric"))
    assert run.info["score"]["name"] == "accuracy"
    assert run.clean["score"].tolist() == [0.0, 1.0, 0.0] * 4  # whatever the network says, class 1 it is
    assert not (bundle / "saved").exists()


def test_without_radii_some_are_proposed_by_the_norm_of_the_images(bundle: Path) -> None:
    (attack,) = [one for one in read_run(measured(bundle, radii="")).perturbations if one.kind == "attack"]
    assert len(attack.severities) == 3
    norms = read_run(bundle / "results").clean["input_norm"][:4]  # a batch
    assert min(attack.severities) / norms.median() == pytest.approx(0.005, rel=0.3)


def test_a_stopped_measurement_is_continued_and_another_is_refused(bundle: Path) -> None:
    first = (measured(bundle) / "outcomes.csv").read_bytes()
    assert (measured(bundle) / "outcomes.csv").read_bytes() == first
    with pytest.raises(BadInputError, match="holds another measurement"):
        measured(bundle, seed="5")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"radii": "fast"}, "a radius is 'fast'"),
        ({"radii": "0"}, "a radius is '0'"),
        ({"radii": "-1"}, "a radius is '-1'"),
        ({"radii": "3mm"}, "there are HU, grey and %"),
        ({"attack_steps": "many"}, "--attack_steps is 'many'"),
        ({"attack": "deepfool"}, "deepfool"),
        ({"corruptions": "rain"}, "rain"),
        ({"task": "dentistry"}, "dentistry"),
        ({"norm": "l7"}, "l7"),
        ({"surfaces": "perhaps"}, "--surfaces is 'perhaps'; it must be true or false"),
        ({"surface_tolerance": "wide"}, "--surface_tolerance is 'wide'; it must be a number"),
        ({"lesions": "true"}, "lesions is given, but it is for segmentation alone, and the task is 'classification'"),
        ({"radius": "3"}, "--radius is no option.*did you mean --radii"),
        ({"epss": "3"}, "--epss is no option.*did you mean --radii"),
        ({"corruption": "gaussian"}, "did you mean --corruptions"),
        ({"attack_step": "3"}, "did you mean --attack_steps"),
        ({"data_dir": "/x"}, "data_dir.*of the measurement itself there are"),
    ],
)
def test_words_that_cannot_work_are_refused(bundle: Path, words: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        measured(bundle, **words)
    assert not (bundle / "results" / "outcomes.csv").exists()


def test_weights_of_another_network_are_refused(bundle: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), bundle / "weights.pt")
    with pytest.raises(BadInputError, match=r"weights\.pt"):
        measured(bundle)
    (bundle / "weights.pt").unlink()
    with pytest.raises(BadInputError, match="there is no checkpoint"):
        measured(bundle)


def stored(bundle: Path, kind: str) -> str:
    """The network of the bundle as a model of its own, in the bundle's folder."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / "train.json")])
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(torch.load(bundle / "weights.pt", weights_only=True))
    example = torch.rand(2, 1, 16, 16)
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        free = {"input_names": ["image"], "dynamic_axes": {"image": {0: "batch"}}}
        torch.onnx.export(network, (example,), bundle / "model.onnx", dynamo=False, **free)
    elif kind == "ts":
        torch.jit.save(torch.jit.freeze(torch.jit.trace(network, example)), bundle / "model.ts")
    else:
        torch.jit.save(torch.jit.trace(network, example), bundle / "traced.pt")
        (bundle / "asked_by_name.py").write_text(
            "import numpy, torch\n"
            f"network = torch.jit.load({str(bundle / 'traced.pt')!r})\n"
            "def predict(images: numpy.ndarray):\n"
            "    return network(torch.from_numpy(images)).detach().numpy()\n"
        )
        return "asked_by_name:predict"
    return str(bundle / f"model.{kind}")


@pytest.mark.parametrize(
    ("kind", "attack", "name"),
    [("onnx", "square_l2", "model"), ("ts", "pgd_l2", "model"), ("function", "square_l2", "")],
)
def test_a_model_takes_the_place_of_the_bundles_network(bundle: Path, kind, attack, name, monkeypatch) -> None:
    model = stored(bundle, kind)
    monkeypatch.syspath_prepend(str(bundle))
    words = {"radii": "0.4", "attack_steps": "2", "queries": "5", "sanity_samples": "0"}
    run = read_run(measure_foreign(bundle, None, bundle / "model_results", words, model=model))
    assert [one.name for one in run.perturbations] == ["clean", attack]
    assert run.info["name"] == (name or model)
    assert (run.info["checkpoint"] is None) == (kind == "function")
    own = read_run(measured(bundle, radii="0.4", attack=attack.split("_")[0], queries="5"))
    assert run.outcomes["prediction"].tolist() == own.outcomes["prediction"].tolist()


def test_a_model_or_weights_are_given_and_gradients_refused_where_there_are_none(bundle: Path) -> None:
    words = {"radii": "0.4", "sanity_samples": "0"}
    for given in ({"checkpoint": None}, {"checkpoint": bundle / "weights.pt", "model": "model.onnx"}):
        with pytest.raises(BadInputError, match=r"--checkpoint.*--model"):
            measure_foreign(bundle, given.pop("checkpoint"), bundle / "results", words, **given)
    with pytest.raises(BadInputError, match="there is no model"):
        measure_foreign(bundle, None, bundle / "results", words, model="missing.onnx")
    model = stored(bundle, "onnx")
    with pytest.raises(BadInputError, match=r"no gradient.*pgd_l2 follows it.*--attack square"):
        measure_foreign(bundle, None, bundle / "results", {**words, "attack": "pgd"}, model=model)
    assert not (bundle / "results").exists()


def test_an_evaluator_without_labels_is_refused(bundle: Path) -> None:
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    unlabelled = "$[{'image': torch.full((1, 16, 16), 0.1 * i)} for i in range(4)]"
    config["validate"]["dataloader"]["dataset"] = {"_target_": "monai.data.Dataset", "data": unlabelled}
    train.write_text(json.dumps(config))
    with pytest.raises(BadInputError, match="label"):
        measured(bundle)


@pytest.mark.full
def test_the_command_writes_a_report(bundle: Path, warm_python) -> None:
    done = warm_python.run(
        "-m", "monai_robust", "evaluate", bundle, "--checkpoint", bundle / "weights.pt", "--radii", "0.2",
        "--attack_steps", "2", "--output_dir", bundle / "results", env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (bundle / "results" / "report.html").is_file()
    wrong = warm_python.run(
        "-m", "monai_robust", "evaluate", bundle, "--checkpoint", bundle / "weights.pt", "--radii", "x",
        "--output_dir", bundle / "other", env=environment(),
    )  # fmt: skip
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in wrong.stderr


def test_corruptions_of_a_modality_are_measured_and_those_of_other_images_refused_at_once(bundle: Path) -> None:
    with pytest.raises(BadInputError, match="corruption hair is of colours"):
        measured(bundle, corruptions="hair")
    assert not (bundle / "results").exists()
    run = read_run(measured(bundle, corruptions="contrast_low,mr_gibbs,us_gain"))
    assert [one.name for one in run.perturbations][-3:] == ["contrast_low", "mr_gibbs", "us_gain"]
    assert len(run.perturbations[-1].severities) == 5


def test_runs_of_two_bundles_have_two_names(tmp_path):
    from monai_robust.evaluation.of_bundle import run_name

    names = [
        run_name(tmp_path / bundle / folder / "model.pt", None, tmp_path / bundle)
        for bundle in ("spleen", "pancreas")
        for folder in ("models_rtda", "models_erm")
    ]
    assert names == ["spleen (models_rtda)", "spleen (models_erm)", "pancreas (models_rtda)", "pancreas (models_erm)"]
    assert run_name(None, "package.module:make", tmp_path) == "package.module:make"


def of_files(bundle: Path, *sites: str) -> list[Path]:
    """The bundle with the images of a folder, and folders of sites, whose files have the same names."""
    train = bundle / "configs" / "train.json"
    config = json.loads(train.read_text())
    config["imports"] += ["$import glob"]
    image = "{'image': torch.full((1, 16, 16), float(open(f).read())), 'label': i % 3, 'file': f}"
    config["items"] = f"$[{image} for i, f in enumerate(sorted(glob.glob(@dataset_dir + '/*.txt')))]"
    train.write_text(json.dumps(config))
    for place, site in enumerate(sites):
        (bundle / site).mkdir()
        for index in range(6):
            (bundle / site / f"{index}.txt").write_text(str(0.1 + 0.1 * index + 0.05 * place))
    return [bundle / site for site in sites]


def test_another_site_is_read_by_the_same_pipeline_and_measured_beside(bundle: Path) -> None:
    own, other = of_files(bundle, "own", "other")
    run = read_run(measured(bundle, dataset_dir=str(own), shift_dir=str(other), shift_name="site_b"))
    there = run.shifts["site_b"].clean
    assert len(there) == len(run.clean) == 6
    assert there["sample_id"].str.startswith("site_b/").all()
    assert (there["input_norm"].to_numpy() > run.clean["input_norm"].to_numpy()).all()  # files of the other folder
    assert next(one for one in run.perturbations if one.name == "site_b").kind == "shift"


def test_another_site_that_is_none_is_refused(bundle: Path) -> None:
    (own,) = of_files(bundle, "own")
    with pytest.raises(BadInputError, match="6 images of the shift other_site are those that are measured"):
        measured(bundle, dataset_dir=str(own), shift_dir=str(own))
    with pytest.raises(BadInputError, match=r"there is no folder or data list .*missing"):
        measured(bundle, dataset_dir=str(own), shift_dir=str(bundle / "missing"))
    with pytest.raises(BadInputError, match="has no id data_list_file_path or "):
        measured(bundle, dataset_dir=str(own), shift_dir=str(own / "0.txt"))
