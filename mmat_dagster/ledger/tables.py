"""The ledger's tables, the same in SQLite and PostgreSQL.

replies    what came back, by the key of what was asked: raw, compressed, with its tokens and its price
claims     what is being asked right now and by which session: written before sending, gone when the reply is stored
sessions   the processes that ask; one that ended without saying so leaves its claims behind, and these are counted
accounts   what was spent: in all, and by run
buckets    how much of a model's rate limits is left: one row for all processes
wanted     what waits for a batch: the request without its images, and the batch that it is in
batches    the batches and how far they are
"""

from dataclasses import dataclass

import sqlalchemy as sa

SCHEMA_VERSION = 1

METADATA = sa.MetaData()

# SQLite counts up only a column of its own INTEGER type.
_COUNTER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEY = sa.LargeBinary(32)

about = sa.Table("about", METADATA, sa.Column("version", sa.Integer, primary_key=True))

# Rows are appended and found by an index of their own: rows that lay in the order of their random keys would touch as
# many pages as there are rows at every commit.
replies = sa.Table(
    "replies",
    METADATA,
    sa.Column("id", _COUNTER, primary_key=True),
    sa.Column("key", _KEY, nullable=False, unique=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("cost_usd", sa.Float),
    sa.Column("batch", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

claims = sa.Table(
    "claims",
    METADATA,
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("session", sa.BigInteger, nullable=False, index=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("reserved_usd", sa.Float, nullable=False),
    sa.Column("claimed_at", sa.Float, nullable=False),
)

sessions = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, index=True),
    sa.Column("lost_calls", sa.Integer, nullable=False),
    sa.Column("lost_usd", sa.Float, nullable=False),
)

accounts = sa.Table(
    "accounts",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("spent_usd", sa.Float, nullable=False),
    sa.Column("reserved_usd", sa.Float, nullable=False),
    sa.Column("lost_calls", sa.BigInteger, nullable=False),
    sa.Column("lost_usd", sa.Float, nullable=False),
)

buckets = sa.Table(
    "buckets",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("requests_per_minute", sa.Float),
    sa.Column("tokens_per_minute", sa.Float),
    sa.Column("requests", sa.Float, nullable=False),
    sa.Column("tokens", sa.Float, nullable=False),
    sa.Column("pace", sa.Float, nullable=False),
    sa.Column("slowed_at", sa.Float, nullable=False),
    sa.Column("paused_until", sa.Float, nullable=False),
    sa.Column("refilled_at", sa.Float, nullable=False),
    sa.Column("told_requests", sa.Float),
    sa.Column("told_tokens", sa.Float),
)

wanted = sa.Table(
    "wanted",
    METADATA,
    sa.Column("id", _COUNTER, primary_key=True),
    sa.Column("key", _KEY, nullable=False, unique=True),
    sa.Column("batch", sa.Text, index=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False, index=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("reserve_usd", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
)

batches = sa.Table(
    "batches",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("session", sa.BigInteger, nullable=False),
    sa.Column("remote_id", sa.Text),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("released", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("ended_at", sa.Float),
)


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The tables of one kind of database, its version as kept in `about`, and what a person calls it."""

    title: str
    metadata: sa.MetaData
    about: sa.Table
    version: int


LEDGER = Schema(title="the reply ledger", metadata=METADATA, about=about, version=SCHEMA_VERSION)
