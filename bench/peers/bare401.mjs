// The least that a refusal could cost.
export default {
  fetch() {
    return new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } });
  },
};
