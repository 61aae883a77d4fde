// Runs the unit tests and ends with the line CI reads: `N passed, M failed`.
import { fileURLToPath } from 'node:url';
import { startVitest } from 'vitest/node';

const root = fileURLToPath(new URL('../..', import.meta.url));
const vitest = await startVitest('test', process.argv.slice(2), { root, watch: false, include: ['tests/unit/**/*.test.ts'], environment: 'node' });
let passed = 0;
let failed = vitest.state.getUnhandledErrors().length;
for (const module of vitest.state.getTestModules()) {
  failed += module.errors().length;
  for (const test of module.children.allTests()) {
    if (test.result().state === 'passed') passed += 1;
    else if (test.result().state === 'failed') failed += 1;
  }
}
await vitest.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
