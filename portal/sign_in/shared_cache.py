"""Django's cache, in which sign-in counts failed attempts: Redis, or this process's memory while Redis is down."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

LIMITS = {"MAX_ENTRIES": 100_000}  # so that an attacker's many names do not evict the counts


class SharedCache(RedisCache):
    """Without Redis, each process counts attempts by itself, and users can still sign in."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self.memory = LocMemCache("sign-in", {"OPTIONS": LIMITS})

    def add(self, key: Any, value: Any, *args: Any, **options: Any) -> bool:
        try:
            return bool(super().add(key, value, *args, **options))
        except RedisError:
            return self.memory.add(key, value, *args, **options)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        try:
            return super().get(key, default, version)
        except RedisError:
            return self.memory.get(key, default, version)

    def set(self, key: Any, value: Any, *args: Any, **options: Any) -> None:
        try:
            super().set(key, value, *args, **options)
        except RedisError:
            self.memory.set(key, value, *args, **options)

    def delete(self, key: Any, version: int | None = None) -> bool:
        try:
            return bool(super().delete(key, version))
        except RedisError:
            return self.memory.delete(key, version)
