// Serves the page of this example. Usage: node server.mjs PORT
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const files = {
  '/': ['page/index.html', 'text/html'],
  '/page.js': ['page/page.js', 'text/javascript'],
  '/portcullis-client.js': ['../../clients/js/index.js', 'text/javascript'],
};

const server = createServer(async (request, response) => {
  const file = files[new URL(request.url, 'http://localhost').pathname];
  if (!file) {
    response.writeHead(404).end();
    return;
  }
  const [path, type] = file;
  response.setHeader('content-type', type);
  response.end(await readFile(new URL(path, import.meta.url)));
});

server.listen(Number(process.argv[2] ?? 8790), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
