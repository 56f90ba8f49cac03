"""A device that is not the CPU, where there is none: tensors that say they are on one and compute on the CPU.

As on a GPU, an operation raises where a tensor was left on the CPU, but for the few that torch allows: numbers (tensors of no
dimension), copies from one to the other, and places on the CPU that index what is on the GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from importlib import import_module
from types import ModuleType

import pytest
import torch
import torch._dynamo  # or it is imported by the first operation, and looks at what is patched below
from accelerate.state import AcceleratorState, PartialState
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from lungnb.training import make_accelerator

#: "meta" stands for the other device: torch knows no more of it than its name, while "cuda" would ask for a driver.
OTHER = torch.device("meta")
_aten = torch.ops.aten
_COPIES = {_aten._to_copy, _aten.copy_}
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
_LAZY = {_aten._conj: torch.conj_physical, _aten._neg_view: torch.neg}  # a bit of `inner`, which nobody would see


class OtherTensor(torch.Tensor):
    """A tensor on OTHER, whose values are those of `inner`, on the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        how = {"dtype": inner.dtype, "layout": inner.layout, "device": OTHER, "strides": inner.stride()}
        self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, storage_offset=inner.storage_offset(), **how)
        self.inner = inner
        return self

    def __repr__(self, *args):
        return f"{self.inner!r} on {OTHER}"

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _compute(operation, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Within it OTHER can be named as the device of new tensors, and networks can be moved there."""

    def __enter__(self):
        self.before = fits, tensor = torch._has_compatible_shallow_copy_type, torch.tensor
        # `Module.to` would put a tensor of the other kind into the old parameter, which then had no `inner`.
        torch._has_compatible_shallow_copy_type = lambda old, new: (
            old is new or (fits(old, new) and not isinstance(old, OtherTensor) and not isinstance(new, OtherTensor))
        )
        # torch makes the tensors of numbers itself, without values on "meta".
        torch.tensor = wraps(tensor)(lambda data, device=None, **how: tensor(data, **how).to(device or "cpu"))
        return super().__enter__()

    def __exit__(self, *error):
        torch._has_compatible_shallow_copy_type, torch.tensor = self.before
        return super().__exit__(*error)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _compute(operation, args, kwargs or {})


@contextmanager
def training_elsewhere(patch: pytest.MonkeyPatch, *modules: ModuleType) -> Iterator[None]:
    """What `modules` train is on OTHER. What torch asks of a GPU's own library is answered by the CPU's: random numbers, the
    fused step."""

    def accelerator(*how):
        found = make_accelerator("cpu")
        PartialState._shared_state["device"] = AcceleratorState._shared_state["device"] = OTHER
        return found

    for module in modules:
        patch.setattr(module, "make_accelerator", accelerator)
    patch.setattr(torch, "Generator", lambda device="cpu", new=torch.Generator: new("cpu"))
    patch.setattr(torch, "autocast", lambda *device, **how: nullcontext())
    patch.setattr(import_module("torch.optim.optimizer"), "_get_fused_kernels_supported_devices", lambda: [OTHER.type])
    with OtherDevice():
        yield
    make_accelerator("cpu")


def _compute(operation, args, kwargs):
    """What `operation` gives on the CPU, said to be on OTHER if an argument is, or if it is named as the device."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    there, packet = [isinstance(x, OtherTensor) for x in tensors], operation.overloadpacket
    if any(there) and packet not in _COPIES and not (packet in _INDEXED and there[0]):
        for x, is_there in zip(tensors, there, strict=True):
            if x.dim() and not is_there:
                shape = tuple(x.shape)
                raise RuntimeError(f"{operation}: expected all tensors on {OTHER}, but one {shape} is on the CPU")
    inner_args, inner_kwargs = tree_map(lambda x: x.inner if isinstance(x, OtherTensor) else x, (args, kwargs))
    to_other = any(there)
    if kwargs.get("device") is not None:
        to_other = torch.device(kwargs["device"]) == OTHER
        inner_kwargs["device"] = torch.device("cpu")
    result = _LAZY.get(packet, operation)(*inner_args, **inner_kwargs)
    if torch.Tag.inplace_view in operation.tags and any(there):  # the shape of what is said to be there changes as well
        with no_dispatch():
            operation(*args, **kwargs)
    if operation._schema.is_mutable:  # in place: what was given, not a second name of it
        schema = operation._schema.arguments[: len(args)]
        written = [a for a, s in zip(args, schema, strict=True) if s.alias_info and s.alias_info.is_write]
        n_returned = len(operation._schema.returns)
        return None if not n_returned else written[0] if n_returned == 1 else tuple(written)
    return tree_map(lambda x: OtherTensor(x) if to_other and isinstance(x, torch.Tensor) else x, result)
