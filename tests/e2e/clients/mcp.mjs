// Two MCP servers, and a client with OAuth, by npm's @modelcontextprotocol/sdk:
//
//   node mcp.mjs serve PORT      the servers, at /orders/mcp and /files/mcp; they check no token
//   node mcp.mjs call URL TOOL   signs in from nothing but the URL, and calls the tool
//
// `call` prints what it did as JSON. With TOKEN it sends that token, and signs in nowhere.
import { createServer } from 'node:http';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

/** Serves one MCP server for each path, without sessions. Its one tool says who calls. */
function serve(port) {
  const http = createServer(async (request, response) => {
    const [, name] = /^\/(orders|files)\/mcp$/.exec(request.url) ?? [];
    if (!name) return response.writeHead(404).end();
    const server = new McpServer({ name, version: '1.0.0' });
    const subject = request.headers['portcullis-subject'] ?? 'an unknown caller';
    const leaked = request.headers.authorization !== undefined;
    server.registerTool(`list_${name}`, { description: `Lists the ${name} of the caller.` }, () => ({
      content: [{ type: 'text', text: `${name} of ${subject}${leaked ? ', with a token' : ''}` }],
    }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    response.on('close', () => { transport.close(); server.close(); });
    await server.connect(transport);
    return transport.handleRequest(request, response);
  });
  http.listen(port, '127.0.0.1', () => console.log(`listening on ${port}`));
  process.on('SIGTERM', () => process.exit(0));
}

/** What a client keeps between its steps. A browser would show the page of the sign-in. */
class Session {
  redirectUrl = 'http://127.0.0.1/callback';
  clientMetadata = {
    client_name: 'test client', redirect_uris: [this.redirectUrl], application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none',
  };
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  redirectToAuthorization(url) { this.authorization = url; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
}

/** Follows the redirects of a sign-in, as a browser does. Returns the code. */
async function signIn(start, callback) {
  let url = start.href;
  const jar = new Map();
  for (let hops = 0; hops < 8 && !url.startsWith(`${callback}?`); hops += 1) {
    const cookie = [...jar].map((pair) => pair.join('=')).join('; ');
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const field of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(field);
      jar.set(name, value);
    }
    const location = answer.headers.get('location');
    if (!location) throw new Error(`${answer.status} ${await answer.text()}`);
    url = new URL(location, url).href;
  }
  return new URL(url).searchParams.get('code');
}

async function call(url, tool) {
  const { TOKEN } = process.env;
  const session = new Session();
  const requests = [];
  const recorded = async (input, init) => {
    const answer = await fetch(input, init);
    requests.push({ url: String(input), status: answer.status, challenge: answer.headers.get('www-authenticate') });
    return answer;
  };
  const connect = async () => {
    const client = new Client({ name: 'test client', version: '1.0.0' });
    const options = TOKEN ? { requestInit: { headers: { authorization: `Bearer ${TOKEN}` } } } : { authProvider: session };
    const transport = new StreamableHTTPClientTransport(new URL(url), { ...options, fetch: recorded });
    return [client, transport, client.connect(transport)];
  };
  let [client, transport, connected] = await connect();
  try {
    await connected;
  } catch (error) {
    if (TOKEN || !(error instanceof UnauthorizedError)) {
      return console.log(JSON.stringify({ error: String(error), requests }));
    }
    await transport.finishAuth(await signIn(session.authorization, session.redirectUrl));
    [client, transport, connected] = await connect();
    await connected;
  }
  const { content } = await client.callTool({ name: tool, arguments: {} });
  await client.close();
  return console.log(JSON.stringify({
    text: content[0].text, token: session.saved?.access_token, authorization: session.authorization?.href, requests,
  }));
}

const [command, ...rest] = process.argv.slice(2);
await (command === 'serve' ? serve : call)(...rest);
