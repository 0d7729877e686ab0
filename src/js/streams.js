// @ts-check
// Streams and WebSockets that the edge can end: those of routes with `stream` bounds. All others
// pass untouched.

import { announcedBytes } from './http.js';

/** A stream or a WebSocket between a client and its upstream. */
export class Stream {
  ended = false;
  /** Wakes the task that waits for the end. */
  wake = () => {};

  /**
   * @param {Response} response the response for the client
   * @param {(reason: string) => void} close
   */
  constructor(response, close) {
    this.response = response;
    this.close = close;
  }

  /** Records that both sides have ended the stream. */
  onEnd() {
    this.ended = true;
    this.wake();
  }
}

/**
 * Wraps a response, so that its stream or WebSocket can be ended. Returns `undefined` if it has
 * neither.
 * @param {Response} response
 * @returns {Stream | undefined}
 */
export function openStream(response) {
  if (response.webSocket) return pump(response, response.webSocket);
  if (!response.body || response.status < 200 || response.status > 599) return undefined;
  return pipe(response, response.body);
}

/**
 * Pipes a body. The platform reads it no faster than the client does.
 * @param {Response} response
 * @param {ReadableStream} body
 */
function pipe(response, body) {
  const length = announcedBytes(response.headers);
  const announced = Number.isSafeInteger(length);
  const { readable, writable } = announced ? new FixedLengthStream(length) : new IdentityTransformStream();
  const aborter = new AbortController();
  const stream = new Stream(new Response(readable, response), () => aborter.abort());
  const onEnd = () => stream.onEnd();
  body.pipeTo(writable, { signal: aborter.signal }).then(onEnd, onEnd);
  return stream;
}

/**
 * Forwards the messages of a WebSocket in both directions.
 * @param {Response} response
 * @param {WebSocket} upstream
 */
function pump(response, upstream) {
  const { 0: outer, 1: client } = new WebSocketPair();
  const headers = new Headers(response.headers);
  // The platform makes the handshake with the client itself.
  for (const name of HANDSHAKE_HEADERS) headers.delete(name);
  const forClient = new Response(null, { status: 101, headers, webSocket: outer });
  const stream = new Stream(forClient, (reason) => {
    close(client, POLICY_VIOLATION, reason);
    close(upstream, POLICY_VIOLATION, reason);
    stream.onEnd();
  });
  handOn(client, upstream, stream);
  handOn(upstream, client, stream);
  upstream.accept();
  client.accept();
  return stream;
}

/**
 * Forwards the messages of one side to the other. The sender of a WebSocket can't be slowed down,
 * so the receiver's backlog is bounded.
 * @param {WebSocket} from
 * @param {WebSocket} to
 * @param {Stream} stream
 */
function handOn(from, to, stream) {
  from.binaryType = 'arraybuffer';
  from.addEventListener('message', ({ data }) => {
    if (stream.ended) return;
    if (to.bufferedAmount > BACKLOG_BYTES_MAX) {
      stream.close('slow_reader');
      return;
    }
    try {
      to.send(data);
    } catch {
      stream.close('peer_gone');
    }
  });
  from.addEventListener('close', ({ code, reason }) => {
    close(to, code, reason);
    close(from, code, reason);
    stream.onEnd();
  });
  from.addEventListener('error', () => stream.close('peer_gone'));
}

/**
 * Closes one side, unless it is closed. The codes 1005 and 1006 mean a missing code and must not be
 * sent.
 * @param {WebSocket} socket
 * @param {number} code
 * @param {string} reason
 */
function close(socket, code, reason) {
  try {
    if (code === 1005) socket.close();
    else socket.close(code === 1006 ? GOING_AWAY : code, reason);
  } catch {
    // It is closed already, or a peer must not send this code.
    try {
      socket.close(PROTOCOL_ERROR);
    } catch {
      // It is closed already.
    }
  }
}

/**
 * Resolves once the stream has ended, or after `ms`, with whether it has ended.
 * @param {Stream} stream
 * @param {number} ms
 * @returns {Promise<boolean>}
 */
export function streamEnded(stream, ms) {
  return new Promise((resolve) => {
    const settle = () => {
      clearTimeout(timer);
      resolve(stream.ended);
    };
    const timer = setTimeout(settle, ms);
    stream.wake = settle;
    if (stream.ended) settle();
  });
}

/** Ends a stream that has not ended by itself. */
export function endStream(/** @type {Stream} */ stream, /** @type {string} */ reason) {
  if (!stream.ended) stream.close(reason);
}

const HANDSHAKE_HEADERS = ['connection', 'sec-websocket-accept', 'sec-websocket-extensions', 'upgrade'];
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;
const PROTOCOL_ERROR = 1002;
/** The most bytes that may wait for a receiver that is slower than the sender. */
const BACKLOG_BYTES_MAX = 1_048_576;
