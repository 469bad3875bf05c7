"""How a process begins."""

from __future__ import annotations

import gc

import pytest

from algodock_common.startup import quick_imports


def test_the_collector_rests_while_modules_are_imported_and_works_again_afterwards() -> None:
    try:
        with quick_imports():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    try:
        with pytest.raises(ImportError), quick_imports():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
