"""nnU-Net's optimiser and its learning rate from epoch to epoch."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import PolynomialLR

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_above_zero, is_whole

__all__ = ["planned_optimizer", "poly_schedule"]


def planned_optimizer(network: nn.Module, learning_rate: float = 1e-2) -> SGD:
    """Stochastic gradient descent with Nesterov momentum 0.99 and weight decay 3e-5.

    Source: Isensee et al. 2021 (nnU-Net), which also clips the gradient's norm at 12; that is the trainer's to do.

    Args:
        network: whose parameters are trained.
        learning_rate: of the first epoch.

    Raises:
        BadInputError: for a learning rate that is not above 0.
    """
    if not is_above_zero(learning_rate):
        raise BadInputError(f"learning_rate is {learning_rate}; it must be above 0")
    return SGD(network.parameters(), lr=learning_rate, momentum=0.99, nesterov=True, weight_decay=3e-5)


def poly_schedule(optimizer: Optimizer, epochs: int, power: float = 0.9) -> PolynomialLR:
    """The learning rate of epoch e, counted from 0: lr * (1 - e / epochs) ** power; one step an epoch.

    Source: Isensee et al. 2021 (nnU-Net).

    Args:
        optimizer: whose learning rate falls.
        epochs: of the whole training; after them the learning rate is 0.
        power: 1 falls along a line; smaller values stay high for longer.

    Raises:
        BadInputError: for no epoch.
    """
    if not is_whole(epochs, 1):
        raise BadInputError(f"a schedule of {epochs} epochs is none; take 1 or more")
    return PolynomialLR(optimizer, total_iters=epochs, power=power)
