// Requests a resource as a strict OAuth 2.0 client, oauth4webapi, does. Prints the status and the
// parameters of the challenge (RFC 6750, RFC 9470) as that client reads them.
import * as oauth from 'oauth4webapi';

const { RESOURCE_URL, TOKEN } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };
try {
  const url = new URL(RESOURCE_URL);
  const response = await oauth.protectedResourceRequest(TOKEN, 'GET', url, undefined, undefined, insecure);
  console.log(JSON.stringify({ status: response.status, challenges: [] }));
} catch (error) {
  if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
  console.log(JSON.stringify({ status: error.status, challenges: error.cause }));
}
