from __future__ import annotations

import ast
import fnmatch
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate

import pytest
import yaml
from monai.bundle import ComponentLocator

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "monai_robust"
BUNDLES = REPOSITORY / "bundles"

# A module may import only from floors below its own, and from its own room. The longest name that fits decides.
FLOORS = [
    {"errors", "paths"},
    {"scalars"},
    {"attacks.threat"},
    {"data.files"},
    {"losses", "metrics", "transforms", "networks", "inferers", "data", "configuration"},
    {"tasks"},
    {f"attacks.common.{name}" for name in ("arguments", "guard", "half_precision", "masks", "samples")},
    {"attacks.criteria"},
    {"attacks.attack"},
    {"attacks.common"},
    {"attacks"},
    {"attacks.radius"},
    {"checkpoints.attached", "checkpoints.stored", "checkpoints.whole_files"},
    {"checkpoints.trainer_state"},
    {"checkpoints.loader"},
    {"checkpoints"},
    {"margins.crossing", "margins.every_sample", "margins.radii", "margins.thresholds"},
    {"margins.rule", "margins.store", "margins.threshold_source"},
    {"recipes", "margins", "planning"},
    {"engines", "handlers"},
    {"overlays"},
    {"pipelines"},
    {"evaluation.tables"},
    {"evaluation.measure", "evaluation.statistics"},
    {"evaluation.sections"},
    {"evaluation.sanity", "evaluation.explanation"},
    {"evaluation.tasks"},
    {"evaluation.report", "evaluation.export"},
    {"evaluation"},
    {"studies"},
    {"bundles", "commands"},
    {"__main__"},
]


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """The room of a module: the longest name among the floors that it begins with."""
    inner = module.removeprefix("monai_robust").lstrip(".")
    names = set().union(*FLOORS)
    return max((name for name in names if f"{inner}.".startswith(f"{name}.")), key=len, default=inner)


def hands_on(module: str) -> bool:
    """Whether a module is a folder's page, which only hands names on, also those of rooms above its floor."""
    return MODULES[module].name == "__init__.py"


def floor(module: str) -> int:
    if module == "monai_robust":
        return -1
    return next(level for level, rooms in enumerate(FLOORS) if room(module) in rooms)


def imports(module: str) -> Iterator[str]:
    """Modules of ours that a module imports, anywhere in its file."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "monai_robust")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which the floors cannot be read from"
            source = node.module or ""
            if source.split(".")[0] == "monai_robust":
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield inner if inner in MODULES else source


def test_every_module_stands_on_a_floor():
    known = set().union(*FLOORS)
    assert {room(module) for module in MODULES if module != "monai_robust"} <= known
    assert {"monai_robust.attacks.threat", "monai_robust.engines.robust_update"} <= set(MODULES)


def test_a_module_imports_only_what_stands_below_it():
    wrong = []
    for module in MODULES:
        for imported in imports(module):
            assert imported in MODULES, f"{module} imports {imported}, which is no module"
            inside = room(imported) == room(module) or (hands_on(module) and imported.startswith(f"{module}."))
            if not inside and floor(imported) >= floor(module):
                wrong.append(f"{module} imports {imported} from its own floor or one above")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    finished: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"circle: {' -> '.join((*way[way.index(module) :], module))}"
        if module in finished:
            return
        for imported in dict.fromkeys(imports(module)):
            visit(imported, (*way, module))
        finished.add(module)

    for module in MODULES:
        visit(module, ())
    assert finished == set(MODULES)


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="imports are tried in a fork, which has MONAI already")
def test_any_folder_can_be_the_first_to_be_imported(tmp_path):
    """What a folder's page hands on must not be asked for while the page is half imported."""
    pages = [name for name, path in MODULES.items() if path.name == "__init__.py" and name.count(".") == 1]
    importlib.import_module("monai_robust.commands.app")  # with what others it needs
    report = tmp_path / "imported"
    report.touch()
    child = os.fork()
    if child == 0:
        gc.disable()
        try:
            for page in pages:
                for name in [name for name in sys.modules if name.startswith("monai_robust.")]:
                    del sys.modules[name]
                importlib.import_module(page)
                report.write_text(f"{report.read_text()}{page}\n")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert report.read_text().split() == pages


def assigned_names(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_module_says_what_it_offers_and_defers_its_annotations():
    for module, path in MODULES.items():
        text = path.read_text()
        assert "from __future__ import annotations\n" in text, module
        assert ast.get_docstring(ast.parse(text)), f"{module} must say in a line what it is for"
        if not module.endswith("__main__"):  # started, not imported from
            assert "__all__" in assigned_names(path), module


def test_what_a_module_offers_is_there():
    for module in MODULES:
        if module.endswith("__main__"):
            continue
        loaded = importlib.import_module(module)
        assert len(set(loaded.__all__)) == len(loaded.__all__), module
        assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == [], module


def test_a_folder_shows_its_parts_at_once():
    folders = {path.parent for path in MODULES.values()}
    halls = {str(one.relative_to(REPOSITORY)): len(list(one.glob("*.py"))) for one in folders}
    assert {name: count for name, count in halls.items() if count > 20} == {}


def test_a_folder_hands_on_all_that_its_modules_offer_to_users():
    """Folders re-export and define nothing, apart from the overlays, whose folder is mostly YAML."""
    for module, path in MODULES.items():
        if path.name != "__init__.py" or module in ("monai_robust", "monai_robust.overlays"):
            continue
        body = ast.parse(path.read_text()).body
        odd = [node for node in body if not isinstance(node, (ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr))]
        assert odd == [], module


def monais_own(names: set[str]) -> set[str]:
    """Those names by which MONAI finds a class or function of its own package."""
    locator = ComponentLocator()

    def is_monais(name: str) -> bool:
        modules = locator.get_component_module_name(name)
        found = [modules] if isinstance(modules, str) else modules or []
        return any(module == "monai" or module.startswith("monai.") for module in found)

    return {name for name in names if is_monais(name)}


def public_definitions() -> dict[str, str]:
    found = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                found[node.name] = module
    return found


def test_no_public_name_of_ours_shadows_one_of_monais():
    theirs = {"SupervisedTrainer", "DiceLoss", "AdversarialTrainer"}
    assert monais_own(theirs) == theirs
    ours = public_definitions()
    assert {"PGD", "RobustUpdate", "BrierScore"} <= set(ours)
    offered = {
        name
        for module, path in MODULES.items()
        if path.name == "__init__.py"
        for name in importlib.import_module(module).__all__
    }
    assert {name: ours[name] for name in monais_own(set(ours))} == {}
    assert monais_own(offered) == set()


def configurations() -> list[Path]:
    overlays = sorted((PACKAGE / "overlays").glob("*.yaml"))
    bundles = sorted(path for suffix in ("yaml", "yml", "json") for path in BUNDLES.glob(f"*/configs/**/*.{suffix}"))
    return [*overlays, *bundles]


def targets(config: object) -> Iterator[str]:
    if isinstance(config, dict):
        if "_target_" in config:
            yield config["_target_"]
        for value in config.values():
            yield from targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from targets(value)


@pytest.mark.parametrize("path", configurations(), ids=lambda path: f"{path.parent.parent.name}/{path.name}")
def test_targets_of_configurations_are_dotted_and_can_be_imported(path):
    for target in targets(yaml.safe_load(path.read_text())):
        assert "." in target, f"{target} would be looked up by its bare name"
        assert callable(locate(target)), target


def test_there_are_configurations_to_look_at():
    assert len(configurations()) >= 14
    assert sum(len(list(targets(yaml.safe_load(path.read_text())))) for path in configurations()) > 40


def test_no_path_of_anybodys_machine_is_in_a_tracked_file():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith("tests/")]
    if listed.returncode or not names:
        pytest.skip("this is no git checkout")
    places = ["/" + place + "/" for place in ("work", "root", "tmp", "home")]
    found = []
    for name in names:
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content[:8000]:
            found += [f"{name}: {place}" for place in places if place in content.decode(errors="replace")]
    assert found == []


def test_everything_in_the_package_that_is_no_python_is_declared_as_package_data():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and later
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["monai_robust"]
    others = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert {"py.typed", "overlays/rtda.yaml", "evaluation/report/templates/report.html.j2"} <= set(others)
    assert [name for name in others if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []
