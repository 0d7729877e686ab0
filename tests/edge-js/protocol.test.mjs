// src/js/protocol.js against src/js/protocol.golden, which a test of src/platform/protocol.rs
// writes. Run it with: node --test tests/edge-js/

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import * as protocol from '../../src/js/protocol.js';

const text = readFileSync(new URL('../../src/js/protocol.golden', import.meta.url), 'utf8');
const lines = text.trimEnd().split('\n').map((line) => JSON.parse(line));
const named = (name) => lines.filter((line) => line.name === name);

test('what Wasm encodes is decoded', () => {
  for (const { wire, value } of named('step')) assert.deepEqual(protocol.decodeStep(wire), value);
  for (const { wire, value } of named('point')) assert.deepEqual(protocol.decodePoint(wire), value);
});

test('what JavaScript encodes is what Wasm decodes', () => {
  for (const { wire, value } of named('request')) {
    assert.equal(protocol.encodeRequest(value.nowMs, value.id, value.colo, value), wire);
  }
  for (const { wire, value } of named('captured')) {
    assert.equal(protocol.encodeCaptured(value.headers, value.body), wire);
  }
  for (const { wire, value } of named('location')) assert.equal(protocol.encodeLocation(value), wire);
  for (const { wire, value } of named('resume')) assert.deepEqual(encodeResume(value), wire);
});

function encodeResume({ kind, status, text, constant }) {
  switch (kind) {
    case 'start': return protocol.START;
    case 'settled': return protocol.SETTLED;
    case 'response': return protocol.responded(status, text);
    case 'failed': return protocol.failed(protocol[constant]);
    default: throw new Error(kind);
  }
}

test('the golden file has each variant', () => {
  const kinds = new Set(named('step').map(({ value }) => value.kind));
  assert.deepEqual([...kinds].sort(), [
    'compute', 'decorate', 'failed', 'fetchText', 'forward', 'forwardAgain', 'pass', 'respond',
    'settle',
  ]);
  assert.deepEqual(new Set(lines.map(({ name }) => name)), new Set([
    'step', 'point', 'request', 'captured', 'location', 'resume',
  ]));
});

test('a step of its own kind is decoded alike for buffered forwards and for responses', () => {
  for (const { wire, value } of named('step')) {
    if (value.kind === 'forward') assert.deepEqual(protocol.decodeForward(wire), value);
    if (value.kind === 'respond') assert.deepEqual(protocol.decodeRespond(wire), value);
  }
});

test('an unknown tag is an error', () => {
  assert.throws(() => protocol.decodeStep('Zunknown'));
});

test('a text is encoded as UTF-8, however long it is', () => {
  const decoder = new TextDecoder();
  for (const text of ['', 'abc', 'é€😀', 'a'.repeat(16_384), 'a'.repeat(16_385), 'é'.repeat(9000)]) {
    assert.equal(decoder.decode(protocol.utf8(text)), text);
  }
  // Wasm reads nothing but UTF-8.
  assert.equal(decoder.decode(protocol.utf8('a\ud800b')), 'a\ufffdb');
});
