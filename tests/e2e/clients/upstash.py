"""Upstash's client for Python, in its everyday use, against the gateway named in the environment."""

import asyncio
import os

from upstash_redis import Redis
from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError

URL = os.environ["GATEWAY_URL"]
TOKEN = os.environ["GATEWAY_TOKEN"]


def refused(word, call):
    try:
        call()
    except UpstashError as error:
        assert word in str(error), error
    else:
        raise AssertionError(f"not refused: {word}")


def everyday(redis):
    assert redis.ping() == "PONG"
    assert redis.set("py:a", "hello ü \U0001f600") is True
    assert redis.get("py:a") == "hello ü \U0001f600"
    assert redis.get("py:none") is None
    assert redis.set("py:nx", "1", nx=True, ex=100) is True
    assert redis.set("py:nx", "1", nx=True) is False
    assert redis.ttl("py:nx") == 100
    assert redis.incrby("py:n", 9007199254740993) == 9007199254740993
    assert redis.incrbyfloat("py:f", 1.5) == 1.5
    assert redis.mset({"py:m1": "1", "py:m2": "2"}) is True
    assert redis.mget("py:m1", "py:none", "py:m2") == ["1", None, "2"]
    assert redis.hset("py:h", values={"name": "x", "age": "3"}) == 2
    assert redis.hgetall("py:h") == {"name": "x", "age": "3"}
    assert redis.rpush("py:l", "1", "2") == 2
    assert redis.lrange("py:l", 0, -1) == ["1", "2"]
    assert redis.sadd("py:s", "a", "b") == 2
    assert redis.smembers("py:s") == {"a", "b"} or sorted(redis.smembers("py:s")) == ["a", "b"]
    assert redis.zadd("py:z", {"m": 1.5, "n": 2}) == 2
    assert redis.zrange("py:z", 0, -1, withscores=True) == [("m", 1.5), ("n", 2.0)]
    assert redis.eval("return {KEYS[1], ARGV[1]}", keys=["k"], args=["v"]) == ["k", "v"]
    sha = redis.script_load("return 7")
    assert redis.evalsha(sha) == 7
    cursor, keys = redis.scan(0, match="py:*", count=1000)
    assert cursor == 0 and len(keys) >= 10, (cursor, keys)
    assert redis.exists("py:a", "py:none") == 1
    assert redis.delete("py:a") == 1

    pipeline = redis.pipeline()
    pipeline.set("py:p", "1")
    pipeline.incr("py:p")
    assert pipeline.exec() == [True, 2]
    transaction = redis.multi()
    transaction.set("py:t", "1")
    transaction.incr("py:t")
    transaction.get("py:t")
    assert transaction.exec() == [True, 2, "2"]
    refused("WRONGTYPE", lambda: redis.incr("py:l"))
    refused("NOPERM", redis.flushall)
    for n in range(100):
        redis.set("py:ryw", str(n))
        assert redis.get("py:ryw") == str(n)


async def asynchronous():
    async with AsyncRedis(url=URL, token=TOKEN) as redis:
        answers = await asyncio.gather(*(redis.incr("py:async") for _ in range(50)))
        assert sorted(answers) == list(range(1, 51)), answers
        pipeline = redis.pipeline()
        pipeline.set("py:ap", "x")
        pipeline.get("py:ap")
        assert await pipeline.exec() == [True, "x"]


everyday(Redis(url=URL, token=TOKEN))
Redis(url=URL, token=TOKEN).delete("py:nx", "py:n", "py:f", "py:h", "py:l", "py:s", "py:z")
everyday(Redis(url=URL, token=TOKEN, rest_encoding=None))
refused("WRONGPASS", lambda: Redis(url=URL, token="wrong" * 8).get("x"))
asyncio.run(asynchronous())
print("all of it held")
