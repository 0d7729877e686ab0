#!/usr/bin/env node
// `npm create portcullis` is `portcullis init`: this file only starts that command.

process.argv.splice(2, 0, 'init');
await import(new URL('portcullis.mjs', import.meta.resolve('portcullis/package.json')).href);
