"""Histories of what several clients did to one store, and whether a serial order of their calls explains what they saw.

Every id is checked for itself: there must be one order of all calls that concern it in which each call happens between
its begin and its end, and in which every read, and the final state, is what the writes before it leave. `delete_all`
concerns every id. A call whose outcome is unknown (a timeout) may have happened at any time after its begin, or never.

`RandomClient` makes such histories on a store; `violations` checks them. Times are those of `time.monotonic`, which
all processes of a machine share.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, PartialWriteError, StoreError
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore

State: TypeAlias = tuple[str, tuple[tuple[str, Any], ...]] | None
"""Text and sorted metadata of a document; None for no document."""


@dataclass(frozen=True, slots=True)
class Put:
    """Stores a document, whatever was there."""

    state: State


@dataclass(frozen=True, slots=True)
class Erase:
    """Deletes a document; without one it does nothing."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Sets keys of the metadata of a document; happens only where there is one."""

    changes: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Sees a document, or None."""

    state: State


Effect: TypeAlias = Put | Erase | Merge | Read


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The part of one call that concerns one id, or all of them."""

    client: int
    id: str | None
    """None for all ids."""
    effect: Effect
    begin: float
    end: float = math.inf
    """When the call returned; infinite if its outcome is unknown."""

    @property
    def is_lost(self) -> bool:
        """Whether the outcome is unknown."""
        return self.end == math.inf


Configuration: TypeAlias = tuple[State, frozenset[int]]
"""A state that an id may have, and which of the running operations have happened."""


def state_of(document: Document | None) -> State:
    """The state of an id, from what a store returned for it."""
    if document is None:
        return None
    return document.page_content, tuple(sorted(document.metadata.items()))


def violations(
    operations: Iterable[Operation], final: Mapping[str, State], *, initial: Mapping[str, State] | None = None
) -> list[str]:
    """Describe the ids whose history no serial order explains.

    Args:
        operations: of all clients.
        final: the state of the ids after all calls; ids that are missing have no document.
        initial: the states before the first call.
    """
    by_id: dict[str, list[Operation]] = {id_: [] for id_ in final}
    of_all: list[Operation] = []
    for operation in operations:
        (of_all if operation.id is None else by_id.setdefault(operation.id, [])).append(operation)
    found = []
    for id_ in sorted(by_id):
        ours = [*by_id[id_], *of_all]
        known = [operation.end for operation in ours if not operation.is_lost]
        last = max([0.0, *known, *(operation.begin for operation in ours)])
        ours.append(Operation(client=-1, id=id_, effect=Read(final.get(id_)), begin=last + 1, end=last + 2))
        unexplained = first_unexplained(ours, (initial or {}).get(id_))
        if unexplained is not None:
            found.append(_described(id_, ours, *unexplained))
    return found


def first_unexplained(
    operations: Sequence[Operation], initial: State = None
) -> tuple[Operation, set[Configuration]] | None:
    """The first operation, by its end, that no order of the operations before it explains; None if all are explained.

    An operation is placed as late as possible: at the end of one of the calls. The possible states are followed from
    call to call, each with the set of running operations that have happened in it.
    """
    events = [(operation.begin, False, number) for number, operation in enumerate(operations)]
    events += [(operation.end, True, number) for number, operation in enumerate(operations) if not operation.is_lost]
    lost = frozenset(number for number, operation in enumerate(operations) if operation.is_lost)
    running: set[int] = set()
    possible: set[Configuration] = {(initial, frozenset())}
    for _, ends, number in sorted(events):
        if not ends:
            running.add(number)
            continue
        reached = {
            (state, happened - {number})
            for state, happened in _reachable(possible, running, operations)
            if number in happened
        }
        if not reached:
            return operations[number], possible
        running.remove(number)
        possible = _without_dominated(reached, lost)
    return None


def _reachable(possible: set[Configuration], running: set[int], operations: Sequence[Operation]) -> set[Configuration]:
    """Everything that can be the case after any of the running operations have happened."""
    found, pending = set(possible), list(possible)
    while pending:
        state, happened = pending.pop()
        for number in running - happened:
            for after in _outcomes(operations[number].effect, state):
                configuration = (after, happened | {number})
                if configuration not in found:
                    found.add(configuration)
                    pending.append(configuration)
    return found


def _outcomes(effect: Effect, state: State) -> tuple[State, ...]:
    """The state after an effect; none if the effect is impossible in this state."""
    match effect:
        case Put(new):
            return (new,)
        case Erase():
            return (None,)
        case Read(seen):
            return (state,) if state == seen else ()
        case Merge(changes):
            return () if state is None else ((state[0], tuple(sorted({**dict(state[1]), **dict(changes)}.items()))),)


def _without_dominated(possible: set[Configuration], lost: frozenset[int]) -> set[Configuration]:
    """Leave out states in which more of the lost operations have happened than in an otherwise equal one."""
    if not lost:
        return possible
    groups: dict[Configuration, list[frozenset[int]]] = {}
    for state, happened in possible:
        groups.setdefault((state, happened - lost), []).append(happened & lost)
    return {
        (state, known | some)
        for (state, known), sets in groups.items()
        for some in sets
        if not any(other < some for other in sets)
    }


_SHOWN = 12


def _described(id_: str, operations: Sequence[Operation], failed: Operation, possible: set[Configuration]) -> str:
    near = sorted((one for one in operations if one.begin <= failed.end), key=lambda one: min(one.end, failed.end + 1))
    lines = [f"{id_}: no order explains {_line(failed)}", f"  possible before: {[state for state, _ in possible][:4]}"]
    return "\n".join([*lines, *(f"  {_line(one)}" for one in near[-_SHOWN:])])


def _line(operation: Operation) -> str:
    return f"client {operation.client} {operation.begin:.4f}-{operation.end:.4f} {operation.effect}"


@dataclass
class RandomClient:
    """Calls random methods of a store on a few ids, and records what each call did and saw.

    Values are unique, so that every read tells which writes it saw.

    Args:
        store: one that other clients use, too.
        number: of this client.
        ids: the ids that all clients use.
        weights: how often each call is made, by name: see `ACTIONS`; others are given as `extra`.
        extra: calls that change nothing that can be read, such as a maintenance method.
        seed: of the random choices.
    """

    store: MultimodalVectorStore
    number: int
    ids: Sequence[str]
    weights: Mapping[str, float]
    extra: Mapping[str, Callable[[MultimodalVectorStore], object]] = field(default_factory=dict)
    seed: int = 0
    operations: list[Operation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Calls whose outcome is unknown."""
    calls: dict[str, int] = field(default_factory=dict)

    def run(self, seconds: float) -> RandomClient:
        """Make calls for so long."""
        dice = random.Random(f"{self.seed}/{self.number}")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            (name,) = dice.choices(list(self.weights), list(self.weights.values()))
            self.calls[name] = self.calls.get(name, 0) + 1
            some = dice.sample(self.ids, dice.choice((1, 1, 1, 2, 3)))
            self._call(name, some)
        return self

    def _call(self, name: str, ids: list[str]) -> None:
        begin = time.monotonic()
        unique = f"{self.number}-{len(self.operations)}"
        try:
            found = ACTIONS[name](self.store, ids, unique) if name in ACTIONS else self._maintain(name)
        except PartialWriteError as error:
            self._add(begin, {id_: Put(_new(unique, id_)) for id_ in error.stored})
            self._add(begin, {id_: Put(_new(unique, id_)) for id_ in error.failed}, end=math.inf)
            self.errors.append(f"{name}: {error}")
        except StoreError as error:
            self._add(begin, INTENDED[name](ids, unique) if name in INTENDED else {}, end=math.inf)
            self.errors.append(f"{name}: {error}")
        else:
            self._add(begin, found)

    def _maintain(self, name: str) -> Mapping[str | None, Effect]:
        self.extra[name](self.store)
        return {}

    def _add(self, begin: float, effects: Mapping[Any, Effect], end: float | None = None) -> None:
        ended = time.monotonic() if end is None else end
        for id_, effect in effects.items():
            self.operations.append(Operation(client=self.number, id=id_, effect=effect, begin=begin, end=ended))


def _new(unique: str, id_: str) -> State:
    return f"{unique} {id_}", (("written", unique),)


def _put(store: MultimodalVectorStore, ids: Sequence[str], unique: str) -> Mapping[str | None, Effect]:
    store.add_documents([Document(id=id_, page_content=f"{unique} {id_}", metadata={"written": unique}) for id_ in ids])
    return _intended_put(ids, unique)


def _intended_put(ids: Sequence[str], unique: str) -> Mapping[str | None, Effect]:
    return {id_: Put(_new(unique, id_)) for id_ in ids}


def _delete(store: MultimodalVectorStore, ids: Sequence[str], unique: str) -> Mapping[str | None, Effect]:
    store.delete(list(ids))
    return _intended_delete(ids, unique)


def _intended_delete(ids: Sequence[str], _: str) -> Mapping[str | None, Effect]:
    return dict.fromkeys(ids, Erase())


def _update(store: MultimodalVectorStore, ids: Sequence[str], unique: str) -> Mapping[str | None, Effect]:
    key, value = unique.split("-")
    try:
        store.update_metadata(list(ids), {f"by{key}": int(value)})
    except ContentError:  # some are not stored, and nothing was changed
        return {ids[0]: Read(None)} if len(ids) == 1 else {}
    return _intended_update(ids, unique)


def _intended_update(ids: Sequence[str], unique: str) -> Mapping[str | None, Effect]:
    key, value = unique.split("-")
    return dict.fromkeys(ids, Merge(((f"by{key}", int(value)),)))


def _read(store: MultimodalVectorStore, ids: Sequence[str], _: str) -> Mapping[str | None, Effect]:
    found = {document.id: document for document in store.get_by_ids(list(ids))}
    return {id_: Read(state_of(found.get(id_))) for id_ in ids}


def _search(store: MultimodalVectorStore, ids: Sequence[str], _: str) -> Mapping[str | None, Effect]:
    return {hit.document.id: Read(state_of(hit.document)) for hit in store.search(ids[0], k=3)}


def _delete_all(store: MultimodalVectorStore, *_: Any) -> Mapping[str | None, Effect]:
    store.delete_all()
    return {None: Erase()}


Action: TypeAlias = Callable[[MultimodalVectorStore, Sequence[str], str], Mapping[str | None, Effect]]

ACTIONS: Mapping[str, Action] = {
    "add": _put,
    "delete": _delete,
    "update_metadata": _update,
    "get_by_ids": _read,
    "search": _search,
    "delete_all": _delete_all,
}
"""Call a method on some ids, and return what it did or saw."""

INTENDED: Mapping[str, Callable[[Sequence[str], str], Mapping[str | None, Effect]]] = {
    "add": _intended_put,
    "delete": _intended_delete,
    "update_metadata": _intended_update,
    "delete_all": lambda *_: {None: Erase()},
}
"""What a call may have done whose outcome is unknown."""


def contents(store: MultimodalVectorStore) -> dict[str, State]:
    """The final state of every id."""
    return {str(document.id): state_of(document) for document in store.iterate()}
