"""The verdict, the summary for machines and the robustness card, from made-up evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import robustness_card, write_card, write_card_into_bundle, write_report
from monai_robust.evaluation.report.contents import Contents
from monai_robust.evaluation.tables.sanity_file import Finding, Sanity, write_sanity


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    found = [
        write_run(folder / f"{name}{seed}", name, seed=seed, falls=falls, info={"recipe": name})
        for name, falls, seed in (("rtda", 0.3, 0), ("erm", 0.7, 0), ("erm", 0.7, 1))
    ]
    warning = Finding("pgd_l2", "gradients_alive", "warn", "1 of 4 images has no gradient.", {})
    write_sanity(found[1], Sanity(4, [warning]))
    write_sanity(found[0], Sanity(4, [Finding("pgd_l2", "gradients_alive", "pass", "All have one.", {})]))
    return found


def test_the_verdict_says_what_was_tested_where_each_breaks_and_what_checks_say(runs):
    found = Contents.read(runs)
    table = found.verdict.tables[0]
    rows = {stub[0]: dict(zip(table.headers, cells, strict=True)) for stub, cells in table.rows}
    assert list(rows) == ["rtda", "erm (baseline)"]
    breaking = found.frames["breaking_radii"].set_index("name")["radius_at_half_score"]
    for name, cells in (("rtda", rows["rtda"]), ("erm", rows["erm (baseline)"])):
        clean = np.mean([run.clean["score"].mean() for run in found.runs if run.name == name])
        assert cells["Accuracy in percent, clean"].mean == pytest.approx(100 * clean)
        told = cells["Radius at which it is half, PGD (L2)"]
        assert told.startswith("beyond 2" if np.isnan(breaking[name]) else f"{breaking[name]:.3g}")
        means = {
            one.name: np.mean(
                [
                    rows.loc[rows["perturbation"] == one.name].groupby("severity")["score"].mean().mean()
                    for run in found.runs
                    if run.name == name
                    for rows in [run.outcomes]
                ]
            )
            for one in found.runs[0].perturbations
            if one.kind == "corruption"
        }
        assert cells["Worst corruption"].endswith(f": {100 * min(means.values()):.1f}")
    assert rows["rtda"]["Sanity checks"] == "no warning"
    assert rows["erm (baseline)"]["Sanity checks"] == "1 warning; 1 of 2 runs not checked"
    assert found.verdict.text == (
        "Tested: 1 attack (3 settings), 5 corruptions (11 settings), on 48 images of 24 patients."
    )


def test_the_summary_for_machines_holds_the_numbers_and_names_nobody(runs, tmp_path):
    write_report(runs, tmp_path / "report.html", baseline="rtda")
    path = tmp_path / "report_tables" / "summary.json"
    text = path.read_text()
    assert "secret" not in text
    found = json.loads(text)  # which knows no NaN
    assert (found["version"], found["task"], found["baseline"]) == (1, "classification", "rtda")
    assert found["measure"] == {"column": "accuracy", "name": "accuracy", "higher_is_better": True, "unit": ""}
    assert [(one["name"], one["seed"], one["images"], one["patients"]) for one in found["runs"]] == [
        ("rtda", 0, 48, 24),
        ("erm", 0, 48, 24),
        ("erm", 1, 48, 24),
    ]
    assert [one["sanity_warnings"] for one in found["runs"]] == [0, 1, None]
    row = next(
        one
        for one in found["frames"]["summary"]
        if (one["name"], one["perturbation"], one["severity"], one["group"]) == ("rtda", "pgd_l2", 1.0, "")
    )
    rows = Contents.read(runs).runs[0].outcomes
    rows = rows[(rows["perturbation"] == "pgd_l2") & (rows["severity"] == 1.0)]
    assert row["score"] == pytest.approx(rows["score"].mean())
    assert row["accuracy_std"] is None
    assert "smallest_radius" not in found["frames"]


@pytest.mark.full
def test_the_card_tells_results_and_limits_and_names_nobody(runs, tmp_path):
    path = write_card(runs, tmp_path / "ROBUSTNESS.md")
    text = path.read_text()
    assert text == robustness_card(runs)
    assert "secret" not in text
    for part in ("# Robustness card", "## Results", "## What limits them", "## How it was measured", "erm, 2 runs"):
        assert part in text
    found = Contents.read(runs)
    for sentence in [*found.headline, *found.caveats]:
        assert sentence in text
    assert "| rtda |" in text
    with pytest.raises(BadInputError, match=r"must end in \.md"):
        write_card(runs, tmp_path / "card.txt")


def test_a_card_in_a_bundle_replaces_an_older_one_and_nothing_else(runs, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    metadata, readme = tmp_path / "configs" / "metadata.json", tmp_path / "docs" / "README.md"
    with pytest.raises(BadInputError, match=r"there is no .*metadata\.json"):
        write_card_into_bundle(runs, tmp_path)
    metadata.write_text('{"version": "0.1.0", "name": "Mine"}')
    readme.write_text("# Mine\n\nWhat it does.\n")
    write_card_into_bundle(runs[:1], tmp_path)
    readme.write_text(readme.read_text() + "\n## Licence\n")
    assert write_card_into_bundle(runs, tmp_path, baseline="rtda") == [metadata, readme]
    told = json.loads(metadata.read_text())
    assert (told["version"], told["name"], told["robustness"]["baseline"]) == ("0.1.0", "Mine", "rtda")
    assert len(told["robustness"]["runs"]) == 3
    text = readme.read_text()
    assert text.count("## Robustness card") == 1
    assert text.startswith("# Mine\n\nWhat it does.\n")
    assert text.rstrip().endswith("## Licence")
    assert "erm, 2 runs" in text
    clean = next(
        one
        for one in told["robustness"]["means_over_severities"]
        if (one["name"], one["perturbation"]) == ("rtda", "clean")
    )
    assert clean["accuracy"] == pytest.approx(Contents.read(runs).runs[0].clean["score"].mean())
