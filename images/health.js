// The health check of the edge's image, which `workerd test` runs. The edge answers each request,
// also one for an unknown path; with an invalid configuration it answers 503
// `configuration_invalid`.
export default {
  async test() {
    const response = await fetch('http://127.0.0.1:8787/', { redirect: 'manual' });
    if (response.status === 503 && (await response.text()).includes('configuration_invalid')) {
      throw new Error('the configuration of the edge is invalid');
    }
  },
};
