"""GPUs of instances: leased in the transaction that notes the instance, told to its program, freed with its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_deployer.domain.devices import pick, shares_of, why_not
from algodock_deployer.domain.errors import NoDevice
from algodock_deployer.repository import GpuLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_deployer.domain.devices import Device
    from algodock_deployer.domain.manifest import Resources
    from algodock_deployer.domain.releases import Instance

__all__ = ["device_variables", "lease_devices"]


async def lease_devices(
    session: AsyncSession, instance: Instance, resources: Resources, devices: Sequence[Device]
) -> Sequence[Device]:
    """Lease what the instance wants of the machine's ``devices``; its row is there already.

    Raises:
        NoDevice: there are not so many free; the detail says who has them and what to do.
    """
    if not resources.gpu:
        return ()
    leases, share = GpuLeases(session), shares_of(resources.gpu_share)
    await leases.hold(instance.node_id)
    held = await leases.of_node(instance.node_id)
    found = pick(devices, held, resources.gpu, share)
    if found is None:
        raise NoDevice(why_not(devices, held, resources.gpu, share, instance.algorithm))
    await leases.add(instance.id, instance.node_id, found, share)
    return found


def device_variables(devices: Sequence[Device]) -> dict[str, str]:
    """Return what makes a CUDA program see these devices and no other, by the numbers that ``nvidia-smi`` gives."""
    if not devices:
        return {}
    visible = ",".join(str(one.index) for one in devices)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}
