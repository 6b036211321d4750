"""To import this module is to end a run that meets a user's error with one line (:func:`install_excepthook`).

Overlays import it, because all that MONAI does with a configuration of somebody else's before its first component is
made is to run the import statements in it.
"""

from __future__ import annotations

from monai_robust.configuration.explaining import configuration_sentence
from monai_robust.errors import install_excepthook

__all__: list[str] = []

install_excepthook(configuration_sentence)
