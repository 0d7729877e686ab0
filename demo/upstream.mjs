// A small upstream API for the demo: it responds to every request with a copy of the request.
// Usage: node demo/upstream.mjs PORT [ADDRESS]
import { createServer } from 'node:http';

const BODY_BYTES_MAX = 1024 * 1024;

const server = createServer((request, response) => {
  const chunks = [];
  let bytes = 0;
  request.on('data', (chunk) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  });
  request.on('end', () => {
    const { method, url, headers } = request;
    const body = Buffer.concat(chunks).toString();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, body, body_bytes: bytes }, null, 2) + '\n');
  });
});

const [, , port, host = '127.0.0.1'] = process.argv;
server.listen(Number(port), host, () => {
  console.log(JSON.stringify({ event: 'listening', address: `${host}:${server.address().port}` }));
});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
