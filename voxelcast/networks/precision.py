"""How exactly a network computes: float32, or one of two ways that are faster and less exact.

``float32``: single precision throughout (on a GPU without TF32), the module as it was built.

``tf32``: on a GPU, products of convolutions and linear maps with 10 bits of mantissa; on a CPU the same as float32.

``bfloat16``: convolutions and linear maps in bfloat16 (8 bits of mantissa, sums in single precision), everything that
torch's autocast keeps in single precision stays there. On a CPU, batch normalisations are folded into the convolutions
before them first; on a GPU that was measured to be slower, since the bias then costs a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from voxelcast.networks.base import Precision


def set_precision(module: nn.Module, precision: Precision, layers: Sequence[str], device: torch.device) -> nn.Module:
    """Change a module in eval mode, in place, for a precision, before its forward passes; see :func:`computing_in`.

    The outputs of ``layers`` (module paths) stay what they were.
    """
    if precision != "bfloat16":
        return module
    if device.type == "cpu":
        fold_batch_norms(module, keep=layers)
    for part in module.modules():
        # Exactly these classes: autocast knows what to do with their weights, a subclass may do something else.
        if type(part) in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear):
            part.to(torch.bfloat16)
    return module


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision, without gradients, and give the same bits each time."""
    tf32 = precision == "tf32"
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(same_bits(allow_tf32=tf32))
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", before)
        if precision == "bfloat16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        yield


def same_bits(*, allow_tf32: bool = False) -> AbstractContextManager[None]:
    """Ask cuDNN for the same bits each time inside a block, and for float32 throughout unless TF32 is allowed."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32
    )
    return flags


def fold_batch_norms(module: nn.Module, *, keep: Sequence[str] = ()) -> int:
    """Fold batch normalisations into the 2-D convolutions whose output only they see, and return how many.

    With running mean m, variance v, scale g and shift b, ``g (W x + c - m) / sqrt(v + eps) + b`` is a convolution with
    weights ``g W / sqrt(v + eps)``. An identity replaces the normalisation, so that its path still names the same
    activations. The module, in eval mode, is changed in place; one whose flow of data cannot be traced is left as it
    is, and so are convolutions named in ``keep``, whose own output is asked for.
    """
    try:
        nodes = list(fx.Tracer().trace(module).nodes)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        # What tracing meets in a module that branches on its data differs from module to module.
        return 0
    parts = dict(module.named_modules())
    calls = [str(node.target) for node in nodes if node.op == "call_module"]
    folded = 0
    for node in nodes:
        if node.op != "call_module" or type(parts[str(node.target)]) is not nn.BatchNorm2d:
            continue
        before, name = node.args[0], str(node.target)
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        source = str(before.target)
        norm, convolution = parts[name], parts[source]
        if type(convolution) is not nn.Conv2d or source in keep or calls.count(source) > 1 or calls.count(name) > 1:
            continue
        assert isinstance(norm, nn.BatchNorm2d)
        if norm.running_mean is None or norm.training:
            continue
        module.set_submodule(source, fuse_conv_bn_eval(convolution, norm))
        module.set_submodule(name, nn.Identity())
        folded += 1
    return folded
