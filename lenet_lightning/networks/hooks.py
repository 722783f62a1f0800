"""Hooks that somebody has registered on a module."""

from torch import nn


def has_hooks(module: nn.Module) -> bool:
    """Return whether this module itself, not one inside it, has a forward or backward hook, or one before these."""
    # torch has no public way to ask
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
