// @ts-check
// Deadlines. After a pause of the isolate, timers run before the responses that came meanwhile are
// read. So a deadline waits a little longer, and longer still while responses are being read.

import { isOverCallLimit } from './failures.js';
import { REJECTED, TIMEOUT, UNREACHABLE, failed } from './protocol.js';

/** @typedef {import('./protocol.js').Resume} Resume */

/** How many calls have ended in this isolate, of all tasks. */
let ended = 0;

/** The time that a deadline waits longer. */
class Grace {
  waitedMs = 0;
  endedBefore = 0;

  /** Returns whether the deadline waits for another `GRACE_MS`. */
  extend() {
    const isPause = this.waitedMs === 0 || ended !== this.endedBefore;
    if (!isPause || this.waitedMs >= GRACE_MS_MAX) return false;
    this.waitedMs += GRACE_MS;
    this.endedBefore = ended;
    return true;
  }
}

/** The timer of a task. One serves all of its steps that are in time. */
export class StepTimer {
  onTimeout = ignore;
  stepMs = 0;
  dueMs = 0;
  timerMs = Infinity;
  /** Whether the step has its whole time again, because the clock was set. */
  isRestarted = false;
  /** @type {Grace | undefined} */
  grace = undefined;

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
      this.stepMs = ms;
      this.dueMs = Date.now() + ms;
      this.isRestarted = false;
      this.grace = undefined;
      if (this.dueMs < this.timerMs) this.arm(ms);
      work(() => late).then((result) => {
        ended += 1;
        resolve(result);
      }, (error) => {
        ended += 1;
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
    const ringMs = Date.now() + ms;
    this.timerMs = ringMs;
    setTimeout(() => this.ring(ringMs), ms);
  }

  /** Ends the step if it is late. The timer should ring at `ringMs`, unless the clock was set. */
  ring(/** @type {number} */ ringMs) {
    this.timerMs = Infinity;
    if (this.dueMs === Infinity) return; // It was stopped.
    const now = Date.now();
    if (Math.abs(now - ringMs) > CLOCK_MS && !this.isRestarted) {
      this.isRestarted = true;
      this.dueMs = now + this.stepMs;
    }
    const leftMs = this.dueMs - now;
    if (leftMs > 0) {
      this.arm(leftMs);
    } else if ((this.grace ??= new Grace()).extend()) {
      this.dueMs = now + GRACE_MS;
      this.arm(GRACE_MS);
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
  const grace = new Grace();
  let isLate = false;
  const ring = () => {
    if (grace.extend()) {
      timer = setTimeout(ring, GRACE_MS);
    } else {
      isLate = true;
      onLate();
    }
  };
  let timer = setTimeout(ring, ms);
  return () => {
    if (!isLate) ended += 1;
    clearTimeout(timer);
  };
}

function ignore() {}

/** A timer that is further from its time rings after the clock was set, or after a long pause. */
const CLOCK_MS = 1000;
/** Long enough to read the responses that lie ready, if they are few. */
const GRACE_MS = 20;
/** The longest time that a deadline waits while others are being read. */
const GRACE_MS_MAX = 100;
