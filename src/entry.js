// The way of a request between JavaScript and Wasm. Here are the platform's objects and its waiting; in Wasm is the
// request's task, which is synchronous: it runs to its next step, says what that is, and is resumed with what came of
// it. So a request crosses a few times, with text, whatever its task does in between.

import { env } from 'cloudflare:workers';
import module from './index_bg.wasm';
import { __wbg_reset_state as reset, begin, forget, initSync, resume } from './portcullis_edge.js';
import { TIMEOUT, UNREACHABLE, ask, dress, forward, head, reply } from './host.js';

// Whoever is under way, by the number that Wasm knows; the oldest first.
const visits = new Map();
let last = 0;
// The instance of the core. A panic ends it, and the next one begins.
let instance = 0;
initSync({ module });

class Visit {
  constructor(request, context, requestId) {
    last = (last + 1) % 0x7fff_ffff;
    this.id = last;
    this.instance = instance;
    this.request = request;
    this.context = context;
    this.requestId = requestId;
    this.bornMs = Date.now();
    this.body = undefined;
    this.response = undefined;
    this.promise = undefined;
    this.value = undefined;
    this.late = undefined;
    this.dueMs = 0;
    this.timerMs = Infinity;
    visits.set(this.id, this);
  }

  // The response, at once where the task needs nothing of the platform.
  respond() {
    const text = head(this.request, this.requestId);
    const step = this.enter(() => begin(this.id, text));
    return isEnd(step) ? this.end(step) : this.run(step);
  }

  // Takes the task from step to step until it ends.
  async run(first) {
    let step = first;
    try {
      while (!isEnd(step)) {
        let [status, text] = [0, ''];
        if (step[0] === 'A') [status, text] = await ask(this, step.slice(1));
        else if (step[0] === 'F') [status, text] = await forward(this, step.slice(1));
        else [status, this.value] = await this.promise.then((value) => [1, value], () => [0]);
        step = this.enter(() => resume(this.id, status, text));
      }
      return this.end(step);
    } catch (error) {
      this.forget();
      return this.end(broken(error, this.requestId));
    }
  }

  end(step) {
    visits.delete(this.id);
    switch (step[0]) {
      case 'R': return replied(step);
      case 'D': return dress(this.response, step[1] === '1', step.slice(2).split('\n'));
      default: return this.response;
    }
  }

  // Lets Wasm run. What is thrown out of it has left it in the middle of something: nothing in it is relied on after
  // that, and whoever was in it has lost their tasks.
  enter(work) {
    try {
      if (this.instance !== instance) throw new Error('its instance has ended');
      return work();
    } catch (error) {
      if (this.instance === instance) {
        instance += 1;
        reset();
      }
      return broken(error, this.requestId);
    }
  }

  // A visit whose client has left is never resumed, and nobody says so.
  forget() {
    visits.delete(this.id);
    if (this.instance === instance) forget(this.id);
  }

  // What a step comes to, unless it takes too long or fails: then 0 and the word for that. A step that is late is left to
  // itself, and can ask whether it is: it ends with its request. One timer serves all steps that end in time.
  within(ms, work) {
    return new Promise((resolve) => {
      let over = false;
      this.late = () => {
        over = true;
        resolve([0, TIMEOUT]);
      };
      this.dueMs = Date.now() + ms;
      if (this.dueMs < this.timerMs) this.wind(ms);
      work(() => over).then(resolve, () => resolve([0, UNREACHABLE]));
    });
  }

  wind(ms) {
    this.timerMs = Date.now() + ms;
    setTimeout(() => {
      const leftMs = this.dueMs - Date.now();
      this.timerMs = Infinity;
      if (leftMs > 0) this.wind(leftMs);
      else this.late();
    }, ms);
  }
}

// Longer than any task may take.
const VISIT_MS_MAX = 600_000;

function forgetOldest() {
  for (const visit of visits.values()) {
    if (Date.now() - visit.bornMs < VISIT_MS_MAX) return;
    visit.forget();
  }
}

// Steps that are ends: R, D, or none at all for the response as it is.
function isEnd(step) {
  return step === '' || step[0] === 'R' || step[0] === 'D';
}

// The end of a task that was lost. What an error of the platform says may quote a field; where it was does not.
function broken(error, id) {
  const place = String(error?.stack ?? '').split('\n').slice(1, 8).map((line) => line.trim()).join(', ');
  const line = { level: 'error', event: 'panicked', request_id: id, fault: String(error?.name), place };
  console.error(JSON.stringify(line));
  const [title, detail] = ['Internal Server Error', 'see the log'];
  const body = { type: 'about:blank', title, status: 500, detail, code: 'internal', request_id: id };
  const fields = ['content-type', 'application/problem+json', 'cache-control', 'no-store', 'x-request-id', id];
  return `R500\n${fields.length}\n${fields.join('\n')}\n${JSON.stringify(body)}`;
}

// A response of its parts: R and the status, how many lines of fields follow, those, and the body.
function replied(step) {
  const [status, count] = step.split('\n', 2);
  const lines = step.split('\n', Number(count) + 2);
  const length = lines.reduce((sum, line) => sum + line.length + 1, 0);
  return reply(Number(status.slice(1)), lines.slice(2), step.slice(length));
}

// Another task for the same request, which the answer does not wait for.
export function adopt(parent) {
  const { context, requestId } = visits.get(parent);
  const visit = new Visit(undefined, context, requestId);
  // It begins when Wasm is not in the middle of its parent's step.
  const start = () => visit.run(visit.enter(() => resume(visit.id, 0, '')));
  context.waitUntil(Promise.resolve().then(start));
  return visit.id;
}

// What is to settle next, and what it came to.
export function holdPromise(id, promise) {
  visits.get(id).promise = promise;
}

export function heldValue(id) {
  return visits.get(id).value;
}

export function environment() {
  return env;
}

export function request(id) {
  return visits.get(id).request;
}

// The body that was read, to be sent on.
export function holdBody(id, body) {
  visits.get(id).body = body;
}

// A response that is another's, to end with.
export function holdResponse(id, response) {
  visits.get(id).response = response;
}

export default {
  fetch(request, _, context) {
    forgetOldest();
    return new Visit(request, context, crypto.randomUUID()).respond();
  },
};
