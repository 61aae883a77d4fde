// Sizes of the build against the budgets: first load (entry, home view and what they import) and everything.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const FIRST_LOAD_MAX_KB = 100;
const WHOLE_MAX_KB = 450;

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const files = readdirSync(`${dist}assets`).filter((name) => /\.(js|css)$/.test(name));
const text = new Map(files.map((name) => [name, readFileSync(`${dist}assets/${name}`, 'utf8')]));
const kb = (names) => names.reduce((sum, name) => sum + gzipSync(text.get(name), { level: 9 }).length, 0) / 1024;

/** Static imports, and what the preload list of the home view names. */
function closure(start) {
  const seen = new Set();
  const queue = [start];
  while (queue.length > 0) {
    const name = queue.pop();
    if (seen.has(name) || !text.has(name)) continue;
    seen.add(name);
    for (const match of text.get(name).matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) queue.push(match[1]);
  }
  return [...seen];
}

const html = readFileSync(`${dist}index.html`, 'utf8');
const entry = /assets\/([^"]+\.js)"/.exec(html)[1];
const home = files.find((name) => /^Containers-.*\.js$/.test(name));
const first = [...new Set([...closure(entry), ...closure(home)])];
const firstKb = kb(first);
const wholeKb = kb(files) + gzipSync(html).length / 1024;

for (const name of [...files].sort((a, b) => kb([b]) - kb([a])).slice(0, 12)) console.log(`${kb([name]).toFixed(1).padStart(7)} KB  ${name}${first.includes(name) ? '  (first load)' : ''}`);
let failed = 0;
for (const [what, size, max] of [['first-load JS', firstKb, FIRST_LOAD_MAX_KB], ['whole UI', wholeKb, WHOLE_MAX_KB]]) {
  const good = size <= max;
  if (!good) failed += 1;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${what}: ${size.toFixed(1)} KB gzip of ${max} KB`);
}
console.log(`${2 - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
