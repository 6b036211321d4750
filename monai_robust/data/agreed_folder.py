"""The folder that samples are named from by their files, the same in all processes of a training."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist

from monai_robust.data.file_names import common_folder
from monai_robust.data.sample_ids import WithSampleIds, image_folder
from monai_robust.errors import BadInputError

__all__ = ["agreed_folder"]


def agreed_folder(dataset: Any) -> str:
    """The folder that the files of all processes' images lie in, see :func:`image_folder`; all have to ask.

    Raises:
        BadInputError: where each process has a part of the data by itself, wrapped in ``WithSampleIds``, whose names
            are not those of one folder.
    """
    own = image_folder(dataset)
    named = dataset.known.folder if isinstance(dataset, WithSampleIds) else ""
    parts: Any = idist.all_gather({"own": own, "named": named})
    if len({part["named"] for part in parts}) > 1:
        raise BadInputError(
            "the processes name samples from different folders, as each has WithSampleIds around its own part of the "
            "data; wrap all of it and let a DistributedSampler divide it, or give the items a sample_id"
        )
    folders = [part["own"] for part in parts]
    return common_folder(folders) if all(folders) else ""
