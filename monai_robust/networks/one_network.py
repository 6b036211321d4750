"""What was learned of one network is of no use, and no longer a beginning, in the training of another."""

from __future__ import annotations

import weakref
from typing import Any

from monai_robust.errors import BadInputError

__all__ = ["OneNetwork"]


class OneNetwork:
    """The network that something was learned of, such as margins or starts of attacks.

    Args:
        what: was learned, in the plural.
        made_by: the class that holds it.
    """

    def __init__(self, what: str, made_by: str) -> None:
        self.what = what
        self.made_by = made_by
        self._network: weakref.ref[Any] | None = None

    def require(self, network: Any, *, learned: bool) -> None:
        """Take note of the network that is trained now.

        Args:
            network: the trainer's, without what it is wrapped in; None, of which nothing is told, where it has none.
            learned: whether anything was learned so far.

        Raises:
            BadInputError: where that was of another network.
        """
        if learned and network is not None and self._network is not None and self._network() is not network:
            raise BadInputError(
                f"the {self.what} were learned of another network, in an earlier training; give each training a "
                f"{self.made_by} of its own, or a checkpoint that holds them to go on from"
            )
        self._network = None if network is None else weakref.ref(network)

    def forget(self) -> None:
        """Let what is restored from a checkpoint go on with any network."""
        self._network = None
