// What every component and screen imports: the view library, stores, and the hooks around them.
export {
  html, render, createContext, useState, useReducer, useEffect, useLayoutEffect, useRef, useMemo,
  useCallback, useContext, useErrorBoundary,
} from '../vendor/htm-preact-standalone.module.js';
import { useState, useEffect } from '../vendor/htm-preact-standalone.module.js';

/**
 * A value that components can watch.
 * @template T
 * @param {T} value
 */
export function createStore(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      value = typeof next === 'function' ? next(value) : next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

/** Returns the store's value, and renders the component again when it changes. */
export function useStore(store) {
  const [, render] = useState(0);
  useEffect(() => {
    let last = store.get();
    const stop = store.watch((value) => {
      if (value !== last) render((n) => n + 1);
      last = value;
    });
    render((n) => n + 1);
    return stop;
  }, [store]);
  return store.get();
}

/** Calls `work` every `ms` while the page is visible, and when it becomes visible. */
export function useInterval(work, ms) {
  useEffect(() => {
    if (!ms) return undefined;
    const tick = () => { if (!document.hidden) work(); };
    const timer = setInterval(tick, ms);
    document.addEventListener('visibilitychange', tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    };
  }, [work, ms]);
}

/** Joins class names; falsy ones are left out. */
export const classes = (...names) => names.filter(Boolean).join(' ');

let ids = 0;

/** Returns an id that no other element has, the same with every rendering. */
export function useId(prefix = 'id') {
  const [id] = useState(() => `${prefix}-${++ids}`);
  return id;
}
