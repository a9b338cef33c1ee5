// node build.mjs APP.js WIT OUT: makes a component of it.
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [app, witPath, out] = process.argv.slice(2);
const { component } = await componentize(await readFile(app, 'utf8'), { witPath, worldName: 'wasi:http/proxy' });
await writeFile(out, component);
