// @ts-check
// Deadlines. After a pause of the isolate, timers run before the responses that came meanwhile are
// read. These get a little more time, once: nothing that they wait for was slow.

import { isOverCallLimit } from './failures.js';
import { REJECTED, TIMEOUT, UNREACHABLE, failed } from './protocol.js';

/** @typedef {import('./protocol.js').Resume} Resume */

/** The timer of a task. One serves all of its steps that are in time. */
export class StepTimer {
  onTimeout = ignore;
  dueMs = 0;
  timerMs = Infinity;
  /** Whether a pause of the isolate may prolong the step. */
  mayPause = false;

  /**
   * Returns the result of a step, or a failure if it throws or is late. A late step goes on until
   * its request ends, and can ask whether it is late.
   * @param {number} ms
   * @param {(isLate: () => boolean) => Promise<Resume>} work
   * @returns {Promise<Resume>}
   */
  within(ms, work) {
    return new Promise((resolve) => {
      let late = false;
      this.onTimeout = () => {
        late = true;
        resolve(failed(TIMEOUT));
      };
      this.dueMs = Date.now() + ms;
      this.mayPause = true;
      if (this.dueMs < this.timerMs) this.arm(ms);
      work(() => late).then(resolve, (error) => {
        resolve(failed(isOverCallLimit(error) ? REJECTED : UNREACHABLE));
      });
    });
  }

  /** Ends the last step. What it holds can be collected, although the timer still runs. */
  stop() {
    this.onTimeout = ignore;
    this.dueMs = Infinity;
  }

  arm(/** @type {number} */ ms) {
    this.timerMs = Date.now() + ms;
    setTimeout(() => this.ring(), ms);
  }

  /** Ends the step if it is late. */
  ring() {
    const lateMs = Date.now() - this.dueMs;
    this.timerMs = Infinity;
    if (this.dueMs === Infinity) return; // It was stopped.
    if (lateMs < 0) {
      this.arm(-lateMs);
    } else if (lateMs > PAUSE_MS && this.mayPause) {
      this.mayPause = false;
      this.dueMs += lateMs + AFTER_PAUSE_MS;
      this.arm(AFTER_PAUSE_MS);
    } else {
      this.onTimeout();
    }
  }
}

/**
 * Calls `onLate` after `ms`. Returns what prevents that.
 * @param {number} ms
 * @param {() => void} onLate
 */
export function startDeadline(ms, onLate) {
  const dueMs = Date.now() + ms;
  let timer = setTimeout(() => {
    if (Date.now() - dueMs > PAUSE_MS) timer = setTimeout(onLate, AFTER_PAUSE_MS);
    else onLate();
  }, ms);
  return () => clearTimeout(timer);
}

function ignore() {}

/** A timer that is later than this shows that the isolate stood still. */
const PAUSE_MS = 50;
/** Long enough to read what came during a pause. */
const AFTER_PAUSE_MS = 100;
