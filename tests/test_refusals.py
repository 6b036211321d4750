"""What a user can mend ends in one sentence on standard error and exit status 2: folders, disks, causes, overlays."""

from __future__ import annotations

import errno
import logging
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import REPOSITORY
from monai.bundle import run as run_bundle
from synthetic_runs import write_run
from test_overlays import FOREIGN
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.asyncio import tqdm as tqdm_of_others

from monai_robust.commands.app import main
from monai_robust.data import write_radiograph_phantoms
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import (
    BadInputError,
    BadSampleError,
    in_one_line,
    install_excepthook,
    user_error,
    user_sentence,
    writing,
)
from monai_robust.overlays import overlay_path

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, of every configuration

CHEST = REPOSITORY / "bundles" / "chest_xray_classification"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a run that speaks plainly changes in its process, put back."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr("monai_robust.errors._EXPLAIN", [])
    monkeypatch.delitem(sys.modules, "monai_robust.overlays.excepthook", raising=False)
    make = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(make)


def said(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    """Exit status and standard error of a process that ends by an error, as the excepthook has them."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        sys.excepthook(type(error), error, error.__traceback__)
    return int(str(stop.value.code)), capsys.readouterr().err


def raised(function: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (whatever it is, the hook is asked)
        function()
    return caught.value


def chain(inner: BaseException, kind: str) -> BaseException:
    """An error as something between us and the user hands it on."""

    def fail() -> None:
        if kind == "cause":
            raise RuntimeError("Failed to evaluate") from inner
        if kind == "context":
            try:
                raise inner
            except type(inner):
                raise RuntimeError("while tidying up")  # noqa: B904 (that is the case)
        if kind == "both":
            try:
                raise KeyError("something handled") from inner
            except KeyError as error:
                raise RuntimeError("Failed to instantiate") from error
        raise RuntimeError("of several") from _group([ValueError("another"), inner])

    return raised(fail)


def _group(errors: list[BaseException]) -> BaseException:
    """What has the form of an exception group, which Python has from 3.11 on."""
    group = RuntimeError("several")
    group.exceptions = errors  # type: ignore[attr-defined]
    return group


@pytest.mark.parametrize("kind", ["cause", "context", "both", "group"])
def test_the_sentence_is_found_wherever_it_stands_in_a_chain(hooks, capsys, kind: str) -> None:
    install_excepthook()
    assert said(capsys, chain(BadSampleError("film.png is cut short"), kind)) == (2, "error: film.png is cut short\n")
    assert isinstance(user_error(chain(KeyboardInterrupt(), "cause")), KeyboardInterrupt)


def test_an_error_of_ours_in_a_process_that_loads_data_is_its_sentence(hooks, capsys) -> None:
    install_excepthook()
    error = raised(lambda: list(DataLoader([1, 2], num_workers=1, collate_fn=_refuse)))
    assert said(capsys, error) == (2, "error: film.png is cut short\n")


def test_the_sentence_stands_below_the_bars_that_were_open(hooks, capsys) -> None:
    install_excepthook()
    ours, foreign = tqdm(total=3, desc="ours"), tqdm_of_others(total=3, desc="another program's")
    ours.update(1)
    assert said(capsys, BadInputError("film.png is cut short"))[1].endswith("\nerror: film.png is cut short\n")
    assert ours.disable
    assert foreign.disable


def _refuse(batch: object) -> object:
    raise BadSampleError("film.png is cut short")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "gone/x"), "gone/x cannot be used: No such file"),
        (PermissionError(errno.EACCES, "Permission denied", "out/model.pt"), "out/model.pt cannot be used: Permission"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "out cannot be used: Read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.csv"), "out/a.csv cannot be written: No space left"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be written: No space left on device; make"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), "out is a file where a folder is needed; name another"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out"), "out is a folder where a file is needed"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_system_refuses_of_a_users_file_is_one_sentence(hooks, capsys, error, sentence, wrapped) -> None:
    install_excepthook()
    status, line = said(capsys, chain(error, "cause") if wrapped else error)
    assert status == 2
    assert line.startswith(f"error: {sentence}")
    assert line.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback_also_after_a_file_was_handled(hooks, capsys) -> None:
    install_excepthook()
    error = chain(FileNotFoundError(errno.ENOENT, "No such file or directory", "optional.json"), "context")
    assert user_sentence(error) is None
    sys.excepthook(type(error), error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


def test_a_refusal_is_one_line_whatever_it_quotes() -> None:
    assert (
        str(BadInputError("a.yaml cannot be read:\n  mapping\n\tin line 3"))
        == "a.yaml cannot be read: mapping in line 3"
    )
    assert in_one_line("x" * 2000, 100).count("x") < 100


def test_logs_of_a_users_error_have_no_traceback(hooks, caplog) -> None:
    install_excepthook()
    for error, shown in ((BadInputError("film.png is cut short"), False), (ZeroDivisionError("ours"), True)):
        caplog.clear()
        try:
            raise error
        except type(error):
            logging.getLogger("stats").exception("Exception: %s", error)
        assert ("Traceback" in caplog.text) == shown


def test_the_file_that_was_to_be_written_is_named_and_no_device_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, writing("out/table.csv"):
        Path("/dev/full").write_text("x")
    assert caught.value.filename == "out/table.csv"
    (tmp_path / "table.csv").symlink_to("/dev/full")
    for path, what in ((tmp_path / "table.csv", "no regular file"), (tmp_path, "a folder")):
        with pytest.raises(BadInputError, match=f"is {what}"):
            write_whole(path, b"1")


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may become larger than 200 bytes, which the system refuses as it refuses to write to a full disk.

    Within a test: the log of the tests may be a file, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_radiograph_phantoms(tmp_path_factory.mktemp("data") / "films", patients=24, size=32)


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run_bundle(config_file=str(CHEST / "configs" / "train.yaml"), **settings(films, folder))
    return folder / "model.pt"


def settings(films: Path, output_dir: str | Path, **more: object) -> dict[str, object]:
    given = {"bundle_root": CHEST, "dataset_dir": films, "output_dir": output_dir}
    return {**{name: str(path) for name, path in given.items()}, "image_size": 32, "epochs": 1, **more}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    write_run(tmp_path / "run")
    return tmp_path


OUTPUTS = ["file", "file/below"]


def commands(output: str, films: Path, trained: Path) -> dict[str, list[object]]:
    bundle = [CHEST, "--dataset_dir", films, "--image_size", 32]
    return {
        "phantoms": ["phantoms", "--output_dir", output, "--patients", 12, "--size", 32],
        "bundle": ["bundle", "chest_xray_classification", output],
        "datalist": ["datalist", films, "--output", f"{output}/list.json"],
        "overlay": ["overlay", "at", "--for", CHEST / "configs" / "train.yaml", "--output", f"{output}/at.yaml"],
        "report": ["report", "run", "--output", f"{output}/report.html"],
        "demo": ["demo", "--output_dir", output],
        "step-search": ["step-search", *bundle, "--steps", "1", "--output_dir", output],
        "evaluate": ["evaluate", *bundle, "--checkpoint", trained, "--output_dir", output, "--radii", "[0.1]"],
    }


@pytest.mark.parametrize("output", OUTPUTS)
def test_no_command_writes_where_a_file_stands_and_each_says_so(
    output: str, films: Path, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, words in commands(output, films, trained).items():
        monkeypatch.setattr(sys, "argv", ["monai-robust", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        last = capsys.readouterr().err.splitlines()[-1]
        assert stop.value.code == 2, name
        assert last.startswith("error: "), (name, last)
        assert output in last or str(Path(output).parent) in last, (name, last)
        assert ".partial" not in last, name
        assert ".part " not in last, name
    assert (place / "file").read_text() == "in the way"


BUNDLE_RUNS = {"training": ["train"], "evaluation": ["train", "evaluate"], "measurement": ["train", "robustness"]}


@pytest.mark.parametrize("what", [*BUNDLE_RUNS, "inference"])
def test_no_run_of_a_bundle_writes_where_a_file_stands(
    what: str, films: Path, trained: Path, place: Path, hooks, capsys
) -> None:
    configs = BUNDLE_RUNS.get(what, [what])
    given = settings(films, "file/below" if what == "training" else "file")
    if what != "training":
        given["checkpoint"] = str(trained)
    if what == "inference":
        given = {name: given[name] for name in ("bundle_root", "output_dir", "checkpoint")}
        given["dataset_dir"] = str(films / "dicom")
    files = [str(CHEST / "configs" / f"{name}.yaml") for name in configs]
    status, line = said(capsys, raised(lambda: run_bundle(config_file=files, **given)))
    assert status == 2
    assert line.startswith("error: file")
    assert line.count("\n") == 1


def test_a_full_disk_ends_each_command_in_one_line_that_names_the_file(
    films: Path, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (place / "out").mkdir()
    for name, words in commands("out/new", films, trained).items():
        if name in ("demo", "step-search"):
            continue  # what they start first writes less
        monkeypatch.setattr(sys, "argv", ["monai-robust", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop, small_disk():
            main()
        last = capsys.readouterr().err.splitlines()[-1]
        assert stop.value.code == 2, name
        assert last.startswith("error: out/new"), (name, last)
        assert "cannot be written: File too large" in last, (name, last)


@pytest.mark.parametrize("name", ["at", "attack"])
def test_an_overlay_makes_a_foreign_bundle_speak_plainly_from_its_first_component_on(
    name: str, tmp_path: Path, hooks, capsys
) -> None:
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(FOREIGN.replace("$torch.manual_seed(3)", "$open(@missing)").replace("device: cpu", MISSING))
    files = [str(bundle), str(overlay_path(name))]
    assert sys.excepthook is sys.__excepthook__
    error = raised(lambda: run_bundle(config_file=files, bundle_root=str(tmp_path)))
    assert said(capsys, error) == (
        2,
        "error: gone.txt cannot be used: No such file or directory; name another file or folder\n",
    )


MISSING = "device: cpu\nmissing: gone.txt"
