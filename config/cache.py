"""The cache while Redis cannot be reached: this process's own memory, so that pages and sign-in go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0  # after an error Redis is left alone so long: a request must not wait for it at each call


def _steady(name: str) -> Callable[..., Any]:
    """The method `name` of RedisCache, or of the memory while Redis is down."""

    def method(self: SteadyRedisCache, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= self.down_until.get(self.location, 0.0):
            try:
                return getattr(RedisCache, name)(self, *args, **kwargs)
            except RedisError as error:
                self.down_until[self.location] = time.monotonic() + PAUSE_SECONDS
                log.warning("cache_down", error=repr(error))
        return getattr(self.memory, name)(*args, **kwargs)

    return method


class SteadyRedisCache(RedisCache):
    """RedisCache that never raises what Redis does.

    What is throttled stays throttled meanwhile, though each web process counts for itself.
    """

    down_until: ClassVar[dict[str, float]] = {}  # of the process: each thread has a cache object of its own

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self.location = server
        self.memory = LocMemCache(f"instead of {server}", {**params, "OPTIONS": {}})

    add = _steady("add")
    get = _steady("get")
    set = _steady("set")
    touch = _steady("touch")
    delete = _steady("delete")
    get_many = _steady("get_many")
    has_key = _steady("has_key")
    incr = _steady("incr")
    set_many = _steady("set_many")
    delete_many = _steady("delete_many")
    clear = _steady("clear")
