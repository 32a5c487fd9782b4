"""Make failing asserts of the shared contract say what they compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.vectorstores.contract_{part}"
        for part in ("base", "searching", "many", "groups", "adding", "keeping", "words", "portable")
    )
)
