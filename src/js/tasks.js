// @ts-check
// The tasks. Each request is a task: JavaScript has the platform's objects and does the waiting,
// and Wasm decides. Wasm is synchronous: it runs a task up to its next step, returns that, and is
// resumed with the result. So a request crosses a few times, with text.

import module from './index_bg.wasm';
import {
  __wbg_reset_state as reset, begin, clientLeft, forget, initSync, resume,
} from './portcullis_edge.js';
import { TextHeaders, decorate, fetchText, forward, forwardAgain, respond } from './http.js';
import { internalError, logError, panicked } from './failures.js';
import { endStream, openStream } from './streams.js';
import {
  PlatformFailure, REJECTED, SETTLED, START, decodeStep, encodeRequest, failed, utf8,
} from './protocol.js';
import { StepTimer } from './timer.js';

/**
 * @typedef {import('./protocol.js').Step} Step
 * @typedef {import('./protocol.js').End} End
 * @typedef {import('./protocol.js').Resume} Resume
 * @typedef {import('./streams.js').Stream} Stream
 * @typedef {Pick<ExecutionContext, 'waitUntil'>} Context
 *
 * Answers a permitted request in the place of the upstream.
 * @typedef {(outbound: Request, permit: string) => Promise<Response>} Handler
 */

/** The state of the Worker that outlives a request, in all of its gates. */
class Edge {
  /**
   * The tasks that have not ended, by the number that Wasm knows.
   * @type {Map<number, RequestTask>}
   */
  tasks = new Map();
  lastId = 0;
  sweptMs = 0;
  /** Counts the instances of Wasm. A panic ends one, and the next one begins. */
  instance = 0;
  /** The location that serves, from one of the first requests: an isolate stays. */
  colo = '';
  textHeaders = new TextHeaders();

  /** @param {RequestTask} task */
  add(task) {
    this.lastId = (this.lastId + 1) % 0x7fff_ffff;
    this.tasks.set(this.lastId, task);
    return this.lastId;
  }

  /** @returns {RequestTask} */
  task(/** @type {number} */ id) {
    const task = this.tasks.get(id);
    if (!task) throw new Error('no task has this number');
    return task;
  }

  /**
   * Reads the location. Not every request of another Worker has it, and outside of Cloudflare none
   * has. `cf` is slow, so later requests are not asked.
   */
  locate(/** @type {Request} */ request) {
    if (this.colo !== '' || this.lastId > LOCATE_TASKS) return;
    this.colo = /** @type {string | undefined} */ (request.cf?.colo) ?? '';
  }

  /** Replaces the instance of Wasm, unless a newer one has begun already. */
  resetInstance(/** @type {number} */ instance) {
    if (instance !== this.instance) return;
    this.instance += 1;
    reset();
  }

  /**
   * Forgets the tasks that have waited longer than their step takes, once a second. The platform
   * does not resume a task whose client has left, and does not always say so. After a pause of the
   * isolate the results of steps are read late, so that a task has until the next sweep.
   */
  forgetStale() {
    const now = Date.now();
    if (now < this.sweptMs + SWEEP_MS) return;
    this.sweptMs = now;
    for (const task of this.tasks.values()) {
      if (now <= task.staleMs) {
        if (now > task.takenMs + RESEND_MS_MAX) task.resend = undefined;
      } else if (task.isSuspect) {
        task.leave();
      } else {
        task.isSuspect = true;
      }
    }
  }
}

/** The task of one request, or a background task of it. */
export class RequestTask {
  /** @type {Uint8Array | undefined} */
  body = undefined;
  /**
   * Sends the forwarded request again, while that may be done.
   * @type {(() => Promise<Response>) | undefined}
   */
  resend = undefined;
  /** The size of the request's head, in characters. */
  headLength = 0;
  /** @type {Response | undefined} */
  response = undefined;
  /**
   * The stream that the task watches.
   * @type {Stream | undefined}
   */
  stream = undefined;
  /** @type {Promise<unknown> | undefined} */
  promise = undefined;
  left = false;
  isListening = false;
  /** Whether the last sweep found that its step should have ended. */
  isSuspect = false;
  /**
   * Answers the request, if the upstream does not.
   * @type {Handler | undefined}
   */
  handler = undefined;
  /** @type {unknown} */
  value = undefined;
  timer = new StepTimer();
  takenMs = 0;

  /**
   * @param {number} gate
   * @param {Request | undefined} request
   * @param {Context} context
   * @param {string} requestId
   */
  constructor(gate, request, context, requestId) {
    this.gate = gate;
    this.id = edge.add(this);
    this.instance = edge.instance;
    this.request = request;
    this.context = context;
    this.requestId = requestId;
    this.staleMs = Date.now() + START_MS_MAX;
  }

  /**
   * Returns the response, at once if the task needs nothing of the platform.
   * @param {Request} request
   */
  respond(request) {
    edge.forgetStale();
    edge.locate(request);
    const text = encodeRequest(Date.now(), this.requestId, edge.colo, request);
    this.headLength = text.length;
    const step = this.callWasm(() => begin(this.gate, this.id, this.handler !== undefined, utf8(text)));
    if (isEnd(step)) return this.end(step);
    return this.run(step);
  }

  /**
   * Begins to notice that the client leaves: that its connection was reset before there is a
   * response. A signal is slow to make, so a request that ends before it waits has none. V8 is late
   * to collect it and what its listener holds, so the listener has only the number.
   */
  listen() {
    const { id, request } = this;
    this.isListening = true;
    const leave = () => edge.tasks.get(id)?.leave();
    // Not at once, because Wasm may be running.
    if (request?.signal.aborted) Promise.resolve().then(leave);
    else request?.signal.addEventListener('abort', leave);
  }

  /** Returns the request, which the task keeps no longer: its headers may be large. */
  takeRequest() {
    if (!this.isListening) this.listen();
    const { request } = this;
    this.request = undefined;
    if (!request) throw new Error('the request was forwarded already');
    return request;
  }

  /**
   * Runs the task to its end.
   * @param {Step | End} first
   * @returns {Promise<Response>}
   */
  async run(first) {
    let step = first;
    try {
      while (!isEnd(step)) {
        const [status, text] = await this.take(step);
        if (this.left) return this.end(LEFT);
        step = this.callWasm(() => resume(this.gate, this.id, status, utf8(text)));
      }
      return this.end(step);
    } catch (error) {
      this.drop(() => forget(this.gate, this.id));
      return this.end(panicked(error, this.requestId));
    }
  }

  /**
   * Takes a step.
   * @param {Step} step
   * @returns {Promise<Resume>}
   */
  take(step) {
    const ms = 'withinMs' in step ? step.withinMs : step.deadlineMs;
    if (!this.isListening && step.kind !== 'compute') this.listen();
    this.takenMs = Date.now();
    this.staleMs = this.takenMs + ms + STALE_MARGIN_MS;
    this.isSuspect = false;
    switch (step.kind) {
      case 'fetchText': return fetchText(this, step, edge.textHeaders);
      case 'forward': return forward(this, step);
      case 'forwardAgain': return forwardAgain(this, step);
      case 'settle':
      case 'compute': return this.settle();
      default: return never(step);
    }
  }

  /** @returns {Promise<Resume>} */
  settle() {
    const { promise } = this;
    this.promise = undefined;
    if (!promise) throw new Error('the task holds no promise');
    return promise.then((value) => {
      this.value = value;
      return SETTLED;
    }, (error) => failed(error instanceof PlatformFailure ? error.word : REJECTED));
  }

  /**
   * @param {End} end
   * @returns {Response}
   */
  end(end) {
    edge.tasks.delete(this.id);
    this.timer.stop();
    // Nothing watches it from here on: it has ended, or the task has failed.
    if (this.stream) endStream(this.stream, 'internal');
    switch (end.kind) {
      case 'respond': return respond(end.status, end.fields, end.body);
      case 'decorate': return decorate(this.forwarded(), end.ownsCors, end.fields);
      case 'pass': return this.forwarded();
      case 'failed': {
        logError({ event: end.event, request_id: this.requestId });
        const { status, fields, body } = internalError(this.requestId);
        return respond(status, fields, body);
      }
      default: return never(end);
    }
  }

  /**
   * Returns the forwarded response. A background task has none, and nothing reads what it ends
   * with.
   */
  forwarded() {
    return /** @type {Response} */ (this.response);
  }

  /**
   * Runs Wasm. An exception leaves it in the middle of its work: the instance is replaced, and its
   * other tasks are lost.
   * @param {() => string} work
   * @returns {Step | End}
   */
  callWasm(work) {
    try {
      if (this.instance !== edge.instance) throw new Error('its instance has ended');
      return decodeStep(work());
    } catch (error) {
      edge.resetInstance(this.instance);
      return panicked(error, this.requestId);
    }
  }

  /** Forgets the task, because its client has left. */
  leave() {
    // What it waits for may come all the same.
    this.left = true;
    this.drop(() => clientLeft(this.gate, this.id, this.requestId));
  }

  /**
   * Deletes the task, in Wasm by `work`.
   * @param {() => void} work
   */
  drop(work) {
    if (!edge.tasks.delete(this.id) || this.instance !== edge.instance) return;
    this.callWasm(() => {
      work();
      return '';
    });
  }
}

/** The number of tasks after which the location is not read again. */
const LOCATE_TASKS = 100;
/** How often stale tasks are looked for. */
const SWEEP_MS = 1000;
/** Longer than a background task takes to begin. */
const START_MS_MAX = 60_000;
/** Longer than a forwarded request may have taken before it is sent again. */
const RESEND_MS_MAX = 1000;
/** More than a step's own timer is late. */
const STALE_MARGIN_MS = 5000;

/** @type {End} */
const LEFT = { kind: 'respond', status: 499, fields: [], body: '' };

const STEPS = new Set(['compute', 'fetchText', 'forward', 'forwardAgain', 'settle']);

const edge = new Edge();
initSync({ module });

/** @returns {step is End} */
function isEnd(/** @type {Step | End} */ step) {
  return !STEPS.has(step.kind);
}

/** Fails to compile if a `switch` leaves a variant out. @returns {never} */
function never(/** @type {never} */ value) {
  throw new Error(`a step of an unknown kind: ${value}`);
}

/**
 * Adds a background task for the same request, which the response does not wait for. If the parent
 * has just taken hold of a stream, the new task watches that.
 */
export function adopt(/** @type {number} */ parent) {
  const { gate, context, requestId, stream } = edge.task(parent);
  const task = new RequestTask(gate, undefined, context, requestId);
  task.stream = stream;
  edge.task(parent).stream = undefined;
  // It begins once Wasm has returned from the step of its parent.
  const [status, text] = START;
  const start = () => task.run(task.callWasm(() => resume(gate, task.id, status, utf8(text))));
  context.waitUntil(Promise.resolve().then(start));
  return task.id;
}

/**
 * Sets the promise that the task's next step awaits.
 * @param {number} id
 * @param {Promise<unknown>} promise
 */
export function setPromise(id, promise) {
  edge.task(id).promise = promise;
}

/** Returns the value of the promise that was awaited last. */
export function takeValue(/** @type {number} */ id) {
  const task = edge.task(id);
  const { value } = task;
  task.value = undefined;
  return value;
}

export function requestOf(/** @type {number} */ id) {
  return edge.task(id).request;
}

/** Returns the number of the task's gate. */
export function gateOf(/** @type {number} */ id) {
  return edge.task(id).gate;
}

/** Returns the request of a task, which keeps it no longer. */
export function takeRequest(/** @type {number} */ id) {
  return edge.task(id).takeRequest();
}

/**
 * Sets the body that the task forwards.
 * @param {number} id
 * @param {Uint8Array} body
 */
export function setBody(id, body) {
  edge.task(id).body = body;
}

/** Makes the task's response one whose stream or WebSocket can be ended, if it has one. */
export function watchResponse(/** @type {number} */ id) {
  const task = edge.task(id);
  task.stream = task.response && openStream(task.response);
  if (task.stream) task.response = task.stream.response;
  return task.stream;
}

/**
 * Sets the response that the task ends with.
 * @param {number} id
 * @param {Response} response
 */
export function setResponse(id, response) {
  edge.task(id).response = response;
}
