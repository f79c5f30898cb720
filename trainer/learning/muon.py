"""Muon: momentum whose update is made orthogonal (K. Jordan et al., 2024).

torch.optim.Muon takes matrices only; convolution kernels are matrices [out, in · 3 · 3] here.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that drives all singular values towards 1 in five steps."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrix with orthonormal rows or columns: [m, n] to [m, n]."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for kernels of two or more dimensions."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                velocity = state["velocity"].mul_(group["momentum"]).add_(parameter.grad)
                ahead = parameter.grad.add(velocity, alpha=group["momentum"])
                update = orthogonalise(ahead.contiguous().flatten(1))
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)
