"""A stranger's configuration made into objects, without its side effects, and with one sentence for what fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, PersistentDataset, SmartCacheDataset
from monai.engines import Evaluator, Trainer
from monai.transforms import SaveClassificationd, SaveImage, SaveImaged

from monai_robust.configuration.components import Component, components, referred
from monai_robust.configuration.explaining import chain_of, configuration_sentence
from monai_robust.configuration.macros import expanded
from monai_robust.configuration.values import check_signs
from monai_robust.errors import BadInputError, in_one_line, user_error

__all__ = ["build", "for_one_batch", "parser_of", "sentences", "single_process", "without_handlers"]

_EMPTY = re.compile(r"num_samples should be a positive integer|num_samples=0|has no items|empty (list|sequence|data)")
_FEW = 64
_CACHED = 16  # items of a data set that must cache some, which is enough for a batch
_PLACE = re.compile(r"(\w+_)?(dir|root|path|folder|file|datalist|data_list)(_\w+)?")


def parser_of(
    files: tuple[Path, ...], folder: Path, metadata: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> ConfigParser:
    """A parser of configuration files as ``monai.bundle run`` makes it from within the bundle's folder.

    A device that this machine lacks becomes the CPU.

    Raises:
        BadInputError: for files that cannot be merged.
    """
    parser = ConfigParser()
    try:
        parser.read_config([str(file) for file in files])
    except Exception as error:
        names = ", ".join(file.name for file in files)
        raise BadInputError(f"{names} of {folder} cannot be read as MONAI bundle configuration: {error}") from error
    if metadata:
        parser["_meta_"] = dict(metadata)
    if "bundle_root" in parser.get():
        check_signs("bundle_root", folder)
        parser["bundle_root"] = str(folder)
    for name, value in (overrides or {}).items():
        try:
            parser[name] = value
        except (KeyError, IndexError, ValueError) as error:
            raise BadInputError(f"the bundle has no id {name}, which is to be set: {error}") from error
    if not torch.cuda.is_available() and "cuda" in str(parser.get().get("device", "")):
        parser["device"] = "$torch.device('cpu')"
    try:
        parser.set(expanded(parser.get()))
    except Exception as error:
        names = ", ".join(file.name for file in files)
        raise BadInputError(f"a macro (%) of {names} of {folder} names what is not there: {error}") from error
    return parser


def without_handlers(parser: ConfigParser) -> None:
    """Take away what writes or reads files: the handlers of all engines, and transforms that save images."""
    for engine in [one for one in components(parser.get()) if one.is_a(Trainer, Evaluator)]:
        for name in ("train_handlers", "val_handlers"):
            if engine.config.get(name) is not None:
                parser[f"{engine.id}#{name}"] = None
    for one in [one for one in components(parser.get()) if _saves(one)]:
        parser[f"{one.id}#_disabled_"] = True


def _saves(one: Component) -> bool:
    return one.is_a(SaveImage, SaveImaged, SaveClassificationd)


def for_one_batch(parser: ConfigParser, *, few: bool = False) -> None:
    """Change a configuration so that making it caches, downloads and compiles nothing: a batch is all that is wanted,
    and weights do not matter.

    Args:
        parser: of the configuration.
        few: its ids have the meaning they have in the bundles of monai-robust, which read all their images at once
            unless ``limit`` says how many.
    """
    if few and "limit" in parser.get() and parser.get()["limit"] is None:
        parser["limit"] = _FEW
    for one in list(components(parser.get())):
        if one.is_a(PersistentDataset):
            parser[f"{one.id}#cache_dir"] = None
        elif one.is_a(SmartCacheDataset):  # which holds nothing but what it caches
            own = referred(parser.get(), one.config.get("cache_num"))[1]
            parser[f"{one.id}#cache_num"] = min(_CACHED, own) if isinstance(own, int) else _CACHED
            parser[f"{one.id}#progress"] = False
        elif one.is_a(CacheDataset):
            parser[f"{one.id}#cache_num"] = 0
        for name in ("download", "pretrained", "compile", "progress"):
            if referred(parser.get(), one.config.get(name))[1] is True:
                parser[f"{one.id}#{name}"] = False


def build(parser: ConfigParser, identifier: str, folder: Path, packages: Mapping[str, str]) -> Any:
    """The object that an id of a configuration stands for.

    Raises:
        BadInputError: one sentence that says what the bundle lacks: a package, a class, an id, data.
    """
    with sentences(parser, f"{identifier} of {folder.name}", packages):
        return parser.get_parsed_content(identifier)


@contextmanager
def sentences(parser: ConfigParser, what: str, packages: Mapping[str, str]) -> Iterator[None]:
    """Have whatever a bundle's own parts raise within said in one sentence.

    Args:
        parser: of the configuration.
        what: was being done; begins the sentence.
        packages: versions that the bundle's metadata asks for.

    Raises:
        BadInputError: in place of any exception.
    """
    try:
        yield
    except Exception as error:
        known = user_error(error)
        if known is not None:
            raise known from error
        raise BadInputError(_sentence(error, what, parser.get(), packages)) from error


def _sentence(error: BaseException, what: str, config: Mapping[str, Any], packages: Mapping[str, str]) -> str:
    chain = list(chain_of(error))
    gone = _places_not_there(config)
    root = chain[-1]
    reason = in_one_line(str(root) or type(root).__name__, 300)
    no_data = any(isinstance(one, FileNotFoundError) or _EMPTY.search(str(one)) for one in chain)
    if no_data and gone:
        return f"{what} finds no data: {gone}"
    known = configuration_sentence(error, what, packages)
    if known is not None:
        return known
    if any(_EMPTY.search(str(one)) for one in chain):
        folder = config.get("dataset_dir")
        where = f" from dataset_dir, {folder}," if isinstance(folder, str) and not folder.startswith("$") else ""
        return (
            f"{what} finds no data: the list that it makes{where} is empty; see that all it lists is there, labels too"
        )
    if no_data:
        return f"{what} finds no data: {reason}"
    hint = f" ({gone})" if gone else ""
    return f"{what} fails: {type(root).__name__}: {reason}{hint}"


def _places_not_there(config: Mapping[str, Any]) -> str | None:
    """The ids at the top that name a place which is not there, and how to name another one."""
    gone = [
        (str(name), value)
        for name, value in config.items()
        if isinstance(value, str)
        and _PLACE.fullmatch(str(name))
        and not value.startswith(("$", "@", "%"))
        and ("/" in value or "\\" in value)
        and not Path(value).expanduser().exists()
        and not re.search(r"out|ckpt|checkpoint|model|log|eval|cache", str(name))
    ]
    if not gone:
        return None
    told = " and ".join(f"{name} is {value}, which is not there" for name, value in gone)
    first = gone[0][0]
    return f"{told}; say where it is (attach --set {first}=PATH, evaluate --{first} PATH)"


@contextmanager
def single_process(loader: Any) -> Iterator[None]:
    """Have a data loader load in this process within, since a batch is all that is wanted."""
    if not isinstance(loader, torch.utils.data.DataLoader) or not loader.num_workers:
        yield
        return
    workers, ahead = loader.num_workers, loader.prefetch_factor
    loader.num_workers, loader.prefetch_factor = 0, None
    try:
        yield
    finally:
        loader.num_workers, loader.prefetch_factor = workers, ahead
