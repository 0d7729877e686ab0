// The minimum cost of a rejected request.
export default {
  fetch() {
    return new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } });
  },
};
