"""The requirements for all our stores as one suite: subclass `StoreContract` and provide the fixture `open_store`.

Each test runs sync and async. A store with declared fields declares those of `contract_base.FIELDS`.
"""

from __future__ import annotations

from tests.vectorstores.contract_export import PortableContract
from tests.vectorstores.contract_groups import GroupsContract
from tests.vectorstores.contract_keywords import KeywordContract
from tests.vectorstores.contract_maintenance import KeepingContract
from tests.vectorstores.contract_many import SearchingManyContract
from tests.vectorstores.contract_search import SearchingContract
from tests.vectorstores.contract_write import AddingContract


class StoreContract(
    SearchingContract,
    SearchingManyContract,
    GroupsContract,
    KeywordContract,
    AddingContract,
    KeepingContract,
    PortableContract,
):
    """All requirements."""
