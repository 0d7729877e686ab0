// An upstream that keeps 1 KB of each request. Usage: node leaky_upstream.mjs PORT
import { createServer } from 'node:http';

const kept = [];
const server = createServer((request, response) => {
  kept.push(Buffer.alloc(1024, 1));
  request.resume();
  request.on('end', () => response.end(JSON.stringify({ headers: request.headers })));
});
server.listen(Number(process.argv[2]), '127.0.0.1');
