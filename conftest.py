"""What all folders of tests share: examples of Hypothesis without clocks, long runs on request, telling asserts."""

from __future__ import annotations

import functools
import gc
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, seed, settings

pytest.register_assert_rewrite(
    "tests.sync.folder_histories",
    "tests.sync.killed_runs",
    "tests.sync.test_mirror",
    *(
        f"tests.vectorstores.contract_{part}"
        for part in ("base", "search", "many", "groups", "write", "maintenance", "keywords", "export")
    ),
)

# A busy machine makes no example wrong, and a run of the same code tries the same examples. `make soak` tries others.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, database=None, print_blob=True)

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long and from which seed on the tests marked `soak` run."""
    group = parser.getgroup("soak")
    group.addoption("--soak-seconds", type=float, default=0.0, help="repeat each test marked `soak` for so long")
    group.addoption("--soak-seed", type=int, default=0, help="the first seed; later rounds count up from it")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the examples of Hypothesis."""
    settings.load_profile("soak" if config.getoption("--soak-seconds") else "default")


def _rounds(item: pytest.Item, usual: int, parts: int = 1) -> Iterator[int]:
    """Seeds, `usual` of them or until a part of the seconds is over; the last one stays known."""
    first, seconds = item.config.getoption("--soak-seed"), item.config.getoption("--soak-seconds")
    ends = time.monotonic() + seconds / parts
    for number in itertools.count(first):
        if (time.monotonic() >= ends and number > first) if seconds else number == first + usual:
            return
        item.stash[_SEED] = number
        yield number


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[..., Iterator[int]]:
    """The seeds of a test marked `soak`: `rounds(3)` are three, or with `--soak-seconds` new ones until time is up.

    A test with a dozen cases shares the seconds out among them: `rounds(3, parts=12)`.
    """
    if not request.node.get_closest_marker("soak"):
        pytest.fail("mark the test `soak`, or nothing ever runs it for longer")
    return functools.partial(_rounds, request.node)


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of every collection of garbage that follows."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Give a test of Hypothesis that is marked `soak` new examples from seed to seed until time is up."""
    test: Any = pyfuncitem.obj
    repeated = pyfuncitem.config.getoption("--soak-seconds") and pyfuncitem.get_closest_marker("soak")
    if not (repeated and is_hypothesis_test(test)):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    for number in _rounds(pyfuncitem, 1):
        seed(number)(test)(**given)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say which seed failed."""
    report = yield
    if report.failed and _SEED in item.stash:
        report.sections.append(("seed", f"begin with it: --soak-seed={item.stash[_SEED]}"))
    return report
