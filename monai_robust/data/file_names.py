"""Files as ids: by their path below the folder that all of a data set's files have in common."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath

__all__ = ["below", "common_folder", "folder_of_files", "moved_names"]


def folder_of_files(files: Iterable[str]) -> str:
    """The deepest folder that all files lie in, from the root; "" for no files, and for those of several drives.

    >>> folder_of_files(["/data/imagesTr/a.nii", "/data/imagesTr/b/c.nii"])
    '/data/imagesTr'
    """
    return common_folder(os.path.dirname(os.path.abspath(one)) for one in files)


def common_folder(folders: Iterable[str]) -> str:
    """The deepest folder that all folders lie in; "" for none, and for those of several drives.

    >>> common_folder(["/data/site_a", "/data/site_b/scans"])
    '/data'
    """
    known = list(dict.fromkeys(folders))
    try:
        return os.path.commonpath(known)
    except ValueError:
        return ""


def below(file: str, folder: str) -> str:
    """A file by its path below a folder, with ``/`` on every machine; as it is where it lies elsewhere.

    >>> below("/data/imagesTr/patient1/t1.nii", "/data/imagesTr"), below("/other/t1.nii", "/data/imagesTr")
    ('patient1/t1.nii', '/other/t1.nii')
    """
    whole = Path(os.path.abspath(file))
    if not folder or not whole.is_relative_to(folder) or whole == Path(folder):
        return file
    return whole.relative_to(folder).as_posix()


def moved_names(kept: Collection[str], known: Collection[str], folder: str) -> dict[str, str]:
    """What names that were kept are called now, where they are paths of files and ``known`` ones lie below ``folder``.

    Older versions kept whole paths, and a checkpoint may be of a data set that lay elsewhere, or in a larger folder.

    Args:
        kept: names of samples in a checkpoint.
        known: names of the data set's samples, by their path below its folder.
        folder: of the data set.

    Returns:
        New names by old ones; none where that finds no more of the known ones than there are already.
    """
    names, found = set(known), sum(name in kept for name in known)
    own = common_folder(str(PurePath(one).parent) for one in kept)
    made: dict[str, str] = {}
    for candidate in ({one: below(one, folder) for one in kept}, {one: _without(one, own) for one in kept}):
        new = set(candidate.values())
        if len(new) == len(candidate) and len(names & new) > found:
            found, made = len(names & new), candidate
    return made


def _without(name: str, folder: str) -> str:
    path = PurePath(name)
    return path.relative_to(folder).as_posix() if folder and path.is_relative_to(folder) else name
