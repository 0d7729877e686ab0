// An API that answers the callers that the gate in front of it states.

import { createServer } from 'node:http';
import { assertionChecker } from './assertion.mjs';

const { GATE_URL, ASSERTION_ISSUER, ASSERTION_AUDIENCE, PORT = '8789' } = process.env;

const check = assertionChecker({
  jwksUrl: `${GATE_URL}/.well-known/portcullis-jwks.json`,
  issuer: ASSERTION_ISSUER,
  audience: ASSERTION_AUDIENCE,
});

const server = createServer(async (request, response) => {
  const reply = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  try {
    const caller = await check(request.headers['portcullis-assertion'] ?? '');
    reply(200, { hello: caller.sub, scope: caller.scope });
  } catch (error) {
    console.error(`assertion rejected: ${error.code ?? error}`);
    reply(401, { error: 'the assertion of the gate is missing or invalid' });
  }
});

server.listen(Number(PORT), '127.0.0.1');
