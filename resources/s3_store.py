"""The store in an S3 bucket, with a folder of this machine for what was used of it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field, PrivateAttr

from mmat_dagster.interfaces import Store
from mmat_dagster.roots import OutsideRoot, below
from resources.bucket import IN_PIECES_BYTES, Bucket
from resources.locks import PostgresLocks
from resources.store import LocalStore

# So many objects are on their way at once, as many as boto3 keeps connections, and so many more wait for that.
AT_ONCE = 10
WAITING = 64
# Below the mirror.
LOCKS = "locks"


class S3Store(dg.ConfigurableResource[Store], Store):
    """Objects below `s3://bucket/prefix`.

    S3 shows an object when all of its bytes have arrived, a multipart upload when it is completed: nothing is ever half
    there. What says that something is finished (a part's records after its rejections, a manifest after its parts) is
    written last.
    """

    root: str = Field(description="s3://bucket/prefix")
    folder: str = Field(description="The folder of this machine that holds a copy of what was used, and caches.")
    s3: S3Resource
    locks: str | None = Field(
        default=None,
        repr=False,
        description="postgresql://... whose advisory locks keep machines apart; null: processes of this machine only.",
    )

    _bucket: Bucket | None = PrivateAttr(default=None)
    _pool: ThreadPoolExecutor | None = PrivateAttr(default=None)
    _coming: "deque[Future[None]]" = PrivateAttr(default_factory=deque)

    @property
    def mirror(self) -> Path:
        """Return the folder of this machine."""
        return Path(self.folder)

    def locate(self, key: str) -> str:
        """Return the object's URL."""
        return self._objects.url(key)

    def exists(self, key: str) -> bool:
        """Say whether the object is there."""
        return self._objects.holds(key)

    def read(self, key: str) -> bytes:
        """Return the object's bytes."""
        return self._objects.read(key)

    def write(self, key: str, data: bytes) -> None:
        """Put an object there."""
        self._objects.write(key, data)

    def put(self, key: str, path: Path) -> None:
        """Upload the file."""
        self._objects.put(key, path)

    def put_all(self, files: Mapping[str, Path]) -> None:
        """Upload the files: small ones several at once, of a large one several pieces."""
        large = {key: path for key, path in files.items() if path.stat().st_size >= IN_PIECES_BYTES}
        small = files.keys() - large.keys()
        for coming in self._all(partial(self.put, key, files[key]) for key in sorted(small)):
            coming.result()
        for key, path in large.items():
            self.put(key, path)

    def put_soon(self, key: str, data: bytes) -> None:
        """Have the object uploaded by another thread; the mirror has it when the bucket has it."""
        if not below(self.mirror, key).is_file():
            if len(self._coming) >= AT_ONCE + WAITING:
                self._coming.popleft().result()
            self._coming.append(self._threads.submit(self._put_new, key, data))

    def settle(self) -> None:
        """Wait for the other threads."""
        while self._coming:
            self._coming.popleft().result()

    def fetch(self, key: str) -> Path:
        """Return the mirror's copy, downloaded where there is none."""
        path = below(self.mirror, key)
        if not path.is_file():
            self._copies.place(key, partial(self._objects.load, key))
        return path

    def bring(self, keys: Iterable[str]) -> None:
        """Download what the mirror has not got."""
        for coming in self._all(partial(self.fetch, key) for key in dict.fromkeys(keys) if not self._has(key)):
            with suppress(FileNotFoundError, OutsideRoot):
                coming.result()

    def list_keys(self, prefix: str) -> list[str]:
        """Return the objects directly below `prefix`."""
        return sorted(self._objects.list_keys(prefix))

    def list_folders(self, prefix: str) -> list[str]:
        """Return the prefixes directly below `prefix`."""
        return sorted(self._objects.list_folders(prefix))

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield all objects below `prefix`, a page of a thousand at a time."""
        return self._objects.walk(prefix)

    def delete(self, key: str) -> None:
        """Remove the object, and the mirror's copy."""
        self._objects.delete([key])
        below(self.mirror, key).unlink(missing_ok=True)

    def delete_below(self, prefix: str) -> None:
        """Remove the objects, and the mirror's copies."""
        keys = list(self.walk(prefix))
        self._objects.delete(keys)
        for key in keys:
            below(self.mirror, key).unlink(missing_ok=True)

    def exclusive(self, prefix: str) -> AbstractContextManager[None]:
        """Hold the prefix's lock: among all machines by PostgreSQL, else among the processes of this one."""
        if self.locks:
            return PostgresLocks(self.locks).exclusive(f"{self.root}/{prefix}")
        return LocalStore(root=str(self.mirror / LOCKS)).exclusive(prefix)

    @property
    def _copies(self) -> LocalStore:
        return LocalStore(root=self.folder)

    @property
    def _objects(self) -> Bucket:
        if self._bucket is None:
            self._bucket = Bucket(self.root, self.s3.get_client)
        return self._bucket

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, "s3")
        return self._pool

    def _has(self, key: str) -> bool:
        try:
            return below(self.mirror, key).is_file()
        except OutsideRoot:
            return False

    def _put_new(self, key: str, data: bytes) -> None:
        if not self.exists(key):
            self.write(key, data)
        self._copies.put_soon(key, data)

    def _all(self, works: Iterable[Callable[[], Any]]) -> "Iterator[Future[Any]]":
        """Yield what each of `works` comes to, in order, a bounded number of them begun."""
        begun: deque[Future[Any]] = deque()
        try:
            for work in works:
                begun.append(self._threads.submit(work))
                if len(begun) >= AT_ONCE + WAITING:
                    yield begun.popleft()
            while begun:
                yield begun.popleft()
        finally:
            for coming in begun:
                coming.cancel()
