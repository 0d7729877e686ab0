// The live state of the gate: one stream of server-sent events for all screens, and polling where
// no stream can be had. While the page is hidden, nothing is fetched.
import { createStore } from './ui.js';
import { apiUrl, get, session } from './api.js';

const POINTS_MAX = 60;
const POLL_MS = 15_000;
const HIDDEN_MS = 30_000;
const SILENT_MS = 40_000;

/**
 * `{ link, state, points, step, at }`: `link` is connecting, live, reconnecting, polling or off.
 * `at` is when something last came (milliseconds).
 */
const EMPTY = { link: 'off', state: null, points: [], step: 10, at: null };
export const live = createStore(EMPTY);

let source = null;
let poll = null;
let hidden = null;
let watchdog = null;
let heard = 0;

const change = (changes) => live.set((last) => ({ ...last, ...changes }));

function add(point) {
  if (!Number.isFinite(point?.start)) return live.get().points;
  const points = live.get().points.filter((own) => own.start !== point.start);
  points.push(point);
  points.sort((a, b) => a.start - b.start);
  return points.slice(-POINTS_MAX);
}

async function fetchAll() {
  const reply = await get('/now', { range: 'live' }, { background: true });
  change({
    state: reply?.state ?? null,
    points: Array.isArray(reply?.points) ? reply.points.slice(-POINTS_MAX) : [],
    step: reply?.step_seconds > 0 ? reply.step_seconds : 10,
    at: Date.now(),
  });
}

function connect() {
  source = new EventSource(apiUrl('/now/events'));
  heard = Date.now();
  source.addEventListener('open', () => {
    heard = Date.now();
    change({ link: 'live' });
  });
  source.addEventListener('now', (event) => {
    heard = Date.now();
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return;
    }
    change({ link: 'live', state: data?.state ?? live.get().state, points: add(data?.point), at: heard });
  });
  source.addEventListener('error', () => {
    // The browser tries again by itself, unless the server refused the stream.
    if (source?.readyState === EventSource.CLOSED) startPolling();
    else change({ link: 'reconnecting' });
  });
}

/** A connection that died without a word is opened again. */
function checkSilence() {
  if (source && Date.now() - heard > SILENT_MS) {
    source.close();
    change({ link: 'reconnecting' });
    connect();
  }
}

function startPolling() {
  source?.close();
  source = null;
  if (poll) return;
  const work = async () => {
    try {
      await fetchAll();
      change({ link: 'polling' });
    } catch {
      if (session.get()) change({ link: 'reconnecting' });
    }
    // Streams may be free again.
    if (session.get() && Math.random() < 0.25) {
      stopPolling();
      connect();
    }
  };
  poll = setInterval(work, POLL_MS);
  work();
}

function stopPolling() {
  clearInterval(poll);
  poll = null;
}

function start() {
  if (source || poll || !session.get()) return;
  change({ link: 'connecting' });
  fetchAll().catch(() => change({ link: 'reconnecting' }));
  connect();
  watchdog = setInterval(checkSilence, 5000);
}

function stop() {
  source?.close();
  source = null;
  stopPolling();
  clearInterval(watchdog);
}

session.watch((value) => {
  if (value) {
    start();
  } else {
    stop();
    live.set(EMPTY);
  }
});

document.addEventListener('visibilitychange', () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => {
      stop();
      change({ link: 'off' });
    }, HIDDEN_MS);
  } else {
    start();
  }
});
