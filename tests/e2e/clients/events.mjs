// Signs security event tokens by npm's jose, as a provider would: node events.mjs PORT.
//
// GET /jwks has the keys. POST /sign with {alg, header, claims} answers the token.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

const port = Number(process.argv[2]);
const pairs = new Map();
for (const alg of ['ES256', 'RS256']) pairs.set(alg, await generateKeyPair(alg, { extractable: true }));
const keys = await Promise.all([...pairs].map(async ([alg, { publicKey }]) => (
  { ...await exportJWK(publicKey), alg, kid: alg, use: 'sig' })));

createServer(async (request, response) => {
  if (request.url === '/jwks') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ keys }));
    return;
  }
  const { alg, header, claims } = JSON.parse(await text(request));
  const token = new SignJWT(claims).setProtectedHeader({ alg, kid: alg, ...header });
  response.end(await token.sign(pairs.get(alg).privateKey));
}).listen(port, '127.0.0.1', () => console.log(`listening on ${port}`));
process.on('SIGTERM', () => process.exit(0));
