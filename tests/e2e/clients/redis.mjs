// Upstash's own client, in its everyday use, against the redis gateway named in the environment.
import assert from "node:assert/strict";
import { Redis } from "@upstash/redis";

const url = process.env.GATEWAY_URL;
const token = process.env.GATEWAY_TOKEN;

// Every request that the client sends, with its response.
const sent = [];
const plain = globalThis.fetch;
globalThis.fetch = async (resource, options) => {
  const request = { path: new URL(resource).pathname, headers: { ...options.headers } };
  sent.push(request);
  const response = await plain(resource, options);
  request.syncToken = response.headers.get("upstash-sync-token");
  return response;
};

const redis = new Redis({ url, token, enableAutoPipelining: false });

async function strings() {
  assert.equal(await redis.set("js:a", "hello"), "OK");
  assert.equal(await redis.get("js:a"), "hello");
  assert.equal(await redis.set("js:o", { a: [1, "ü", null], b: { c: true } }), "OK");
  assert.deepEqual(await redis.get("js:o"), { a: [1, "ü", null], b: { c: true } });
  assert.equal(await redis.get("js:none"), null);
  assert.equal(await redis.set("js:ok", "OK"), "OK");
  assert.equal(await redis.get("js:ok"), "OK");
  assert.equal(await redis.set("js:n", 41), "OK");
  assert.equal(await redis.incr("js:n"), 42);
  assert.equal(await redis.incrbyfloat("js:f", 1.5), 1.5);
  assert.equal(await redis.set("js:nx", 1, { nx: true, ex: 100 }), "OK");
  assert.equal(await redis.set("js:nx", 2, { nx: true }), null);
  assert.equal(await redis.ttl("js:nx"), 100);
  assert.equal(await redis.getdel("js:nx"), 1);
  assert.equal(await redis.set("js:big", "9007199254740993"), "OK");
  assert.equal(await redis.get("js:big"), "9007199254740993");
  assert.deepEqual(await redis.mget("js:a", "js:none", "js:n"), ["hello", null, 42]);
  assert.equal(await redis.mset({ "js:m1": "1", "js:m2": { x: 1 } }), "OK");
  assert.deepEqual(await redis.mget("js:m1", "js:m2"), [1, { x: 1 }]);
  assert.equal(await redis.append("js:app", "é\u{1f600}\n\"\\"), 9);
  assert.equal(await redis.get("js:app"), "é\u{1f600}\n\"\\");
  assert.equal(await redis.exists("js:a", "js:none"), 1);
  assert.equal(await redis.del("js:a", "js:o"), 2);
  assert.equal(await redis.setbit("js:bit", 7, 1), 0);
  assert.equal(await redis.bitcount("js:bit", 0, -1), 1);
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.echo("x"), "x");
  assert.equal((await redis.time()).length, 2);
}

async function collections() {
  assert.equal(await redis.hset("js:h", { name: "x", age: 3, tags: ["a"] }), 3);
  assert.deepEqual(await redis.hgetall("js:h"), { name: "x", age: 3, tags: ["a"] });
  assert.deepEqual(await redis.hmget("js:h", "name", "none"), { name: "x", none: null });
  assert.equal(await redis.hgetall("js:none"), null);
  assert.equal(await redis.hincrby("js:h", "age", 2), 5);
  assert.equal(await redis.rpush("js:l", 1, "two", { three: 3 }), 3);
  assert.deepEqual(await redis.lrange("js:l", 0, -1), [1, "two", { three: 3 }]);
  assert.equal(await redis.lpop("js:l"), 1);
  assert.equal(await redis.sadd("js:s", "a", "b"), 2);
  assert.deepEqual((await redis.smembers("js:s")).sort(), ["a", "b"]);
  assert.equal(await redis.zadd("js:z", { score: 1.5, member: "m" }, { score: 2, member: "n" }), 2);
  assert.deepEqual(await redis.zrange("js:z", 0, -1, { withScores: true }), ["m", 1.5, "n", 2]);
  assert.equal(await redis.zscore("js:z", "m"), 1.5);
  assert.equal(await redis.zunionstore("js:zz", 2, ["js:z", "js:z"]), 2);
  const id = await redis.xadd("js:x", "*", { field: "value" });
  assert.deepEqual(await redis.xrange("js:x", "-", "+"), { [id]: { field: "value" } });
  const read = await redis.xread("js:x", "0");
  assert.equal(read[0][0], "js:x");
  assert.equal(await redis.pfadd("js:p", "a", "b"), 1);
  assert.equal(await redis.geoadd("js:g", { longitude: 13.4, latitude: 52.5, member: "Berlin" }), 1);
  const found = new Set();
  let cursor = "0";
  do {
    const [next, keys] = await redis.scan(cursor, { match: "js:*", count: 5 });
    keys.forEach((key) => found.add(key));
    cursor = next;
  } while (cursor !== "0");
  assert(found.size > 15, `${found.size}`);
}

async function batches() {
  const pipeline = redis.pipeline();
  pipeline.set("js:b", { n: 1 });
  pipeline.incr("js:bn");
  pipeline.get("js:b");
  sent.length = 0;
  assert.deepEqual(await pipeline.exec(), ["OK", 1, { n: 1 }]);
  assert.deepEqual(sent.map((request) => request.path), ["/pipeline"]);
  await assert.rejects(redis.pipeline().set("js:b", 1).lpush("js:b", 1).exec(), /WRONGTYPE/);
  const kept = await redis.pipeline().get("js:b").lpush("js:b", 1).exec({ keepErrors: true });
  assert.equal(kept[0].result, 1);
  assert.match(kept[1].error, /WRONGTYPE/);
  const transaction = redis.multi();
  transaction.set("js:t", 1);
  transaction.incr("js:t");
  assert.deepEqual(await transaction.exec(), ["OK", 2]);

  // With auto-pipelining, the commands of one turn are sent in one request for all writes and one
  // for all reads.
  const automatic = new Redis({ url, token, enableAutoPipelining: true });
  sent.length = 0;
  const answers = await Promise.all([
    automatic.set("js:auto", 7),
    automatic.incr("js:auto"),
    ...Array.from({ length: 50 }, (_, n) => automatic.echo(`e${n}`)),
  ]);
  assert.deepEqual(answers.slice(0, 4), ["OK", 8, "e0", "e1"]);
  assert.deepEqual(sent.map((request) => request.path), ["/pipeline", "/pipeline"]);
}

async function readYourWrites() {
  sent.length = 0;
  await redis.set("js:ryw", 1);
  assert.equal(await redis.get("js:ryw"), 1);
  assert(sent[0].syncToken, "the answer to a write has a token");
  assert.equal(sent[1].headers["upstash-sync-token"], sent[0].syncToken, "and it comes back");
  await redis.set("js:ryw", 2);
  assert.notEqual(sent[2].syncToken, sent[0].syncToken);
  for (let n = 0; n < 200; n += 1) {
    await redis.set("js:ryw", n);
    assert.equal(await redis.get("js:ryw"), n);
  }
}

async function scripts() {
  assert.equal(await redis.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", ["js:sc"], [5]), 5);
  const sha = await redis.scriptLoad("return ARGV[1]");
  assert.deepEqual(await redis.evalsha(sha, [], ["x"]), "x");
  assert.deepEqual(await redis.scriptExists(sha, "0".repeat(40)), [1, 0]);
  const script = redis.createScript("return {KEYS[1], ARGV[1]}");
  assert.deepEqual(await script.exec(["k"], ["v"]), ["k", "v"]);
}

async function errors() {
  await redis.set("js:e", "text");
  await assert.rejects(redis.incr("js:e"), /ERR value is not an integer/);
  const stranger = new Redis({ url, token: "wrong".repeat(8) });
  await assert.rejects(stranger.get("js:e"), /WRONGPASS/);
  // serverless-redis-http's tokens have no roles.
  if (!process.env.GATEWAY_READ_TOKEN) return;
  await assert.rejects(redis.flushall(), /NOPERM/);
  await assert.rejects(redis.keys("*"), /NOPERM/);
  const reader = new Redis({ url, token: process.env.GATEWAY_READ_TOKEN });
  assert.equal(await reader.get("js:e"), "text");
  await assert.rejects(reader.set("js:e", 1), /NOPERM/);
  await assert.rejects(reader.scan(0), /NOPERM/);
}

async function channels() {
  const messages = [];
  const subscriber = redis.subscribe(["js:news", "js:other"]);
  const patterns = redis.psubscribe("js:n*");
  const ready = Promise.all([
    new Promise((resolve) => subscriber.on("subscribe", resolve)),
    new Promise((resolve) => patterns.on("psubscribe", resolve)),
  ]);
  const both = new Promise((resolve) => {
    const note = (kind) => (event) => {
      messages.push([kind, event.channel, event.message]);
      if (messages.length === 2) resolve();
    };
    subscriber.on("message", note("message"));
    patterns.on("pmessage", note("pmessage"));
  });
  await ready;
  assert(await redis.publish("js:news", { text: "hi, there" }) >= 2);
  await both;
  messages.sort();
  assert.deepEqual(messages, [
    ["message", "js:news", { text: "hi, there" }],
    ["pmessage", "js:news", { text: "hi, there" }],
  ]);
  await subscriber.unsubscribe();
  await patterns.unsubscribe();
}

const parts = { strings, collections, batches, readYourWrites, scripts, errors, channels };
for (const [name, part] of Object.entries(parts)) {
  await part();
  console.log(`${name}: ok`);
}
console.log("all of it held");
process.exit(0);
