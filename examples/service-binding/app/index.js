// A Worker that answers only what the gate permits.

export default {
  async fetch(request, env) {
    const { method, url, headers, cf } = request;
    const { pathname } = new URL(url);
    // The gate forwards these to the auth service.
    if (pathname.startsWith('/auth/') || pathname.startsWith('/.well-known/')) return env.GATE.fetch(request);

    const verdict = await env.GATE.check({ method, url, headers, cf });
    if (!verdict.permitted) return new Response(verdict.body, verdict);
    const { subject, scopes, responseHeaders } = verdict;
    return Response.json({ hello: subject, scopes }, { headers: responseHeaders });
  },
};
