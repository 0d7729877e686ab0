// What is wrong with how a command was called.

/** An error that the user can mend. It is printed without a stack trace, and the status is 2. */
export class UsageError extends Error {}

/**
 * Parses options, and turns what `parseArgs` throws into a UsageError.
 * @template T
 * @param {() => T} parse
 * @returns {T}
 */
export function parseOptions(parse) {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message);
  }
}
