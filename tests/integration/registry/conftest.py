"""A registry on a real PostgreSQL, with the machine, the instances and the deployer told by fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from algodock_common.database import Database, migrate, outbox
from algodock_common.events import Event, InstanceChanged, InstanceState, Limits, ReleaseChanged
from algodock_common.settings import DatabaseSettings
from algodock_registry import handlers
from algodock_registry.clients import FakeBindTest, FakeDeployer, FakeProbe
from algodock_registry.domain import InstanceTokens, PortRange
from algodock_registry.repository import Instance, Instances

NODE = "node-1"


@dataclass(frozen=True)
class Registry:
    """The context of the handlers, its fakes, and short words for what tests do."""

    context: handlers.Context
    ports: FakeBindTest
    probe: FakeProbe
    deployer: FakeDeployer

    async def register(self, **changed: object) -> handlers.Registered:
        new = handlers.NewInstance(
            algorithm_id=uuid4(),
            algorithm="echo",
            release_id=uuid4(),
            commit="c" * 40,
            node_id=NODE,
            host="127.0.0.1",
            index=0,
            pinned_port=None,
            limits=Limits(),
            health_path="/health",
            sends_heartbeats=False,
        )
        return await handlers.register(self.context, replace(new, **changed))  # type: ignore[arg-type]  # each test knows its fields

    async def ready(self, **changed: object) -> handlers.Registered:
        registered = await self.register(**changed)
        await self.release(registered)
        return registered

    async def release(self, *serving: handlers.Registered, sequence: int = 0, **changed: object) -> None:
        first = serving[0].instance if serving else None
        base: dict[str, object] = {
            "release_id": first.release_id if first else uuid4(),
            "algorithm_id": first.algorithm_id if first else uuid4(),
            "algorithm": first.algorithm if first else "echo",
            "state": "live",
            "service_status": "running",
            "instances": [one.instance.id for one in serving],
        }
        data = ReleaseChanged.model_validate(base | changed)
        event = Event[ReleaseChanged].of(data, source="/deployer").model_copy(update={"sequence": sequence})
        await handlers.apply_release(self.context, event)

    async def states(self, algorithm: str = "echo") -> dict[UUID, InstanceState]:
        found = await handlers.find_instances(self.context, algorithm=algorithm, node_id=None, gone=True)
        return {one.id: one.state for one in found}

    async def state(self, registered: handlers.Registered) -> InstanceState:
        return (await self.states(registered.instance.algorithm))[registered.instance.id]

    async def row(self, registered: handlers.Registered) -> Instance:
        async with self.context.database.read() as session:
            return await session.get_one(Instance, registered.instance.id)

    async def told(self) -> Sequence[tuple[UUID, InstanceState, int]]:
        """Return what routers were told, in order."""
        async with self.context.database.read() as session:
            rows = (await session.execute(sa.select(outbox.c.event).order_by(outbox.c.id))).scalars()
            events = [Event[InstanceChanged].model_validate_json(row).data for row in rows]
        return [(one.instance_id, one.state, one.epoch) for one in events]

    async def age(self, by: timedelta, column: str = "changed_at") -> None:
        """Let time pass for every instance."""
        async with self.context.database.transaction() as tx:
            moved = {column: sa.text(f"{column} - interval '{by.total_seconds()} seconds'")}
            await tx.session.execute(sa.update(Instance).values(moved))

    async def look(self, times: int = 1) -> None:
        """Make every look due and look."""
        for _ in range(times):
            async with self.context.database.transaction() as tx:
                await tx.session.execute(sa.update(Instance).values(look_at=sa.func.now()))
            await handlers.look(self.context)

    async def routes(self) -> tuple[int, dict[UUID, Instance]]:
        async with self.context.database.read() as session:
            epoch, found = await Instances(session).routes()
        return epoch, {one.id: one for one in found}


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    schema = f"registry_{uuid4().hex[:8]}"
    await migrate(database_settings, schema=schema, migrations="algodock_registry.migrations")
    patient = database_settings.model_copy(update={"pool_timeout_s": 120})  # for a thousand leases on a slow machine
    database = Database(patient, schema=schema, source="/registry")
    yield database
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(f'DROP SCHEMA "{schema}" CASCADE'))
    await database.stop()


@pytest.fixture
def registry(database: Database) -> Registry:
    ports, probe, deployer = FakeBindTest(), FakeProbe(), FakeDeployer()
    context = handlers.Context(
        database=database,
        node_id=NODE,
        port_range=PortRange(8100, 8109),
        own_addresses=frozenset({("127.0.0.1", 8105)}),
        interval=timedelta(seconds=10),
        tokens=InstanceTokens(b"k" * 32),
        bind_test=ports,
        probe=probe,
        deployer=deployer,
    )
    return Registry(context, ports, probe, deployer)
