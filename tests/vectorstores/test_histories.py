"""The checker of histories accepts what a serial order explains, and nothing else."""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_gemini_mm import LocalVectorStore
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.histories import (
    ACTIONS,
    Effect,
    Erase,
    Merge,
    Operation,
    Put,
    RandomClient,
    Read,
    State,
    contents,
    violations,
)

A: State = ("a", ())
B: State = ("b", ())
A1: State = ("a", (("k", 1),))
A12: State = ("a", (("k", 1), ("l", 2)))
LOST = math.inf


def operation(begin: float, end: float, effect: Effect, id_: str | None = "x") -> Operation:
    """One operation; the client does not matter."""
    return Operation(client=0, id=id_, effect=effect, begin=begin, end=end)


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        ([], None),
        ([operation(0, 1, Put(A))], A),
        ([operation(0, 1, Put(A)), operation(2, 3, Erase())], None),
        ([operation(0, 3, Put(A)), operation(1, 2, Put(B))], A),
        ([operation(0, 3, Put(A)), operation(1, 2, Put(B))], B),
        ([operation(0, 3, Put(A)), operation(1, 2, Read(None))], A),
        ([operation(0, 3, Put(A)), operation(1, 2, Read(A))], A),
        ([operation(0, 1, Put(A)), operation(2, LOST, Erase()), operation(3, 4, Read(A))], None),
        ([operation(0, 1, Put(A)), operation(2, LOST, Erase())], A),
        ([operation(0, LOST, Put(A)), operation(5, 6, Read(A)), operation(7, 8, Erase())], None),
        ([operation(0, 1, Put(A)), operation(2, 3, Merge((("k", 1),)))], A1),
        (
            [
                operation(0, 1, Put(A)),
                operation(2, 5, Merge((("k", 1),))),
                operation(3, 4, Merge((("l", 2),))),
                operation(3, 4, Read(A1)),
            ],
            A12,
        ),
        ([operation(0, 1, Put(A)), operation(2, 5, Erase(), None), operation(3, 4, Put(B))], B),
        ([operation(0, 1, Put(A)), operation(2, 5, Erase(), None), operation(3, 4, Put(B))], None),
    ],
)
def test_serial_orders_are_found(operations: list[Operation], final: State) -> None:
    """A history that some order explains has no violation."""
    assert violations(operations, {"x": final}) == []


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        ([], A),
        ([operation(0, 1, Put(A))], None),
        ([operation(0, 1, Put(A)), operation(2, 3, Put(B))], A),
        ([operation(0, 1, Put(A)), operation(2, 3, Read(None))], A),
        ([operation(0, 1, Put(A)), operation(2, 3, Erase())], A),
        ([operation(0, 1, Put(A)), operation(2, 3, Erase(), None)], A),
        # one of two changes is lost
        ([operation(0, 1, Put(A)), operation(2, 5, Merge((("k", 1),))), operation(3, 4, Merge((("l", 2),)))], A1),
        # a change brings a deleted document back
        ([operation(0, 1, Put(A)), operation(2, 5, Merge((("k", 1),))), operation(3, 4, Erase())], A1),
        # of a document that was replaced meanwhile, text and metadata come from different writes
        (
            [operation(0, 1, Put(A)), operation(2, 5, Merge((("k", 1),))), operation(3, 4, Put(("b", (("m", 3),))))],
            ("b", (("k", 1),)),
        ),
        # seen, gone, and seen again, with one write and one deletion
        (
            [
                operation(0, 9, Put(A)),
                operation(1, 8, Erase(), None),
                operation(2, 3, Read(A)),
                operation(4, 5, Read(None)),
                operation(6, 7, Read(A)),
            ],
            A,
        ),
        # a read that is older than one before it
        ([operation(0, 9, Put(A)), operation(1, 2, Read(A)), operation(3, 4, Read(None))], A),
        # an unknown outcome explains a state once, not twice
        (
            [operation(0, LOST, Put(A)), operation(1, 2, Read(A)), operation(3, 4, Erase()), operation(5, 6, Read(A))],
            A,
        ),
    ],
)
def test_what_no_order_explains(operations: list[Operation], final: State) -> None:
    """It is reported, with the id and the call that cannot be explained."""
    (found,) = violations(operations, {"x": final})
    assert found.startswith("x: no order explains")


def test_ids_are_independent() -> None:
    """Only the id with a violation is reported."""
    operations = [operation(0, 1, Put(A), "x"), operation(0, 1, Put(A), "y"), operation(2, 3, Erase(), "y")]
    assert [line[:2] for line in violations(operations, {"x": A, "y": A})] == ["y:"]


class Register:
    """A memory of documents with a lock around each call, or, if it is broken, around each step of a call."""

    def __init__(self, *, broken: bool) -> None:
        self.states: dict[str, State] = {}
        self._lock = threading.Lock()
        self._broken = broken

    def apply(self, id_: str, effect: Effect) -> Effect:
        """Carry out an effect; a read returns what it saw."""
        with self._lock:
            before = self.states.get(id_)
            if not self._broken:
                return self._apply(id_, effect, before)
        time.sleep(0.0005)
        with self._lock:
            return self._apply(id_, effect, before)

    def _apply(self, id_: str, effect: Effect, before: State) -> Effect:
        match effect:
            case Put(state):
                self.states[id_] = state
            case Erase():
                self.states[id_] = None
            case Read():
                return Read(before)
            case Merge(changes):
                if before is None:
                    return Read(None)
                self.states[id_] = (before[0], tuple(sorted({**dict(before[1]), **dict(changes)}.items())))
        return effect


def history(register: Register, client: int) -> list[Operation]:
    """What one client did to a register."""
    dice, found = random.Random(client), []
    for number in range(150):
        effects: list[Effect] = [
            Put((f"{client}-{number}", ())),
            Erase(),
            Read(None),
            Merge(((f"by{client}", number),)),
        ]
        effect, id_, begin = dice.choice(effects), dice.choice("xyz"), time.monotonic()
        seen = register.apply(id_, effect)
        found.append(Operation(client=client, id=id_, effect=seen, begin=begin, end=time.monotonic()))
    return found


@pytest.mark.parametrize("broken", [False, True])
def test_real_histories_of_threads(broken: bool) -> None:
    """Threads on a register with a lock have no violations; without it, lost changes are found."""
    register = Register(broken=broken)
    with ThreadPoolExecutor(6) as pool:
        operations = [one for found in pool.map(history, [register] * 6, range(6)) for one in found]
    assert bool(violations(operations, register.states)) == broken


def test_random_clients_of_a_store() -> None:
    """They make all calls, and what they record explains what is stored."""
    store = LocalVectorStore(":memory:", WordEmbeddings())
    ids = [f"d{number}" for number in range(6)]
    clients = [RandomClient(store, number, ids, dict.fromkeys(ACTIONS, 1.0)) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda client: client.run(0.5), clients))
    assert not [error for client in clients for error in client.errors]
    assert all(set(client.calls) == set(ACTIONS) for client in clients)
    assert violations([one for client in clients for one in client.operations], contents(store)) == []
