"""Addresses of stores in the spellings of those who use them."""

from __future__ import annotations

import os

import pytest
from kombu import Connection

from config.env import Env


@pytest.mark.parametrize(
    ("given", "broker"),
    [
        ("redis://:secret@cache:6379/5", "redis://:secret@cache:6379/5"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("rediss://cache/0", "rediss://cache/0?ssl_cert_reqs=required"),
        ("rediss://cache/0?ssl_cert_reqs=none", "rediss://cache/0?ssl_cert_reqs=none"),
    ],
)
def test_broker_is_the_same_redis(given: str, broker: str) -> None:
    assert Env(REDIS_URL=given).broker_url() == broker


def test_celery_uses_that_database_of_a_socket() -> None:
    address = os.environ["REDIS_URL"]
    if not address.startswith("unix://"):
        pytest.skip("the tests' Redis is not on a socket")
    with Connection(Env(REDIS_URL=f"{address}?db=3").broker_url()) as connection:
        client = connection.default_channel.client
        assert client.connection_pool.connection_kwargs["db"] == 3
        assert client.ping()
