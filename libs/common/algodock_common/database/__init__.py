"""PostgreSQL: one schema a service, transactions that carry events, migrations at start."""

from algodock_common.database.engine import Database, Transaction, Writer
from algodock_common.database.inbox import accept_once
from algodock_common.database.migrations import latest_revision, migrate
from algodock_common.database.tables import create_messaging_tables, inbox, outbox

__all__ = [
    "Database",
    "Transaction",
    "Writer",
    "accept_once",
    "create_messaging_tables",
    "inbox",
    "latest_revision",
    "migrate",
    "outbox",
]
