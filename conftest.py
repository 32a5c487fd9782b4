"""Make failing asserts of the contract that stores share say what they compared, wherever it is run from."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.vectorstores.contract_{part}"
        for part in ("base", "search", "many", "groups", "write", "maintenance", "keywords", "export")
    )
)
