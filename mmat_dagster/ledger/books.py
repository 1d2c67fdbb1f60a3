"""Accounts and buckets as one transaction reads and changes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from mmat_dagster.interfaces import BudgetReached
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import TOTAL, Account, Budget, run_account
from mmat_dagster.ledger.buckets import Bucket, Limits

_ACCOUNTS = sa.select(tables.accounts).where(tables.accounts.c.name.in_(sa.bindparam("names", expanding=True)))
_BUCKET = sa.select(tables.buckets).where(tables.buckets.c.name == sa.bindparam("wanted_name"))


def _update(table: sa.Table) -> sa.Update:
    values: dict[str, Any] = {
        column.name: sa.bindparam(column.name) for column in table.columns if column.name != "name"
    }
    return table.update().where(table.c.name == sa.bindparam("row_name")).values(values)


_UPDATE_ACCOUNT = _update(tables.accounts)
_UPDATE_BUCKET = _update(tables.buckets)


@dataclass(kw_only=True)
class Books:
    """Accounts and buckets as one transaction reads and changes them; `write` puts back what has changed."""

    connection: sa.Connection
    now: float
    _accounts: dict[str, Account] = field(default_factory=dict)
    _buckets: dict[str, Bucket] = field(default_factory=dict)
    _is_new: set[str] = field(default_factory=set)
    _before: dict[str, dict[str, Any]] = field(default_factory=dict)

    def open_accounts(self, run_ids: Iterable[str]) -> None:
        """Read the accounts of runs, and the total."""
        names = {TOTAL, *map(run_account, run_ids)} - self._accounts.keys()
        if names:
            for row in self.connection.execute(_ACCOUNTS, {"names": sorted(names)}).mappings():
                self._accounts[row["name"]] = Account(**row)
                self._before[row["name"]] = dict(row)
            for name in names - self._accounts.keys():
                self._accounts[name] = Account(name=name)
                self._is_new.add(name)

    def accounts(self, run_id: str) -> tuple[Account, Account]:
        """Return the account of a run and the total."""
        self.open_accounts([run_id])
        return self._accounts[run_account(run_id)], self._accounts[TOTAL]

    def bucket(self, limits: Limits) -> Bucket:
        """Return the bucket of `limits`, refilled until now."""
        name = f"bucket {limits.name}"
        if name not in self._buckets:
            row = self.connection.execute(_BUCKET, {"wanted_name": limits.name}).mappings().first()
            self._buckets[name] = Bucket(**row) if row else Bucket.full(limits, self.now)
            if row:
                self._before[name] = dict(row)
            else:
                self._is_new.add(name)
            self._buckets[name].limit(limits)
            self._buckets[name].refill(self.now)
        return self._buckets[name]

    def over_budget(self, run_id: str, usd: float, budget: Budget) -> BudgetReached:
        """Return the error for a request of `usd` that no longer fits: what was spent, and how to go on."""
        run, total = self.accounts(run_id)
        is_run = run.judge(usd, budget.run_usd) == "over"
        account, cap, name = (
            (run, budget.run_usd, "budget_usd_per_run") if is_run else (total, budget.total_usd, "budget_usd")
        )
        lost = f" and up to ${account.lost_usd:.4f} lost in flight" if account.lost_calls else ""
        return BudgetReached(
            f"the budget of ${cap:g} {'for this run' if is_run else 'in all'} is reached: ${account.spent_usd:.4f} "
            f"spent on {account.calls:,} calls{lost}, and the next one may cost ${usd:.4f}. Every reply is kept: "
            f"raise `{name}` and run again to go on where this run has stopped"
        )

    def write(self) -> None:
        """Write what has changed."""
        self._write(tables.accounts, _UPDATE_ACCOUNT, self._accounts)
        self._write(tables.buckets, _UPDATE_BUCKET, self._buckets)

    def _write(self, table: sa.Table, update: sa.Update, kept: dict[str, Any]) -> None:
        rows = {name: dict(vars(entry)) for name, entry in kept.items()}
        new = [row for name, row in rows.items() if name in self._is_new]
        changed = [
            {**row, "row_name": row["name"]}
            for name, row in rows.items()
            if name not in self._is_new and row != self._before[name]
        ]
        for row in changed:
            del row["name"]
        if new:
            self.connection.execute(table.insert(), new)
        if changed:
            self.connection.execute(update, changed)
