"""The object store: one Protocol, the real one over the minio SDK; the fake is in ``testing``."""

from algodock_common.storage.bucket import BucketKeeper
from algodock_common.storage.minio_store import MinioObjectStore
from algodock_common.storage.store import (
    BINARY,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreFailed,
    ObjectStoreUnavailable,
    checked_key,
    stored_type,
)

__all__ = [
    "BINARY",
    "BucketKeeper",
    "MinioObjectStore",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectStoreFailed",
    "ObjectStoreUnavailable",
    "checked_key",
    "stored_type",
]
