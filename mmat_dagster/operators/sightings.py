"""What operators saw, kept by image, operator, version and parameters: nothing is looked at twice, in any stage or run.

    look -> kept? -> told        else the operator looks once, for all who ask, and what it saw is kept

SQLite or PostgreSQL, like the reply ledger; but whoever deletes it loses machine time only, not money.
"""

import asyncio
import hashlib
import json
import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from mmat_dagster.ledger.database import Database, insert_new, ledger_url
from mmat_dagster.ledger.tables import Schema
from mmat_dagster.ledger.worker import Ticket, Worker
from mmat_dagster.tools import Failed, Look, Operator, Sight

METADATA = sa.MetaData()
# SQLite counts up only a column of its own INTEGER type.
_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

about = sa.Table("sightings_about", METADATA, sa.Column("version", sa.Integer, primary_key=True))
sightings = sa.Table(
    "sightings",
    METADATA,
    sa.Column("id", _COUNTER, primary_key=True),
    sa.Column("key", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("operator", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("seen", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)
SCHEMA = Schema(title="the cache of what operators saw", metadata=METADATA, about=about, version=1)

_KEYS: sa.BindParameter[bytes] = sa.bindparam("keys", expanding=True)
_FIND = sa.select(sightings.c.key, sightings.c.seen).where(sightings.c.key.in_(_KEYS))
KEYS_AT_ONCE = 500

Result: TypeAlias = Sight | Failed


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A sight on its way into the cache."""

    key: bytes
    operator: str
    version: str
    sight: Sight


@dataclass(frozen=True, kw_only=True)
class Coming:
    """A result that somebody waits for: number `index` of what `task` returns."""

    task: "asyncio.Task[Sequence[Result]]"
    index: int


class Sightings:
    """One process's use of the cache at `url` (a path names an SQLite file); opened at the first look."""

    def __init__(self, url: str) -> None:
        self._url = ledger_url(url)
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._reader: Worker[bytes] = Worker(name="sightings-reader", work=self._read)
        self._writer: Worker[Kept] = Worker(name="sightings-writer", work=self._write)
        self._under_way: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, Coming]] = WeakKeyDictionary()

    async def look(self, operator: Operator, looks: Sequence[Look]) -> Sequence[Result]:
        """Return what `operator` sees, from the cache where it was seen before; failures are not kept."""
        keys = [_key(operator, look) for look in looks]
        known: dict[bytes, Result] = await self._find({key for key in keys if key})
        missing = {key: look for key, look in zip(keys, looks, strict=True) if key and key not in known}
        for key, coming in self._coming(operator, missing).items():
            # Whoever gives up waiting takes the result from nobody.
            known[key] = (await asyncio.shield(coming.task))[coming.index]
        unkept = [look for key, look in zip(keys, looks, strict=True) if not key]
        seen = iter(await operator.look(unkept) if unkept else ())
        return [known[key] if key else next(seen) for key in keys]

    def close(self) -> None:
        """Finish what is being kept, and close the database."""
        self._writer.close()
        self._reader.close()
        with self._opening:
            if self._database is not None:
                self._database.close()

    async def _find(self, keys: Set[bytes]) -> dict[bytes, Result]:
        found = await asyncio.gather(*map(self._reader.do, keys))
        return {key: sight for key, sight in zip(keys, found, strict=True) if isinstance(sight, Sight)}

    def _coming(self, operator: Operator, missing: Mapping[bytes, Look]) -> "dict[bytes, Coming]":
        """Return the coming results: for those that nobody looks at yet, the operator is asked in one go."""
        loop = asyncio.get_running_loop()
        under_way = self._under_way.setdefault(loop, {})
        new = {key: look for key, look in missing.items() if key not in under_way}
        if new:
            task = loop.create_task(self._look_and_keep(operator, new))
            under_way.update({key: Coming(task=task, index=index) for index, key in enumerate(new)})
            task.add_done_callback(lambda done: _forget(done, new, under_way))
        return {key: under_way[key] for key in missing}

    async def _look_and_keep(self, operator: Operator, looks: Mapping[bytes, Look]) -> Sequence[Result]:
        results = await operator.look(list(looks.values()))
        kept = [
            self._writer.do(Kept(key=key, operator=operator.name, version=operator.version, sight=result))
            for key, result in zip(looks, results, strict=True)
            if isinstance(result, Sight)
        ]
        await asyncio.gather(*kept)
        return results

    def _opened(self) -> Database:
        with self._opening:
            if self._database is None:
                self._database = Database(self._url, SCHEMA)
            return self._database

    def _read(self, tickets: Sequence[Ticket[bytes]]) -> None:
        for start in range(0, len(tickets), KEYS_AT_ONCE):
            group = tickets[start : start + KEYS_AT_ONCE]
            with self._opened().read() as connection:
                rows = connection.execute(_FIND, {"keys": [ticket.order for ticket in group]}).all()
            found = {key: _unpacked(seen) for key, seen in rows}
            for ticket in group:
                ticket.settle(found.get(ticket.order))

    def _write(self, tickets: Sequence[Ticket[Kept]]) -> None:
        with self._opened().begin() as connection:
            insert_new(connection, sightings, [_row(ticket.order) for ticket in tickets])
        for ticket in tickets:
            ticket.settle(None)


def _key(operator: Operator, look: Look) -> bytes | None:
    parameters = operator.parameters(look)
    if parameters is None:
        return None
    decided_by = [operator.name, operator.version, look.sha256, parameters]
    return hashlib.sha256(json.dumps(decided_by).encode()).digest()


def _forget(done: "asyncio.Task[Sequence[Result]]", keys: Iterable[bytes], under_way: dict[bytes, Coming]) -> None:
    for key in keys:
        del under_way[key]
    if not done.cancelled():
        done.exception()  # whoever asked has seen it, or was cancelled before


def _row(kept: Kept) -> dict[str, object]:
    packed = zlib.compress(json.dumps([kept.sight.text, kept.sight.details]).encode(), 6)
    return {
        "key": kept.key,
        "operator": kept.operator,
        "version": kept.version,
        "seen": packed,
        "created_at": time.time(),
    }


def _unpacked(seen: bytes) -> Sight:
    text, details = json.loads(zlib.decompress(seen))
    return Sight(text=text, details=details)
