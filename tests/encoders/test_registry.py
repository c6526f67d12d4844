"""The registry of encoders."""

from __future__ import annotations

import pytest

from voxelcast.core.errors import UnknownNameError
from voxelcast.encoders.registry import ENCODERS, get_encoder, list_encoders


def test_lists_and_makes_encoders() -> None:
    assert list_encoders() == tuple(sorted(ENCODERS))
    assert len(list_encoders()) == 23
    assert {"cca", "elastic_net", "lasso", "mlp", "ols", "omp", "pls", "pls_canonical", "ridge"} < set(list_encoders())
    assert list_encoders("kernel_*") == ("kernel_ridge_linear", "kernel_ridge_polynomial", "kernel_ridge_rbf")
    assert list_encoders("x*") == ()
    assert all(get_encoder(name).name == name for name in list_encoders())


def test_an_unknown_encoder_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"encoder 'rigde' does not exist; did you mean ridge\?"):
        get_encoder("rigde")
