"""Objects of an S3 bucket below a prefix: what is asked of the service, and what is done where that fails."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from mmat_dagster.interfaces import StoreError

SCHEME = "s3"
# An answer that breaks off is asked for again so often; what never arrives whole is told.
READS = 8
# Above this an object is read in pieces, several at once, straight into a file.
LARGE_BYTES = 64 << 20
# From this on an object is sent in pieces, several at once; boto3's own default.
IN_PIECES_BYTES = 8 << 20
# So many objects are removed by one request, which is the most that S3 takes.
DELETED_AT_ONCE = 1000
ABSENT = {"404", "NoSuchKey", "NotFound"}
FAILURES = (BotoCoreError, Boto3Error, ClientError, HTTPError, OSError)


class Bucket:
    """The objects below `url` (`s3://bucket/prefix`); every method may be called by any thread.

    `connect` makes the client, at the first request. All raise StoreError where the service cannot be used.
    """

    def __init__(self, url: str, connect: Callable[[], Any]) -> None:
        parts = urlsplit(url)
        if parts.scheme != SCHEME or not parts.netloc:
            raise StoreError(f"The store {url!r} is no bucket: MMAT_STORE is to be s3://bucket/prefix.")
        self.name, self._prefix = parts.netloc, parts.path.strip("/")
        self._connect, self._lock = connect, threading.Lock()
        self._made: Any = None

    def url(self, key: str) -> str:
        """Return the URL of an object, or of all of them."""
        return f"{SCHEME}://{self.name}/{self._full(key)}".rstrip("/")

    def holds(self, key: str) -> bool:
        """Say whether an object is there."""
        with self._told("read", key):
            try:
                self._client.head_object(Bucket=self.name, Key=self._full(key))
            except ClientError as error:
                if _is_absent(error):
                    return False
                raise
        return True

    def read(self, key: str) -> bytes:
        """Return an object's bytes; raise FileNotFoundError where there is none."""
        with self._told("read", key), self._absent_told(key):
            return self._whole(key, self._get(key))

    def load(self, key: str, path: Path) -> None:
        """Write an object's bytes to the file `path`; raise FileNotFoundError where there is none."""
        with self._told("read", key), self._absent_told(key):
            answer = self._get(key)
            if answer["ContentLength"] <= LARGE_BYTES:
                path.write_bytes(self._whole(key, answer))
                return
            answer["Body"].close()
            self._client.download_file(self.name, self._full(key), str(path))

    def write(self, key: str, data: bytes) -> None:
        """Put an object there, whole: what breaks off leaves what was there before."""
        with self._told("written", key):
            self._client.upload_fileobj(BytesIO(data), self.name, self._full(key), Config=ONE_THREAD)

    def put(self, key: str, path: Path) -> None:
        """Put a file there, like `write`; a large one in pieces, several at once."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        with self._told("written", key):
            self._client.upload_file(str(path), self.name, self._full(key))

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the objects directly below a prefix."""
        for page in self._pages(prefix, Delimiter="/"):
            yield from (self._short(entry["Key"]) for entry in page.get("Contents", ()))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the prefixes directly below a prefix."""
        for page in self._pages(prefix, Delimiter="/"):
            yield from (self._short(entry["Prefix"]).rstrip("/") for entry in page.get("CommonPrefixes", ()))

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield all objects below a prefix."""
        for page in self._pages(prefix):
            yield from (self._short(entry["Key"]) for entry in page.get("Contents", ()))

    def delete(self, keys: list[str]) -> None:
        """Remove objects; one that is not there is no error."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[start : start + DELETED_AT_ONCE]
            with self._told("removed from", some[0]):
                objects = [{"Key": self._full(key)} for key in some]
                answer = self._client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            for problem in answer.get("Errors", ()):
                raise StoreError(f"{self.url(self._short(problem['Key']))} cannot be removed: {problem['Code']}")

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _get(self, key: str) -> Any:
        return self._client.get_object(Bucket=self.name, Key=self._full(key))

    def _whole(self, key: str, answer: Any) -> bytes:
        """Return the bytes of an answer, asked for again where they break off: the client itself does not do that."""
        for _ in range(READS - 1):
            try:
                return bytes(answer["Body"].read())
            except (BotoCoreError, HTTPError, OSError):
                answer = self._get(key)
        return bytes(answer["Body"].read())

    def _pages(self, prefix: str, **asked: str) -> Iterator[Any]:
        with self._told("listed", prefix):
            pages = self._client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.name, Prefix=f"{self._full(prefix)}/", **asked)

    @contextmanager
    def _told(self, what: str, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except FAILURES as error:
            raise StoreError(f"{self.url(key)} cannot be {what}: {error}") from error

    @contextmanager
    def _absent_told(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if not _is_absent(error):
                raise
            raise FileNotFoundError(f"{self.url(key)} does not exist") from None

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}".strip("/")

    def _short(self, key: str) -> str:
        return key.removeprefix(self._prefix).lstrip("/")


ONE_THREAD = TransferConfig(use_threads=False)


def _is_absent(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in ABSENT
