// The least that any proxy could cost: the upstream, and nothing else.
export default {
  fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    return fetch(env.UPSTREAM_URL + pathname + search, request);
  },
};
