// The minimum cost of any proxy: only the upstream.
export default {
  fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    return fetch(env.UPSTREAM_URL + pathname + search, request);
  },
};
