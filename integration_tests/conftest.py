"""The summary of what the live checks saw."""

from __future__ import annotations

from typing import Any

import pytest

_SEEN = pytest.StashKey[list[Any]]()


@pytest.fixture(scope="session")
def observations(request: pytest.FixtureRequest) -> list[Any]:
    """Number, title, what the service did, what the emulator did, what we expect; one row per check made."""
    return request.config.stash.setdefault(_SEEN, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print where service and emulator differ, and the answers to the open questions."""
    rows = config.stash.get(_SEEN, [])
    if not rows:
        return
    different = [row for row in rows if row[2] != row[3]]
    terminalreporter.section("service and emulator")
    terminalreporter.line(
        f"{len(rows)} assumptions checked, the emulator differs from the service in {len(different)}."
    )
    for number, title, seen, here, _ in different:
        terminalreporter.line(f"{number} {title}\n    service:  {seen}\n    emulator: {here}")
    terminalreporter.line("Open questions:")
    for number, title, seen, _, expected in rows:
        if expected is None:
            terminalreporter.line(f"{number} {title} {seen}")
