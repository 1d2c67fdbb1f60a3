"""The store that the environment names: a folder, or a bucket."""

from typing import TYPE_CHECKING, Any, TypeAlias, Union

from mmat_dagster.environment import Environment
from resources.store import LocalStore

if TYPE_CHECKING:
    import dagster as dg

    from resources.s3_store import S3Store

StoreResource: TypeAlias = Union[LocalStore, "S3Store"]

# boto3's standard retries wait 20 s at most before each: enough for a service that is busy for two minutes.
ATTEMPTS = 10


def open_store(environment: Environment, locks: "dg.EnvVar | None" = None) -> StoreResource:
    """Return the store; `locks` is the variable that holds the URL of the PostgreSQL that keeps machines apart."""
    return open_bucket(environment, locks) if environment.bucket else LocalStore(root=str(environment.store))


def open_bucket(environment: Environment, locks: "dg.EnvVar | None" = None) -> "S3Store":
    """Return the store in a bucket; where none is named, Dagster asks for MMAT_STORE when a run begins."""
    # boto3 takes a second to import.
    import dagster as dg  # noqa: PLC0415
    from dagster_aws.s3 import S3Resource  # noqa: PLC0415

    from resources.s3_store import S3Store  # noqa: PLC0415

    named: dict[str, Any] = {} if locks is None else {"locks": locks}
    return S3Store(
        root=environment.bucket or dg.EnvVar("MMAT_STORE"),
        folder=str(environment.store.absolute()),
        s3=S3Resource(max_attempts=ATTEMPTS),
        **named,
    )
