"""Make failing asserts of the contract that stores share say what they compared, wherever it is run from."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.vectorstores.contract_{part}"
        for part in ("base", "searching", "many", "groups", "adding", "keeping", "words", "portable")
    )
)
