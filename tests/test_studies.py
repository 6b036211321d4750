"""Studies of papers: their configuration, the graph of their jobs, how a job goes on, and the page."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import REPOSITORY
from PIL import Image
from sklearn.datasets import load_digits
from synthetic_runs import write_run

from monai_robust.configuration import check_ids, read_configuration
from monai_robust.data import classification_datalist
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.studies import jobs_of, read_study
from monai_robust.studies.adequate import adequate_sentence
from monai_robust.studies.claims import claims_of
from monai_robust.studies.command import study as command
from monai_robust.studies.digits import write_digits
from monai_robust.studies.figures import drawable
from monai_robust.studies.job import record_of, run_job
from monai_robust.studies.jobs import Place, finished
from monai_robust.studies.kept import Kept
from monai_robust.studies.numbers import _is_detail, numbers_of
from monai_robust.studies.page import NOT_RUN, write_page
from monai_robust.studies.tables import Cells, Measured, _higher, measured, table_cells
from monai_robust.studies.workflow import costs, find_snakemake, run_jobs

STUDIES = sorted((REPOSITORY / "studies").glob("*.yaml"))
BUNDLES = REPOSITORY / "bundles"
PAPER = {"arms": ["erm"], "remarks": "Nothing broke.\n"}
SMALL = {
    "title": "Small",
    "training": {"epochs": 1, "limit": 3},
    "sets": {
        "films": {
            "bundle": "chest_xray_classification",
            "phantoms": "radiographs",
            "folder": "films",
            "training": {"epochs": 2},
            "settings_of_arms": {"rtda": {"training": {"epochs": 4}}},
            "standard": {"arm": "erm", "statistic": "accuracy", "at_least": 0.999},
        },
        "mammograms": {"bundle": "chest_xray_classification", "phantoms": "radiographs", "folder": "mammograms"},
    },
    "arms": {
        "erm": {"title": "ERM", "training": {"recipe": "erm"}},
        "rtda": {"title": "RTDA", "from": {"checkpoint": "erm"}, "training": {"recipe": "rtda", "epochs": 3}},
    },
    "tables": {
        "accuracy": {
            "title": "Accuracy",
            "statistic": "accuracy",
            "scale": 100,
            "figure": "lines",
            "columns": [
                {"perturbation": "clean"},
                {"perturbation": "pgd_l2", "severities": [1.0], "label": "PGD {severity}"},
                {"perturbation": "pgd_l2", "over": "mean", "label": "on average"},
                {"perturbation": "pgd_l2", "over": "auc_robust"},
                {"perturbation": "pgd_l2", "over": "largest_gap", "label": "gap"},
            ],
            "paper": {"films": {"erm": {"clean": 95.8}}},
        }
    },
    "claims": [{"text": "more robust", "column": "PGD 1", "better": "rtda", "than": ["erm"]}],
    "presets": {"cpu": {"replicates": {"seeds": [0, 1]}, "training": {"limit": 9}}, "paper": PAPER},
}

ACCURACY = SMALL["tables"]["accuracy"]
ADEQUATE = {
    "table": "accuracy",
    "clean": "clean",
    "attacked": "PGD",
    "size": "size",
    "within": 2.0,
    "arms": ["erm", "rtda"],
}


def small(folder: Path, **changes: object) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def place(folder: Path, *names: str) -> Place:
    return Place(folder, BUNDLES, {name: folder / name for name in names}, python=sys.executable)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_setting_of_a_study_is_an_id_of_its_bundle(path):
    presets = yaml.safe_load(path.read_text())["presets"]
    assert {"paper", "cpu", "smoke"} <= set(presets)
    for preset in presets:
        found = read_study(path, preset)
        for dataset in found.sets.values():
            configs = BUNDLES / dataset.bundle / "configs"
            files = [configs / "train.yaml", *(configs / "presets" / f"{name}.yaml" for name in dataset.presets)]
            train = read_configuration([str(one) for one in files])
            robustness = read_configuration([str(files[0]), str(configs / "robustness.yaml"), *map(str, files[1:])])
            for arm in (arm for arm in found.arms.values() if arm.name in dataset.arms):
                check_ids(
                    train, {**found.training(dataset, arm, found.replicates[0]), **dict.fromkeys(arm.files, "file")}
                )
                check_ids(robustness, found.evaluation(dataset, arm, found.replicates[0]))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_what_a_job_takes_is_made_by_a_job_before_it(path, tmp_path):
    found = read_study(path, "paper")
    jobs = jobs_of(found, place(tmp_path, *found.sets))
    made: set[str] = set()
    for job in jobs:
        assert set(job.inputs) <= made, job.name
        made.add(job.output)
    assert len(made) == len(jobs)
    assert jobs_of(read_study(path, "smoke"), Place(tmp_path, BUNDLES, {}, phantoms=True))[0].kind == "phantoms"


def test_the_later_layer_wins(tmp_path):
    found = read_study(small(tmp_path), "cpu")
    films, mammograms = found.sets.values()
    settings = found.training(films, found.arms["rtda"], found.replicates[1])
    assert settings == {"epochs": 4, "limit": 9, "recipe": "rtda", "seed": 1}
    assert found.training(mammograms, found.arms["rtda"], found.replicates[0])["epochs"] == 3
    assert found.training(films, found.arms["erm"], found.replicates[0])["epochs"] == 2


def test_an_arm_waits_for_the_weights_it_takes_and_data_sets_without_a_folder_are_left_out(tmp_path):
    found = read_study(small(tmp_path), "cpu", arms=["rtda"])
    jobs = {job.name: job for job in jobs_of(found, place(tmp_path, "films"))}
    assert {name.split("/")[0] for name in jobs} == {"films"}
    warm = jobs["films/rtda/seed1"]
    assert warm.inputs == ("films/erm/seed1/model.pt",)
    assert warm.command[warm.command.index("--checkpoint") + 1] == str(tmp_path / "films/erm/seed1/model.pt")


def test_an_arm_may_take_another_file_of_a_training_than_its_weights(tmp_path):
    arms = {**SMALL["arms"], "control": {"from": {"checkpoint": "erm/margins.csv", "resume": "erm"}, "training": {}}}
    found = read_study(small(tmp_path, arms=arms), "cpu", arms=["control"])
    assert list(found.arms) == ["erm", "control"]
    job = next(one for one in jobs_of(found, place(tmp_path, "films")) if one.name == "films/control/seed1")
    assert job.inputs == ("films/erm/seed1/model.pt",)
    words = dict(zip(job.command, job.command[1:], strict=False))
    assert words["--checkpoint"] == str(tmp_path / "films/erm/seed1/margins.csv")
    assert words["--resume"] == str(tmp_path / "films/erm/seed1/model.pt")


def with_table(**changes: object) -> dict[str, object]:
    return {"tables": {"accuracy": {**ACCURACY, **changes}}}


def with_line(**changes: object) -> dict[str, object]:
    """Changes by which a table has a column of a line."""
    line = {"line": ["erm", "rtda"], "of": "clean", "at": "on average", **changes}
    return with_table(columns=[*ACCURACY["columns"], line])


def with_standard(**changes: object) -> dict[str, object]:
    """Changes by which the standard of a data set is another."""
    films = SMALL["sets"]["films"]
    return {"sets": {**SMALL["sets"], "films": {**films, "standard": {**films["standard"], **changes}}}}


def screened(arm: str, *seeds: int) -> dict[str, object]:
    """Changes by which an arm has seeds of its own."""
    preset = {**SMALL["presets"]["cpu"], "replicates_of_arms": {arm: {"seeds": list(seeds)}}}
    return {"presets": {"cpu": preset}}


def test_an_arm_that_is_only_screened_has_fewer_replicates_and_the_others_keep_theirs(tmp_path):
    found = read_study(small(tmp_path, **screened("rtda", 1)), "cpu")
    trained = [job.name for job in jobs_of(found, place(tmp_path, "films")) if job.kind == "train"]
    assert trained == ["films/erm/seed0", "films/erm/seed1", "films/rtda/seed1"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (screened("rtda", 0, 7), "'rtda' takes the weights of 'erm', which has no replicate seed7"),
        (screened("erm", 0), "'rtda' takes the weights of 'erm', which has no replicate seed1"),
        (screened("rdta", 0), "replicates of the arm"),
        (with_table(colums=[]), "'colums', which nothing reads"),
        (with_table(columns=[{"perturbation": "clean", "over": "median"}]), "over is 'median'"),
        (with_table(sets=["film"]), "set 'film', which there is none of"),
        (with_table(joined=[["erm", "sat"]]), "arm 'sat', which there is none of"),
        (with_line(line=["erm", "sat"]), "line names the arm 'sat', which there is none of"),
        (with_line(line="erm"), "the line is 'erm'; it takes a list of two arms or more"),
        (with_line(at="robust"), "line's at names the column 'robust', which its table"),
        (with_line(of=None), "line's of names the column None"),
        (with_line(over="mean"), "a column of a line has 'over', and takes"),
        (with_table(figure="pie"), "figure is 'pie'"),
        (with_table(columns=[{"perturbation": "pgd_l2", "among": ["erm"]}]), "'among', which is for over: largest_gap"),
        (with_table(columns=[{"perturbation": "clean", "minus_arm": "sat"}]), "arm 'sat', which there is none of"),
        ({"claims": [{**SMALL["claims"][0], "than": ["standard"]}]}, "arm 'standard', which there is none of"),
        ({"claims": [{**SMALL["claims"][0], "table": "brier"}]}, "table 'brier', which there is none of"),
        ({"claims": [{**SMALL["claims"][0], "than_columns": ["clean"]}]}, "needs one of than .* and than_columns"),
        ({"claims": [{"text": "more robust", "column": "PGD 1", "better": "rtda"}]}, "needs one of than"),
        ({"adequate": {"table": "accuracy", "clean": "clean"}}, "adequate has no arms"),
        ({"tables": [ACCURACY]}, "must be names with values"),
        ({"sets": {"films": {"phantoms": "radiographs"}}}, "names no bundle"),
        ({"colour": 1}, "'colour', which nothing reads"),
        ({"arms": {"Rtda": {}}}, "name of a folder"),
        ({"replicates": {"seeds": [0.5]}, "presets": {"cpu": {}}}, "list of whole numbers"),
        (
            {
                "arms": {"rtda": {"from": {"checkpoint": "erm"}}},
                "sets": {"films": {"bundle": "chest_xray_classification", "phantoms": "radiographs"}},
            },
            "weights of 'erm', which there is none of",
        ),
        ({"replicates": {"seeds": [0, 0, 1]}, "presets": {"cpu": {}}}, "which has one twice"),
        ({"arms": {**SMALL["arms"], "sat": {"title": "ERM"}}}, "two arms have the title 'ERM'"),
        (with_table(columns=[{"perturbation": "pgd_l2", "label": "PGD {sev}"}]), "has a place for something else"),
        (with_table(columns=[{"label": "PGD"}]), "no perturbation, measure or line"),
        (with_table(columns=[{"measure": "parameter"}]), "measure is 'parameter'"),
        (with_table(columns=[{"perturbation": "pgd_l2", "severities": 1.0}]), "severities is 1.0; it takes a list"),
        (with_table(scale="100 %"), "scale is '100 %'; it takes a number"),
        (with_table(digits="two"), "digits is 'two'; it takes a whole number"),
        (with_table(paper={"films": {"erm": {"PGD1": 93}}}), "names the column 'PGD1', which its table"),
        (with_standard(arm="ERM"), "arm 'ERM', which there is none of"),
        (with_standard(at_least="80%"), "at_least is '80%'; it takes a number"),
        (with_standard(at_most=4.0), "needs one of at_least"),
        (with_standard(statistic=""), "standard has no statistic"),
        ({"claims": [{**SMALL["claims"][0], "within": "1%"}]}, "within is '1%'; it takes a number"),
        ({"claims": [{**SMALL["claims"][0], "column": "PGD1"}]}, "names the column 'PGD1', which its table"),
        ({"claims": [{**SMALL["claims"][0], "column": {"films": "PGD 1"}}]}, "no column for the set 'mammograms'"),
        ({"adequate": {**ADEQUATE, "attacked": "FGSM"}}, "adequate names the column 'FGSM'"),
    ],
)
def test_a_study_that_cannot_work_is_refused_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        read_study(small(tmp_path, **changes), "cpu")


def test_an_unknown_preset_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(BadInputError, match=r"--preset is 'gpu'; it must be one of 'cpu', 'paper'"):
        read_study(small(tmp_path), "gpu")


def writer(text: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, pathlib; {text}"]


def test_a_stopped_training_goes_on_and_another_command_begins_anew(tmp_path):
    folder = tmp_path / "films/erm/seed0"
    folder.mkdir(parents=True)
    words = writer(f"pathlib.Path({str(folder / 'model.pt')!r}).write_text(' '.join(sys.argv[1:]))")
    (folder / "command.json").write_text(json.dumps(words))
    (folder / "checkpoint_epoch=3.pt").touch()
    assert run_job(tmp_path, "train", "films/erm/seed0/model.pt", words) == 0
    assert (folder / "model.pt").read_text() == f"--resume {folder}"
    assert not list(folder.glob("checkpoint_epoch=*"))
    (folder / "checkpoint_epoch=3.pt").touch()
    assert run_job(tmp_path, "train", "films/erm/seed0/model.pt", [*words, "--epochs", "5"]) == 0
    assert (folder / "model.pt").read_text() == "--epochs 5"


def test_a_job_that_leaves_no_file_or_fails_is_told_of(tmp_path, capsys):
    assert run_job(tmp_path, "evaluate", "a/robustness/report.html", writer("print('nothing')")) == 1
    assert "was not made" in capsys.readouterr().err
    assert run_job(tmp_path, "train", "b/model.pt", writer("sys.exit('no such data')")) == 1
    assert "no such data" in capsys.readouterr().err


def test_a_job_is_done_where_its_command_made_it_after_what_it_needs(output, tmp_path):
    folder = made_by_its_commands(tmp_path / "out", output)
    found = read_study(small(folder), "cpu")
    jobs = jobs_of(found, place(folder, "films"))
    assert finished(jobs, folder) == jobs
    changed = read_study(small(folder, evaluation={"attack_steps": 3}), "cpu")
    jobs_now = jobs_of(changed, place(folder, "films"))
    assert [job.kind for job in finished(jobs_now, folder)] == ["train"] * 4
    os.utime(folder / "films/erm/seed1/model.pt", (4e9, 4e9))  # trained again
    done = {job.name for job in finished(jobs, folder)}
    assert {job.name for job in jobs} - done == {
        "films/erm/seed1/robustness",
        "films/rtda/seed1",
        "films/rtda/seed1/robustness",
    }


def test_what_another_command_made_is_gone_before_the_workflow_looks_for_files(output, tmp_path):
    folder = made_by_its_commands(tmp_path / "out", output)
    changed = read_study(small(folder, evaluation={"attack_steps": 3}), "cpu")
    jobs = jobs_of(changed, place(folder, "films"))
    looks = tmp_path / "snakemake"
    looks.write_text(f"#!/bin/sh\ncd '{folder}'\nfind . -name report.html -o -name model.pt > seen.txt\n")
    looks.chmod(0o755)
    run_jobs(looks, tmp_path / "Snakefile", jobs, folder)
    assert (folder / "seen.txt").read_text().count("model.pt") == 4
    assert "report.html" not in (folder / "seen.txt").read_text()


def test_an_evaluation_by_another_command_does_not_go_on_from_what_was_measured(tmp_path):
    folder = tmp_path / "films/erm/seed0/robustness"
    words = writer(f"pathlib.Path({str(folder / 'report.html')!r}).touch()")
    for changed, left in (([], ["part.parquet"]), (["--attack_steps", "3"], [])):
        run_job(tmp_path, "evaluate", "films/erm/seed0/robustness/report.html", words)
        (folder / "part.parquet").touch()
        run_job(tmp_path, "evaluate", "films/erm/seed0/robustness/report.html", [*words, *changed])
        assert [path.name for path in folder.glob("*.parquet")] == left


def test_hours_are_told_from_what_was_timed(tmp_path):
    found = read_study(small(tmp_path), "cpu")
    jobs = jobs_of(found, place(tmp_path, "films", "mammograms"))
    passes = {job.name: job.passes for job in jobs}
    # 2 epochs of one pass; 4 and 3 epochs of three views and the bundle's seven steps
    assert (passes["films/erm/seed0"], passes["films/rtda/seed0"]) == (2, 4 * (3 + 7))
    assert passes["mammograms/rtda/seed1"] == 3 * 10

    def timed(name: str, kind: str, seconds: float) -> None:
        (tmp_path / "times" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "times" / name / f"{kind}.tsv").write_text(f"s\th:m:s\n{seconds}\t-\n")

    timed("films/erm/seed0", "train", 60.0)
    seconds = costs(jobs, tmp_path)
    assert seconds["films/rtda/seed0"] == 30 * 4 * 10
    assert seconds["mammograms/rtda/seed1"] == 30 * 3 * 10
    assert "films/erm/seed0/robustness" not in seconds
    timed("films/rtda/seed0", "train", 100.0)
    seconds = costs(jobs, tmp_path)
    assert (seconds["films/rtda/seed1"], seconds["films/erm/seed1"]) == (100.0, 60.0)  # as the arm's own took
    assert finished(jobs, tmp_path) == []


def test_where_snakemake_is_missing_a_sentence_says_how_to_make_it(tmp_path):
    with pytest.raises(BadInputError, match="make studies-install"):
        find_snakemake(tmp_path)


def test_a_dry_run_shows_the_jobs_and_starts_nothing(tmp_path, capsys):
    command(
        None, str(small(tmp_path)), preset="cpu", data=[f"films={tmp_path}"], output_dir=tmp_path / "out", dry_run=True
    )  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "to do  train     films/rtda/seed1" in shown
    assert "8 jobs, 8 to do" in shown
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for arm, falls in (("erm", 1.0), ("rtda", 0.2)):
        for seed in (0, 1):
            run = folder / "films" / arm / f"seed{seed}" / "robustness"
            write_run(run, arm, seed=seed, falls=falls)
            (run / "report.html").touch()
    return folder


def test_a_table_is_that_of_the_runs_own_summaries(output, tmp_path):
    found = read_study(small(tmp_path), "cpu")
    runs = measured(found, found.sets["films"], output)
    cells = table_cells(found.tables["accuracy"], runs)
    assert list(cells.labels) == ["clean", "PGD 1", "on average", "AUC_robust", "gap"]
    assert cells.rows == [["clean"], ["PGD 1"], ["on average"], ["AUC_robust"], ["gap"]]
    rows = read_run(output / "films/rtda/seed1/robustness").outcomes
    attacked = rows[rows["perturbation"] == "pgd_l2"]
    one = attacked[attacked["severity"] == 1.0]
    assert cells.of("PGD 1", "rtda")["seed1"] == pytest.approx(100 * one["score"].mean())
    assert cells.of("on average", "rtda")["seed1"] == pytest.approx(100 * attacked["score"].mean())
    assert cells.of("gap", "erm")["seed0"] in [
        pytest.approx(100 * rows["score"].mean())
        for _, rows in read_run(output / "films/erm/seed0/robustness")
        .outcomes.query("perturbation == 'pgd_l2'")
        .groupby("severity")
    ]


def test_a_column_may_be_what_a_run_has_more_than_in_a_column_before_it(output, tmp_path):
    change = {"perturbation": "pgd_l2", "severities": [1.0], "label": "change", "minus": "clean"}
    found = read_study(
        small(tmp_path, tables={"accuracy": {**ACCURACY, "columns": [*ACCURACY["columns"], change]}}), "cpu"
    )
    runs = measured(found, found.sets["films"], output)
    cells = table_cells(found.tables["accuracy"], runs)
    for arm in ("erm", "rtda"):
        for seed in ("seed0", "seed1"):
            clean, attacked = (cells.of(label, arm)[seed] for label in ("clean", "PGD 1"))
            assert attacked < clean
            assert cells.of("change", arm)[seed] == pytest.approx(attacked - clean)
    with pytest.raises(BadInputError, match="takes 'clean' from a column, and has before it"):
        table_cells({**ACCURACY, "columns": [change, *ACCURACY["columns"]]}, runs)


def test_the_largest_gap_is_chosen_among_some_arms_and_its_radius_stands_above_it(output, tmp_path):
    gap = {"perturbation": "pgd_l2", "over": "largest_gap", "label": "gap"}
    runs = measured(found := read_study(small(tmp_path), "cpu"), found.sets["films"], output)
    pairs = {arm: {} for arm in ("erm", "rtda")}
    for arm, means in pairs.items():
        for seed in (0, 1):
            rows = read_run(output / f"films/{arm}/seed{seed}/robustness").outcomes.query("perturbation == 'pgd_l2'")
            for radius, score in rows.groupby("severity")["score"].mean().items():
                means[radius] = means.get(radius, 0.0) + score / 2
    widest = max(pairs["erm"], key=lambda radius: pairs["rtda"][radius] - pairs["erm"][radius])
    cells = table_cells({**ACCURACY, "columns": [gap]}, runs)
    assert cells.title("gap") == f"gap ({widest:.3g})"
    assert np.mean(list(cells.of("gap", "erm").values())) == pytest.approx(100 * pairs["erm"][widest])
    alone = table_cells({**ACCURACY, "columns": [{**gap, "among": ["erm"]}]}, runs)  # no gap: the first radius
    assert alone.title("gap") == f"gap ({min(pairs['erm']):.3g})"
    assert set(alone.of("gap", "rtda")) == {"seed0", "seed1"}
    by_clean = table_cells({**ACCURACY, "columns": [{**gap, "by": "clean"}]}, runs)
    assert not list(by_clean.labels)  # PGD has no severity of those of clean images
    table = {"title": "Gap", "statistic": "accuracy", "columns": [gap], "scale": 100}
    study = read_study(small(tmp_path, tables={"gap": table}, claims=[]), "cpu")
    assert f"| gap ({widest:.3g}) |" in write_page(study, output, tmp_path / "page.md", "x").read_text()


LINE = {"line": ["sat-2", "sat-4"], "of": "clean", "at": "PGD 1"}
FRONT = {"title": "Front", "statistic": "accuracy", "columns": [*ACCURACY["columns"][:2], LINE]}


def test_a_line_through_arms_is_read_at_the_number_of_another_arm_replicate_by_replicate():
    """Clean accuracy that the line through two radii of one training has where it is as robust as another training."""
    numbers = {  # clean and attacked accuracy
        ("sat-2", "seed0"): (0.8, 0.3),
        ("sat-4", "seed0"): (0.6, 0.5),
        ("sat-2", "seed1"): (0.9, 0.2),
        ("sat-4", "seed1"): (0.5, 0.6),
        ("sat-2", "seed2"): (0.7, 0.4),
        ("amat", "seed0"): (0.75, 0.35),
        ("amat", "seed1"): (0.7, 0.6),
        ("amat", "seed2"): (0.7, 0.45),  # of which the line has one end alone
        ("erm", "seed0"): (0.9, 0.0),  # beyond the line
    }
    rows = [
        {"run": run, "perturbation": name, "severity": severity, "accuracy": value}
        for run, both in enumerate(numbers.values())
        for (name, severity), value in zip((("clean", 0.0), ("pgd_l2", 1.0)), both, strict=True)
    ]
    frame = pd.DataFrame(rows)
    found = Measured(dict.fromkeys(numbers), frame, frame, higher_is_better=True)
    cells = table_cells(FRONT, found)
    label = "clean on the line, at the same PGD 1"
    assert list(cells.labels) == ["clean", "PGD 1", label]
    assert cells.of(label, "amat") == pytest.approx({"seed0": 0.75, "seed1": 0.5})
    assert not cells.of(label, "erm")
    assert not cells.of(label, "sat-2")
    assert table_cells({**FRONT, "scale": 100}, found).of(label, "amat")["seed0"] == pytest.approx(75)
    assert drawable({**FRONT, "figure": "front"}, cells)
    assert not drawable({**FRONT, "figure": "front"}, table_cells({**FRONT, "columns": FRONT["columns"][:1]}, found))


def test_a_statistic_without_a_value_anywhere_is_no_unknown_one(output, tmp_path):
    table = {"title": "Error", "statistic": "rms_calibration_error", "columns": [{"perturbation": "clean"}]}
    found = read_study(small(tmp_path, tables={"error": table}, claims=[]), "cpu")
    runs = measured(found, found.sets["films"], output)
    few = {key: replace(one, undefined=["rms_calibration_error"]) for key, one in runs.runs.items()}
    without = replace(runs, runs=few, summary=runs.summary.drop(columns="rms_calibration_error"))
    assert list(table_cells(table, without).labels) == ["clean"]
    assert table_cells(table, without).of("clean", "erm") == {}
    with pytest.raises(BadInputError, match="asks for 'rms_calibration_error', and runs have"):
        table_cells(table, replace(without, runs=runs.runs))


def test_a_column_may_be_what_an_arm_has_more_than_another_in_the_same_replicate(output, tmp_path):
    gain = {"perturbation": "pgd_l2", "severities": [1.0], "label": "gain", "minus_arm": "erm"}
    found = read_study(small(tmp_path, **with_table(columns=[*ACCURACY["columns"], gain])), "cpu")
    cells = table_cells(found.tables["accuracy"], measured(found, found.sets["films"], output))
    assert not cells.of("gain", "erm")
    for seed in ("seed0", "seed1"):
        mine, other = (cells.of("PGD 1", arm)[seed] for arm in ("rtda", "erm"))
        assert cells.of("gain", "rtda")[seed] == pytest.approx(mine - other)
        assert mine > other


def test_seconds_of_an_epoch_are_the_median_of_a_runs_own(output, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(output, folder)
    earlier, today = "epoch,seconds\n1,9\n2,4\n3,4.5\n", "epoch,seconds,processor_seconds\n1,6,5\n"
    for seed, text in enumerate((earlier, today)):
        (folder / f"films/erm/seed{seed}/robustness/epoch_times.csv").write_text(text)
    columns = [{"measure": "seconds_per_epoch"}, {"measure": "processor_seconds_per_epoch"}]
    table = {"title": "Time", "statistic": "accuracy", "scale": 100, "columns": columns}
    found = read_study(small(tmp_path, tables={"time": table}, claims=[]), "cpu")
    cells = table_cells(table, measured(found, found.sets["films"], folder))
    assert cells.of("seconds per epoch", "erm") == {"seed0": 4.5, "seed1": 6.0}
    assert cells.of("processor seconds per epoch", "erm") == {"seed1": 5.0}
    assert cells.of("seconds per epoch", "rtda") == {}
    text = write_page(found, folder, tmp_path / "page.md", "x").read_text()
    assert "| ERM | 2 | 5.250 ± 1.061 | 5.000 |" in text
    assert "| RTDA | 0 | – | – |" in text
    assert not cells.higher_is_better["seconds per epoch"]


def made_by_its_commands(folder: Path, source: Path) -> Path:
    """A study's results, as a workflow that ran the commands of today leaves them."""
    shutil.copytree(source, folder)
    found = read_study(small(folder), "cpu")
    for job in jobs_of(found, place(folder, "films")):
        (folder / job.output).touch()
        if job.kind == "train":
            torch.save(
                {"network": {"weight": torch.zeros(2, 3), "bn.running_mean": torch.zeros(9)}}, folder / job.output
            )
        record_of(folder / job.output, job.kind).write_text(json.dumps(list(job.command)))
    return folder


def test_a_page_of_kept_numbers_is_that_of_the_runs(output, tmp_path):
    folder = made_by_its_commands(tmp_path / "out", output)
    path = small(
        folder, tables={"accuracy": {**ACCURACY, "columns": [*ACCURACY["columns"], {"measure": "parameters"}]}}
    )
    found = read_study(path, "cpu")
    jobs = jobs_of(found, place(folder, "films"))
    kept = Kept(tmp_path / "kept", found)
    kept.add(jobs, folder)
    assert [job.kind for job in kept.without(jobs)] == ["train"] * 4
    ran = write_page(found, folder, tmp_path / "ran.md", "x").read_text()
    both = write_page(found, folder, tmp_path / "both.md", "x", kept).read_text()
    again = write_page(found, tmp_path / "nothing", tmp_path / "again.md", "x", kept).read_text()
    assert both == ran
    assert again == ran.replace("(seed0, seed1).", "(seed0, seed1). Of 4 runs, 4 were measured earlier and kept.")
    assert "| 6.000 ± 0.000 |" in ran


def test_numbers_are_kept_without_intervals_and_single_classes(output):
    (first, *_) = numbers_of(output / "films/erm/seed0/robustness", output / "none.pt").summary
    assert {"score", "accuracy", "auroc"} <= set(first)
    assert not [name for name in first if name.endswith(("_low", "_high", "_0", "_1"))]
    assert _is_detail("ppv_youden_0", ["ppv_youden_0", "ppv_youden_1"])
    assert _is_detail("sdr_2_5", ["sdr_2.5", "sdr_2_1", "sdr_2_5"])
    assert not _is_detail("sdr_2.5", ["sdr_2", "sdr_2.5", "sdr_2_1", "sdr_2_5"])
    assert not _is_detail("map_50", ["map", "map_50"])


def test_numbers_of_other_settings_or_of_another_command_are_not_taken(output, tmp_path):
    folder = made_by_its_commands(tmp_path / "out", output)
    found = read_study(small(folder), "cpu")
    jobs = jobs_of(found, place(folder, "films"))
    (folder / "films/erm/seed1/command.json").write_text(json.dumps(["another"]))  # whose weights rtda takes
    kept = Kept(tmp_path / "kept", found)
    kept.add(jobs, folder)
    names = {path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*.json")}
    assert names == {f"small-cpu/films/{one}.json" for one in ("erm-seed0", "rtda-seed0")}
    films, arm = found.sets["films"], found.arms["rtda"]
    assert kept.read(films, arm, found.replicates[0]) is not None
    arms = {**SMALL["arms"], "erm": {"title": "ERM", "training": {"recipe": "erm", "epochs": 3}}}
    changed = read_study(small(folder, arms=arms), "cpu")  # whose weights rtda takes
    assert Kept(tmp_path / "kept", changed).read(films, arm, found.replicates[0]) is None
    (tmp_path / "kept/small-cpu/films/rtda-seed0.json").write_text("{}")
    with pytest.raises(BadInputError, match="settings"):
        kept.read(films, arm, found.replicates[0])


def test_a_page_of_kept_numbers_alone_is_written_without_data_and_workflow(output, tmp_path, capsys):
    folder = made_by_its_commands(tmp_path / "out", output)
    path = small(folder)
    found = read_study(path, "cpu")
    Kept(tmp_path / "kept", found).add(jobs_of(found, place(folder, "films")), folder)
    page = tmp_path / "page.md"
    command(None, str(path), preset="cpu", output_dir=tmp_path / "new", kept=tmp_path / "kept", page=page)  # type: ignore[arg-type]
    assert "4 were measured earlier" in page.read_text()
    assert "--kept studies/kept" in page.read_text()
    command(
        *(None, str(path)),
        preset="cpu",
        data=[f"films={folder}", f"mammograms={folder}"],
        kept=tmp_path / "kept",
        dry_run=True,
    )  # type: ignore[arg-type]
    assert "8 jobs, 8 to do" in capsys.readouterr().out


KEPT = sorted(path.name for path in (REPOSITORY / "studies" / "kept").glob("*-*"))


@pytest.mark.parametrize("folder", KEPT)
def test_a_page_of_the_documentation_is_what_its_command_writes(folder, tmp_path):
    """From the numbers that are kept, all of which are of today's settings."""
    name, _, preset = folder.rpartition("-")
    found = read_study(REPOSITORY / "studies" / f"{name}.yaml", preset)
    kept = Kept(REPOSITORY / "studies" / "kept", found)
    taken = {kept.path(*run) for run in found.runs if kept.read(*run) is not None}
    assert taken == set(kept.folder.rglob("*.json"))
    shown = (REPOSITORY / "docs" / "results" / f"{name}.md").read_text()
    command = shown.split("```bash\n")[1].split("\n```")[0]
    assert write_page(found, tmp_path / "nothing", tmp_path / "page.md", command, kept).read_text() == shown


def test_a_page_shows_the_papers_numbers_marks_a_pilot_and_what_was_not_run(output, tmp_path):
    found = read_study(small(tmp_path), "paper")
    text = write_page(found, output, tmp_path / "page.md", "monai-robust study small").read_text()
    assert "*the paper's* | | 95.8" in text
    assert "*Pilot*" in text
    assert text.count("| ERM | ") == text.count("| RTDA | ") == 1
    assert f"## mammograms\n\n{NOT_RUN}" in text
    assert text.endswith("## What was made of it\n\nNothing broke.\n")
    assert (tmp_path / "images" / "study_small_films_accuracy.png").is_file()
    assert str(tmp_path) not in text


def test_an_arm_that_a_preset_calls_otherwise_stands_above_the_papers_of_its_name(output, tmp_path):
    found = read_study(small(tmp_path, presets={"cpu": {"titles": {"erm": "ERM, short"}}}), "cpu")
    text = write_page(found, output, tmp_path / "page.md", "monai-robust study small").read_text()
    assert "| ERM, short | 1 |" in text
    assert "| *the paper's ERM* | | 95.8" in text
    with pytest.raises(BadInputError, match="title of the arm is 'emr'"):
        read_study(small(tmp_path, presets={"cpu": {"titles": {"emr": "ERM"}}}), "cpu")


def test_a_network_that_says_the_commonest_class_is_no_standard(tmp_path):
    sets = {"films": {**SMALL["sets"]["films"], "standard": {"arm": "erm", "statistic": "accuracy", "at_least": 0.1}}}
    found = read_study(small(tmp_path, sets=sets), "cpu")
    for clean, said in ((0.95, False), (0.15, True)):  # of three classes that are equally common
        folder = tmp_path / str(clean)
        write_run(folder / "films" / "erm" / "seed0" / "robustness", clean=clean)
        (folder / "films" / "erm" / "seed0" / "robustness" / "report.html").touch()
        text = write_page(found, folder, folder / "page.md", "monai-robust study small").read_text()
        assert ("to say the commonest class of every sample has 0.333" in text) == said


def test_errors_are_told_from_scores_by_whole_words():
    errors = ["mre", "sd_mm", "hd95_1", "brier_multiclass", "expected_calibration_error", "mean_surface_distance"]
    errors += ["absolute_rvd", "false_components_1", "loss"]
    scores = ["accuracy", "adi", "nsd", "sdr_2", "map_50", "average_iou", "brier_resolution"]
    assert [name for name in errors + scores if _higher(name, None)] == scores


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ({"seed0": 50.0, "seed1": 52.0}, "held"),
        ({"seed0": 90.0, "seed1": 91.0}, "did not hold"),
        ({"seed0": 50.0, "seed1": 95.0}, "not told apart"),
        ({"seed0": 50.0}, "not told apart"),
        ({}, "not run"),
    ],
)
def test_a_claim_holds_where_the_difference_is_larger_than_its_spread(tmp_path, theirs, verdict):
    found = read_study(small(tmp_path), "cpu")
    values = {("PGD 1", "rtda"): {"seed0": 60.0, "seed1": 64.0}, ("PGD 1", "erm"): theirs}
    (claim,) = claims_of(found, found.sets["films"], {"accuracy": Cells(["PGD 1"], values, {"PGD 1": True})})
    assert claim.verdict == verdict


def test_a_claim_may_compare_two_columns_of_one_arm(tmp_path):
    claim = {"text": "PGD hurts more than FGSM", "column": "FGSM", "better": "erm", "than_columns": ["PGD"]}
    columns = [{"perturbation": name, "over": "mean", "label": name} for name in ("FGSM", "PGD")]
    found = read_study(small(tmp_path, claims=[claim], **with_table(columns=columns, paper={})), "cpu")
    values = {("FGSM", "erm"): {"seed0": 60.0, "seed1": 64.0}, ("PGD", "erm"): {"seed0": 40.0, "seed1": 42.0}}
    cells = {"accuracy": Cells(["FGSM", "PGD"], values, {"FGSM": True, "PGD": True})}
    (judged,) = claims_of(found, found.sets["films"], cells)
    assert judged.text == "PGD hurts more than FGSM (ERM: FGSM against PGD)"
    assert judged.verdict == "held"
    assert judged.numbers == "62 against 41; difference +21 ± 1.4, 2 replicates"


@pytest.mark.parametrize(
    ("attacked", "sentence"),
    [
        ({"erm": 70.0, "rtda": 60.0}, "the smallest of them, ERM (10 parameters), is also the most robust (PGD)"),
        ({"erm": 50.0, "rtda": 60.0}, "RTDA has 60: the smallest is not the most robust"),
        ({"erm": 50.0}, ""),
        ({"erm": math.nan, "rtda": 60.0}, ""),
    ],
)
def test_the_smallest_adequate_network_is_the_most_robust_one_or_is_not(tmp_path, attacked, sentence):
    columns = [*ACCURACY["columns"], {"perturbation": "pgd", "over": "mean", "label": "PGD"}]
    columns += [{"measure": "parameters", "label": "size"}]
    found = read_study(small(tmp_path, adequate=ADEQUATE, **with_table(columns=columns)), "cpu")
    numbers = {"clean": {"erm": 89.0, "rtda": 90.0}, "size": {"erm": 10.0, "rtda": 20.0}, "PGD": attacked}
    values = {(label, arm): {"seed0": one} for label, own in numbers.items() for arm, one in own.items()}
    higher = {"clean": True, "PGD": True, "size": False}
    told = adequate_sentence(found, found.sets["films"], {"accuracy": Cells(list(numbers), values, higher)})
    assert sentence in told
    assert bool(sentence) == bool(told)
    errors = {key: {name: 100 - one for name, one in own.items()} for key, own in values.items() if key[0] != "size"}
    lower = {"clean": False, "PGD": False, "size": False}
    mirrored = adequate_sentence(
        found, found.sets["films"], {"accuracy": Cells(list(numbers), {**values, **errors}, lower)}
    )
    assert ("is also the most robust" in mirrored) == ("is also the most robust" in told)
    assert ("best clean number (10)" in mirrored) == bool(told)


def test_a_label_that_two_columns_have_and_a_statistic_of_a_standard_that_no_run_has_are_refused(output, tmp_path):
    again = {"perturbation": "clean", "label": "PGD 1"}
    found = read_study(small(tmp_path, **with_table(columns=[*ACCURACY["columns"], again])), "cpu")
    with pytest.raises(BadInputError, match="has two columns 'PGD 1'"):
        write_page(found, output, tmp_path / "page.md", "x")
    found = read_study(small(tmp_path, **with_standard(statistic="acuracy")), "cpu")
    with pytest.raises(BadInputError, match="asks for 'acuracy', and runs have"):
        write_page(found, output, tmp_path / "page.md", "x")


def test_a_data_set_that_a_study_makes_itself_needs_no_folder(tmp_path):
    sets = {"digits": {"bundle": "chest_xray_classification", "phantoms": "radiographs", "made": "digits"}}
    found = read_study(small(tmp_path, sets=sets, tables={}, claims=[]), "cpu")
    jobs = jobs_of(found, place(tmp_path))
    assert (jobs[0].name, jobs[0].output) == ("phantoms/digits", "phantoms/digits/phantom.json")
    words = dict(zip(jobs[1].command, jobs[1].command[1:], strict=False))
    assert words["--dataset_dir"] == str(tmp_path / "phantoms/digits")
    assert jobs[0].command[1:] == ("-m", "monai_robust.studies.digits", words["--dataset_dir"])
    assert not jobs_of(found, replace(place(tmp_path), makes=False))
    command(
        *(None, str(small(tmp_path, sets=sets, tables={}, claims=[]))),
        preset="cpu",
        output_dir=tmp_path / "new",
        kept=tmp_path / "kept",
        page=tmp_path / "page.md",
    )  # type: ignore[arg-type]
    assert NOT_RUN in (tmp_path / "page.md").read_text()  # from numbers that are kept, nothing is run without data
    with pytest.raises(BadInputError, match="made is 'mnist'"):
        read_study(small(tmp_path, sets={"digits": {**sets["digits"], "made": "mnist"}}), "cpu")


def test_digits_are_written_as_pictures_of_their_classes(tmp_path):
    folder = write_digits(tmp_path / "digits")
    found = classification_datalist(folder)
    assert len(found.classes) == 10
    assert sum(len(items) for items in found.items.values()) == 1797
    item = found.items["train"][0]
    assert Image.open(item["image"]).size == (8, 8)
    assert Path(item["image"]).parent.name == found.classes[item["label"]]
    first = np.asarray(Image.open(folder / "zero" / "0000.png"))
    assert np.array_equal(first, np.round(load_digits().images[0] * 255 / 16))
