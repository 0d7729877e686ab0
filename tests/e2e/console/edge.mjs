// Requests to the edge, as the callers that operators look at send them.

/** Sends a request, and returns its status and the code of a refusal. */
export async function ask(facts, path, { token, method = 'GET', headers = {}, body } = {}) {
  const response = await fetch(`${facts.edge_url}${path}`, {
    method,
    headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    body,
  });
  const text = await response.text();
  let reply = null;
  try { reply = JSON.parse(text); } catch { /* Not every upstream replies with JSON. */ }
  return { status: response.status, code: reply?.code ?? reply?.error ?? null, reply };
}

/** Logs a user in through the edge. Returns the tokens, or throws with the status. */
export async function login(facts, { username, password }, agent = 'portcullis-test') {
  const { status, code, reply } = await ask(facts, '/auth/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'user-agent': agent },
    body: JSON.stringify({ username, password }),
  });
  if (status !== 200) throw Object.assign(new Error(`login of ${username}: ${status} ${code}`), { status, code });
  return { access: reply.access_token, refresh: reply.refresh_token };
}

/** Returns a claim of a JWT. */
export function claim(token, name) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())[name];
}

/** Sends requests of all kinds until `stop` is called: good ones, refused ones, limited ones. */
export function load(facts, tokens, clients = 3) {
  let isRunning = true;
  const counts = {};
  const paths = ['/api/hello', '/api/orders?page=1', '/public/x', '/api/limited', '/nowhere', '/api/admin/x'];
  const one = async (start) => {
    for (let turn = start; isRunning; turn += 1) {
      // Every fifth request has no token.
      const token = turn % 5 === 0 ? undefined : tokens[turn % tokens.length];
      try {
        const { status } = await ask(facts, paths[turn % paths.length], { token });
        counts[status] = (counts[status] ?? 0) + 1;
      } catch { counts.failed = (counts.failed ?? 0) + 1; }
      await new Promise((resolve) => { setTimeout(resolve, 40); });
    }
  };
  const all = Array.from({ length: clients }, (_, index) => one(index));
  return { counts, stop: async () => { isRunning = false; await Promise.all(all); return counts; } };
}

/** Waits until `check` returns something true, and returns it. */
export async function until(check, what, seconds = 20) {
  const begun = Date.now();
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() - begun > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 250); });
  }
}
