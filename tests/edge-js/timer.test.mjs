// The deadlines of src/js/timer.js, with a clock that the test moves.
// Run it with: node --test tests/edge-js/

import assert from 'node:assert/strict';
import test from 'node:test';
import { StepTimer, startDeadline } from '../../src/js/timer.js';

/** The result of a step that is late. */
const LATE = [0, 'timeout'];

function useClock(context) {
  context.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  return async (ms) => {
    for (let passed = 0; passed < ms; passed += 1) {
      context.mock.timers.tick(1);
      await settled();
    }
  };
}

/** Lets all promises settle that can. */
async function settled() {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

/** Begins a step. Returns its result, once there is one, and what ends its work. */
function begin(timer, ms) {
  const step = { result: undefined, end: undefined };
  const work = new Promise((resolve) => { step.end = resolve; });
  timer.within(ms, () => work).then((result) => { step.result = result; });
  return step;
}

test('a step that hangs ends 20 ms after its deadline', async (context) => {
  const pass = useClock(context);
  const step = begin(new StepTimer(), 100);
  await pass(119);
  assert.equal(step.result, undefined);
  await pass(1);
  assert.deepEqual(step.result, LATE);
});

test('a response that comes little after the deadline is not late', async (context) => {
  const pass = useClock(context);
  const step = begin(new StepTimer(), 100);
  await pass(119);
  step.end([200, 'good']);
  await settled();
  await pass(1);
  assert.deepEqual(step.result, [200, 'good']);
});

test('a deadline waits while other steps end, and no longer than 100 ms', async (context) => {
  const pass = useClock(context);
  const hanging = begin(new StepTimer(), 100);
  const others = Array.from({ length: 30 }, () => begin(new StepTimer(), 1000));
  await pass(99);
  for (const other of others.slice(0, 10)) {
    other.end([200, '']);
    await pass(10);
  }
  assert.equal(hanging.result, undefined, 'after 199 ms');
  for (const other of others.slice(10)) {
    other.end([200, '']);
    await pass(1);
  }
  assert.deepEqual(hanging.result, LATE, 'after 219 ms');
});

test('an earlier timer of the task neither ends a step nor shortens its wait', async (context) => {
  const pass = useClock(context);
  const timer = new StepTimer();
  const first = begin(timer, 45);
  await pass(5);
  first.end([200, '']);
  await pass(5);
  // Its own timer is due after 40 ms, that of the first step after 45.
  const second = begin(timer, 30);
  await pass(49);
  assert.equal(second.result, undefined, 'after 59 ms');
  await pass(1);
  assert.deepEqual(second.result, LATE, 'after 60 ms');
  const third = begin(timer, 1000);
  await pass(1019);
  assert.equal(third.result, undefined);
  await pass(1);
  assert.deepEqual(third.result, LATE);
});

test('a timer that was stopped does nothing', async (context) => {
  const pass = useClock(context);
  const timer = new StepTimer();
  const step = begin(timer, 100);
  const arm = context.mock.method(timer, 'arm');
  timer.stop();
  await pass(500);
  assert.equal(step.result, undefined);
  assert.equal(arm.mock.callCount(), 0);
});

test('a deadline outside of a task waits as long', async (context) => {
  const pass = useClock(context);
  let isLate = false;
  startDeadline(100, () => { isLate = true; });
  const stop = startDeadline(100, () => assert.fail('it was stopped'));
  await pass(50);
  stop();
  await pass(69);
  assert.ok(!isLate);
  await pass(1);
  assert.ok(isLate);
});

test('a deadline that has passed prolongs no other', async (context) => {
  const pass = useClock(context);
  const stopFirst = startDeadline(100, () => stopFirst());
  await pass(10);
  const second = begin(new StepTimer(), 100);
  await pass(120);
  assert.deepEqual(second.result, LATE);
});

test('a clock that is set back does not lengthen a step by as much', async (context) => {
  const pass = useClock(context);
  context.mock.timers.setTime(1_000_000);
  const step = begin(new StepTimer(), 100);
  await pass(50);
  const { now } = Date;
  context.mock.method(Date, 'now', () => now() - 3_600_000);
  await pass(169);
  assert.equal(step.result, undefined);
  await pass(1);
  assert.deepEqual(step.result, LATE, 'after 220 ms');
});

test('a clock that is set forward ends no step early', async (context) => {
  const pass = useClock(context);
  const timer = new StepTimer();
  begin(timer, 100).end([200, '']);
  await settled();
  const step = begin(timer, 1000);
  await pass(50);
  const { now } = Date;
  context.mock.method(Date, 'now', () => now() + 3_600_000);
  await pass(1069);
  assert.equal(step.result, undefined);
  await pass(1);
  assert.deepEqual(step.result, LATE, 'after 1120 ms');
});
