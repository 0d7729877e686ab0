// Upstash's rate limiter, each of its algorithms, against the redis gateway named in the
// environment.
import assert from "node:assert/strict";
import { Ratelimit } from "@upstash/ratelimit";
import { Redis } from "@upstash/redis";

let trips = [];
const plain = globalThis.fetch;
globalThis.fetch = async (resource, options) => {
  trips.push(String(JSON.parse(options.body)[0]).toLowerCase());
  return plain(resource, options);
};

const redis = new Redis({
  url: process.env.GATEWAY_URL,
  token: process.env.GATEWAY_TOKEN,
  enableAutoPipelining: false,
});

const algorithms = {
  fixedWindow: Ratelimit.fixedWindow(5, "60 s"),
  slidingWindow: Ratelimit.slidingWindow(5, "60 s"),
  tokenBucket: Ratelimit.tokenBucket(5, "60 s", 5),
  cachedFixedWindow: Ratelimit.cachedFixedWindow(5, "60 s"),
};
const make = (name, more) =>
  new Ratelimit({ redis, limiter: algorithms[name], prefix: `rl:${name}`, analytics: false, ...more });

// A window that ends during the count would rightly admit more.
const room = 60_000 - (Date.now() % 60_000);
if (room < 15_000) await new Promise((resolve) => setTimeout(resolve, room + 50));

for (const name of Object.keys(algorithms)) {
  const cached = name === "cachedFixedWindow";
  const limiter = make(name, { ephemeralCache: cached ? new Map() : false });
  await redis.scriptFlush();
  trips = [];
  const first = await limiter.limit("alice");
  await first.pending;
  assert(first.success && first.limit === 5 && first.remaining === 4, JSON.stringify(first));
  assert.deepEqual(trips, ["evalsha", "eval"], `${name}: unknown at first`);
  trips = [];
  const second = await limiter.limit("alice");
  await second.pending;
  assert.deepEqual(trips, ["evalsha"], `${name}: hits at the first try`);

  // Redis forgets its scripts, as in a failover.
  await redis.scriptFlush();
  trips = [];
  const third = await limiter.limit("alice");
  await third.pending;
  await (await limiter.limit("alice")).pending;
  assert.deepEqual(trips, ["evalsha", "eval", "evalsha"], name);

  const { remaining } = await limiter.getRemaining("alice");
  assert.equal(remaining, 1, name);
  const last = await limiter.limit("alice");
  await last.pending;
  assert(last.success && last.remaining === 0, `${name}: ${JSON.stringify(last)}`);
  const denied = await limiter.limit("alice");
  await denied.pending;
  assert(!denied.success && denied.reset > Date.now(), `${name}: ${JSON.stringify(denied)}`);
  assert((await limiter.limit("bob")).success, `${name}: another's budget`);
  await limiter.resetUsedTokens("alice");
  assert((await limiter.limit("alice")).success, `${name}: forgiven`);

  // 40 requests at once, of which 5 may pass.
  if (!cached) {
    const crowd = await Promise.all(Array.from({ length: 40 }, () => limiter.limit("crowd")));
    assert.equal(crowd.filter(({ success }) => success).length, 5, name);
  }
  console.log(`${name}: ok`);
}
const denying = make("fixedWindow", { prefix: "rl:deny", enableProtection: true });
await redis.sadd("rl:deny:denyList:all", "mallory");
await redis.set("rl:deny:ipDenyListStatus", "disabled");
const refused = await denying.limit("mallory");
assert(!refused.success && refused.reason === "denyList", JSON.stringify(refused));
console.log("all of it held");
process.exit(0);
