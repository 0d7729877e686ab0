// A stub of core that follows the path of a request, so that src/js/worker.js can be tested alone:
// its steps, its deadlines, its panics. It returns the examples of src/js/protocol.golden, with
// other fields.
import golden from './protocol.golden';
import { streamEnded } from './streams.js';
import { adopt, setPromise, takeValue, watchResponse } from './tasks.js';

const examples = golden.trimEnd().split('\n').map((line) => JSON.parse(line));

/** Returns the first example of a kind of step, with other fields by their line. */
function step(kind, fields = {}) {
  const lines = examples.find(({ value }) => value.kind === kind).wire.split('\n');
  return Object.assign(lines, fields).join('\n');
}

const STALLED = examples.find(({ value }) => value.event === 'task_stalled').wire;

function respond(name, value, body) {
  return `R200\n2\n${name}\n${value}\n${body}`;
}

const decoder = new TextDecoder();
let generation = 0;
/** The step in which a task stays, by the task's number. */
const stuck = new Map();
/** The tasks whose end is a trap. */
const traps = new Set();
/** The streams of the tasks that watch one; `undefined` before the response arrives. */
const streams = new Map();

export function initSync() {}

export function __wbg_reset_state() {
  generation += 1;
}

export function forget() {}

export function clientLeft(_gate, id) {
  if (traps.has(id)) throw new WebAssembly.RuntimeError('unreachable');
  stuck.delete(id);
}

export function begin(_gate, id, _permits, request) {
  const url = new URL(decoder.decode(request).split('\n')[4]);
  const target = url.searchParams.get('url');
  switch (url.pathname) {
    case '/panic': throw new WebAssembly.RuntimeError('unreachable');
    case '/stall':
    case '/settle-again':
      stuck.set(id, url.pathname === '/stall' ? STALLED : step('settle'));
      setPromise(id, Promise.resolve());
      return step('settle');
    case '/trap':
      traps.add(id);
      setPromise(id, new Promise((resolve) => setTimeout(resolve, 30000)));
      return step('settle');
    case '/settle':
      setPromise(id, new Promise((resolve, reject) => setTimeout(url.search ? reject : resolve, 2000, 'settled')));
      return step('settle');
    case '/ask': return step('fetchText', { 1: target, 5: '3000', 6: '1000' });
    case '/stream': streams.set(id, undefined);
    // Falls through.
    case '/forward': return ['F3000', '1', '', target, '1', 'x-secret', 'x-said', 'yes'].join('\n');
    case '/forward-badly': return step('forward', { 3: 'no URL' });
    default: return respond('x-generation', generation, 'body\nof two lines');
  }
}

export function resume(_gate, id, status, result) {
  const text = decoder.decode(result);
  if (stuck.has(id)) return stuck.get(id);
  if (streams.get(id)) {
    setPromise(id, streamEnded(streams.get(id), 500));
    return step('settle');
  }
  if (streams.has(id)) {
    const stream = watchResponse(id);
    streams.set(adopt(id), stream);
  }
  if (status === 200 && text === '') return 'D\nx-dressed\nyes';
  return respond('x-status', status, status === 1 ? takeValue(id) : text);
}
