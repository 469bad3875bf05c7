"""Kafka: publishing and consuming the events of the flow table."""

from algodock_common.messaging.bus import Bus
from algodock_common.messaging.consume import ForgedMessage, InvalidMessage
from algodock_common.messaging.retry import RetryPolicy, is_retryable
from algodock_common.messaging.signing import SIGNATURE_HEADER, Signer

__all__ = [
    "SIGNATURE_HEADER",
    "Bus",
    "ForgedMessage",
    "InvalidMessage",
    "RetryPolicy",
    "Signer",
    "is_retryable",
]
