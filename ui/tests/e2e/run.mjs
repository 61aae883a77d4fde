// End to end, in Chromium, against a running server: every view in both themes and narrow, with no console
// error, no CSP violation and no axe finding; then zoom, keys, addresses, live tail.
// Usage: node tests/e2e/run.mjs [--base-url http://127.0.0.1:7245] [--container NAME] [--shots DIR] [--only TEXT]
// Without --base-url the fixture server is started on a free port; --only runs the checks with TEXT in their name.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const option = (name) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const shots = option('shots');
const only = option('only');
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WAIT_MS = 15_000;
const TAIL_WAIT_MS = 40_000;

let fixtures;
let base = option('base-url')?.replace(/\/$/, '');
if (!base) {
  fixtures = spawn(process.execPath, [fileURLToPath(new URL('../fixtures/server.mjs', import.meta.url)), '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  base = await new Promise((resolve, reject) => {
    fixtures.stdout.on('data', (chunk) => {
      const url = /http:\S+/.exec(String(chunk));
      if (url) resolve(url[0]);
    });
    fixtures.on('exit', () => reject(new Error('the fixture server ended')));
  });
}
if (shots) mkdirSync(shots, { recursive: true });

const profile = mkdtempSync(join(tmpdir(), 'taffrail-e2e-'));
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ARGS,
  viewport: { width: 1440, height: 900 },
  colorScheme: 'dark',
});

let passed = 0;
let failed = 0;
/** Problems the page reported since the last look; each check must leave it empty. */
let problems = [];
let page;

async function check(name, run, attempt = 1) {
  if (only && !name.includes(only)) return;
  const startedAt = Date.now();
  problems = [];
  try {
    await run();
    if (problems.length > 0) throw new Error(problems.join('\n'));
    passed += 1;
    console.log(`ok   ${name} (${Date.now() - startedAt} ms)`);
  } catch (error) {
    // A container that starts or stops changes the host's interfaces, and Chromium then drops every request.
    if (attempt < 3 && problems.some((problem) => problem.includes('ERR_NETWORK_CHANGED'))) {
      console.log(`     ${name}: the network changed, once more`);
      await check(name, run, attempt + 1);
      return;
    }
    failed += 1;
    console.log(`FAIL ${name}\n     ${String(error.message ?? error).replace(/\n/g, '\n     ')}`);
    if (shots) await page.screenshot({ path: join(shots, `failed-${failed}.png`) }).catch(() => undefined);
  }
}

function assert(condition, message) {
  if (!condition) throw new Error(message);
}

function watch(target) {
  target.on('response', async (response) => {
    if (response.status() >= 400) problems.push(`${response.status()} for ${response.url()}: ${await response.text().catch(() => '')}`);
  });
  target.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(`console ${message.type()}: ${message.text()}`);
  });
  target.on('pageerror', (error) => problems.push(`page error: ${error.stack ?? error}`));
  target.on('dialog', (dialog) => {
    problems.push(`a dialog opened: ${dialog.message()}`);
    void dialog.dismiss();
  });
  target.setDefaultTimeout(WAIT_MS);
}

async function open(path) {
  await page.goto(base + path, { waitUntil: 'load' });
  await page.waitForSelector('main .page');
}

async function eventually(what, probe, ms = WAIT_MS) {
  const until = Date.now() + ms;
  for (;;) {
    if (await probe()) return;
    if (Date.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await page.waitForTimeout(100);
  }
}

async function axe() {
  await page.evaluate(axeSource);
  const findings = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return result.violations.map((violation) => `${violation.id}: ${violation.help}; ${violation.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.failureSummary ?? ''}`).join(' | ')}`);
  });
  assert(findings.length === 0, `axe: ${findings.join('\n')}`);
}

async function shot(name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`) });
}

const search = () => new URL(page.url()).searchParams;
const mainText = () => page.locator('main').innerText();
const getJson = async (path) => (await fetch(base + path)).json();

page = browser.pages()[0] ?? (await browser.newPage());
watch(page);
await page.addInitScript(() => {
  addEventListener('securitypolicyviolation', (event) => console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile ?? ''}`));
});

const { containers = [] } = await getJson('/api/taffrail/v1/containers');
const status = await getJson('/api/taffrail/v1/status');
const name = option('container') ?? (containers.find((c) => c.state === 'running') ?? containers[0])?.name;
const containerPath = name && `/containers/${encodeURIComponent(name)}`;
console.log(`${base}: ${containers.length} containers, looking at ${name ?? 'none'}`);

await check('the page is served with the strict policy and a nonce', async () => {
  const response = await fetch(`${base}/`);
  const policy = response.headers.get('content-security-policy') ?? '';
  const html = await response.text();
  for (const part of ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]) assert(policy.includes(part), `policy lacks ${part}: ${policy}`);
  const nonce = /'nonce-([^']+)'/.exec(policy)?.[1];
  assert(nonce && html.includes(`content="${nonce}"`), 'the nonce of the policy is not in the page');
  assert(!html.includes('__CSP_NONCE__'), 'the placeholder of the nonce is still there');
  const second = await (await fetch(`${base}/`)).text();
  assert(!second.includes(nonce), 'two responses share one nonce');
});

await check('a deep address is answered with the page, an unknown API with an error', async () => {
  const deep = await fetch(`${base}/containers/does-not-exist`);
  assert(deep.status === 200 && (deep.headers.get('content-type') ?? '').includes('text/html'), `deep address: ${deep.status}`);
  const api = await fetch(`${base}/api/taffrail/v1/no-such-thing`);
  assert(api.status === 404, `unknown API: ${api.status}`);
});

const VIEWS = [
  {
    name: 'containers',
    path: '/',
    ready: async () => {
      await page.waitForURL(/\/containers/);
      await eventually('host figures', async () => /%/.test(await page.locator('section.host').innerText()));
      const shown = containers.find((c) => c.state !== 'removed');
      if (shown) await page.getByRole('link', { name: shown.name.replace(/^\//, ''), exact: true }).first().waitFor();
      if (status.docker?.state !== 'connected') await page.getByText('host only').first().waitFor();
    },
  },
  containerPath && {
    name: 'container',
    path: containerPath,
    ready: async () => {
      await page.getByRole('heading', { name: 'Memory', exact: true }).waitFor();
      await eventually('five charts', async () => (await page.locator('article.chart canvas').count()) >= 5);
      await eventually('memory drawn', async () => /working set/.test(await page.locator('article.chart').nth(1).innerText()), 60_000);
      await eventually('logs answered', async () => !/Loading/.test(await page.locator('section.logs').innerText()));
    },
  },
  {
    name: 'metrics',
    path: `/explore/metrics?expr=${encodeURIComponent(name ? 'sum by (name) (container_memory_working_set_bytes{name!=""})' : 'node_load1')}`,
    ready: async () => {
      await page.locator('.cm-content').waitFor();
      await eventually('legend', async () => (await page.locator('.legend .entry').count()) > 0);
    },
  },
  { name: 'metrics-start', path: '/explore/metrics', ready: () => page.getByText('Try one of these').waitFor() },
  {
    name: 'logs',
    path: '/explore/logs',
    ready: async () => {
      await page.locator('.cm-content').waitFor();
      await page.getByRole('heading', { name: 'Labels', exact: true }).waitFor();
      await eventually('lines answered', async () => !/Loading/.test(await page.locator('section.lines').innerText()));
      if (name) await eventually('lines', async () => (await page.locator('.list .row').count()) > 0);
    },
  },
  {
    name: 'cardinality',
    path: '/cardinality',
    ready: async () => {
      await page.getByRole('heading', { name: 'Metrics by series' }).waitFor();
      await eventually('metrics', async () => (await page.getByRole('group', { name: 'Metrics by series' }).locator('tbody tr').count()) > 0);
    },
  },
  {
    name: 'status',
    path: '/status',
    ready: async () => {
      await page.getByText('Loss ledger').waitFor();
      if (status.version) await page.getByText(status.version, { exact: true }).waitFor();
    },
  },
  { name: 'nowhere', path: '/no/such/page', ready: () => page.getByText('There is no page at').waitFor() },
].filter(Boolean);

for (const scheme of ['dark', 'light']) {
  await page.emulateMedia({ colorScheme: scheme });
  for (const view of VIEWS) {
    await check(`${view.name}, ${scheme}: shows, no errors, accessible`, async () => {
      await page.setViewportSize({ width: 1440, height: view.name === 'container' ? 1300 : 900 });
      await open(view.path);
      await view.ready();
      await page.waitForTimeout(300);
      assert((await page.evaluate(() => document.documentElement.dataset.theme)) === scheme, 'the theme does not follow the system');
      await shot(`${view.name}-${scheme}`);
      await axe();
    });
  }
}

await check('narrow: nothing overflows sideways', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const view of VIEWS) {
    await open(view.path);
    await view.ready();
    await page.waitForTimeout(200);
    const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert(wide <= inner, `${view.name} is ${wide} px wide on a ${inner} px screen`);
    await shot(`${view.name}-narrow`);
    await axe();
  }
});
await page.setViewportSize({ width: 1440, height: 1000 });
await page.emulateMedia({ colorScheme: 'dark' });

await check('keys: pages, help, palette, time, theme', async () => {
  await open('/containers');
  for (const [keys, path] of [['gm', '/explore/metrics'], ['gl', '/explore/logs'], ['gn', '/cardinality'], ['gs', '/status'], ['gc', '/containers']]) {
    await page.evaluate(() => document.activeElement?.blur());
    for (const key of keys) await page.keyboard.press(key);
    await page.waitForURL((url) => url.pathname === path);
    await page.waitForTimeout(250);
  }
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await shot('help');
  await axe();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.keyboard.press('t');
  await page.keyboard.press('z');
  await eventually('zoomed out', () => search().get('from') === 'now-2h');
  await page.keyboard.press('t');
  await page.keyboard.press('+');
  await eventually('zoomed in', () => search().get('from') === 'now-1h');
  await page.keyboard.press('c');
  await page.keyboard.press('t');
  await eventually('light', async () => (await page.evaluate(() => document.documentElement.dataset.theme)) === 'light');
  await page.reload();
  await page.waitForSelector('main .page');
  assert((await page.evaluate(() => document.documentElement.dataset.theme)) === 'light', 'the chosen theme is not kept');
  await page.evaluate(() => localStorage.removeItem('taffrail.theme'));
  await page.reload();
  await page.waitForSelector('main .page');
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Go to a page' }).waitFor();
  await page.locator('#palette-list [role=option]').first().waitFor();
  await page.waitForTimeout(300);
  await shot('palette');
  await axe();
  await page.keyboard.type('status');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/status/);
});

await check('time picker: typed, absolute, wrong', async () => {
  await open('/containers');
  await page.getByRole('button', { name: 'Last 1 hour' }).click();
  await page.getByRole('dialog', { name: 'Time range' }).waitFor();
  await shot('time-picker');
  await axe();
  await page.getByLabel('Range', { exact: true }).fill('nonsense');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  await page.getByLabel('Range', { exact: true }).fill('13h');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Last 13 hours' }).waitFor();
  assert(search().get('from') === 'now-13h', page.url());
  await page.getByRole('button', { name: 'Last 13 hours' }).click();
  await page.getByLabel('From').fill('2026-01-02 10:00');
  await page.getByLabel('To', { exact: true }).fill('2026-01-02 11:00');
  await page.getByRole('button', { name: 'Apply' }).click();
  await page.getByRole('button', { name: /2026-01-02 10:00:00 → 11:00:00/ }).waitFor();
  await page.goBack();
  await page.getByRole('button', { name: 'Last 13 hours' }).waitFor();
});

if (containerPath) {
  await check('filter and order live in the address and survive a reload', async () => {
    await open('/containers?from=now-3h&to=now');
    await page.getByRole('searchbox', { name: 'Filter containers' }).fill(name.slice(0, 6));
    await page.getByRole('button', { name: /^Memory/ }).click();
    await eventually('sort in the address', () => search().get('sort') === '-memory' && search().get('filter') === name.slice(0, 6));
    const address = page.url();
    await page.reload();
    await page.getByRole('link', { name, exact: true }).waitFor();
    assert(page.url() === address, `${page.url()} is not ${address}`);
    assert((await page.getByRole('searchbox', { name: 'Filter containers' }).inputValue()) === name.slice(0, 6), 'the filter is lost');
    await page.getByRole('link', { name, exact: true }).click();
    await page.waitForURL((url) => url.pathname === containerPath || decodeURIComponent(url.pathname) === `/containers/${name}`);
    assert(search().get('from') === 'now-3h', 'the time range did not travel along');
    await page.goBack();
    await page.getByRole('searchbox', { name: 'Filter containers' }).waitFor();
    assert(page.url() === address, 'the back button forgot the list');
  });

  await check('drag zooms the whole page, back and double click undo it', async () => {
    await open(containerPath);
    await eventually('memory drawn', async () => /working set/.test(await page.locator('article.chart').nth(1).innerText()));
    await eventually('CPU drawn', async () => /usage/.test(await page.locator('article.chart').first().innerText()));
    // A chart is built anew when its set of series changes; let the first answers settle.
    await page.waitForLoadState('networkidle');
    await page.waitForTimeout(300);
    const over = page.locator('article.chart .u-over');
    const box = await over.first().boundingBox();
    // From the newest end, where a server that has just begun has its data too.
    await page.mouse.move(box.x + box.width * 0.99, box.y + 50);
    await page.waitForTimeout(100);
    await page.locator('.tooltip', { hasText: 'usage' }).waitFor();
    assert((await page.locator('.tooltip').count()) === 1, 'more than one tooltip');
    const crosshair = await over.nth(1).locator('.u-cursor-x').evaluate((node) => node.style.transform);
    assert(/translate/.test(crosshair) && !crosshair.includes('-10px'), `no crosshair on the second chart: ${crosshair}`);
    await shot('crosshair');
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.69, box.y + 60, { steps: 8 });
    await page.mouse.up();
    await eventually('absolute range in the address', () => /^\d{13}$/.test(search().get('from') ?? ''));
    const span = () => Number(search().get('to')) - Number(search().get('from'));
    const zoomed = span();
    assert(zoomed > 600_000 && zoomed < 1_800_000, `span ${zoomed} ms is not about 30% of an hour`);
    await page.waitForTimeout(400);
    await shot('zoomed');
    await over.first().dblclick({ position: { x: 100, y: 40 } });
    await eventually('zoomed out', () => span() > zoomed * 1.9);
    await page.goBack();
    await eventually('back to the zoom', () => span() === zoomed);
    await page.goBack();
    await eventually('back to the start', () => search().get('from') === null);
  });

  await check('state, health and restarts are told in words and bands', async () => {
    await open(containerPath);
    const history = page.getByRole('region', { name: 'State, health and restarts' });
    await history.getByRole('img', { name: /^State: running \d/ }).waitFor();
    await history.getByRole('img', { name: /^Restarts: \d+ (or more )?in this time range/ }).waitFor();
    assert((await history.locator('.band').count()) > 0, 'no band is drawn');
    const restarts = containers.find((one) => one.name.replace(/^\//, '') === name)?.restartCount ?? 0;
    await eventually(`${restarts} restarts`, async () => (await history.innerText()).includes(`${restarts} by its policy`));
  });

  await check('legend isolates, chart shows as table', async () => {
    await open(containerPath);
    const memory = page.locator('article.chart').nth(1);
    await memory.getByRole('button', { name: /working set/ }).click();
    assert((await memory.getByRole('button', { name: /^rss/ }).getAttribute('aria-pressed')) === 'false', 'rss is still shown');
    await memory.getByRole('button', { name: /working set/ }).click();
    assert((await memory.getByRole('button', { name: /^rss/ }).getAttribute('aria-pressed')) === 'true', 'rss did not come back');
    await memory.getByRole('button', { name: 'View Memory as table' }).click();
    await memory.getByRole('cell', { name: 'working set' }).waitFor();
    await axe();
  });

  await check('a log line opens to its fields, and a field becomes a filter', async () => {
    await open('/explore/logs?labels=0');
    await page.locator('.list .row .expand').first().click();
    await page.locator('.list .fields').first().waitFor();
    await shot('log-open');
    await axe();
    await page.getByRole('button', { name: /^Only container / }).first().click();
    await eventually('filter in the address', () => /container=/.test(search().get('query') ?? ''));
    await eventually('lines', async () => (await page.locator('.list .row').count()) > 0);
  });

  await check('a refreshed list keeps the reader in place, with the row still open', async () => {
    await open('/explore/logs?labels=0&refresh=5s');
    await page.locator('.list .row').first().waitFor();
    const list = page.locator('.list');
    await list.evaluate((node) => {
      node.scrollTop = Math.min(4000, (node.scrollHeight - node.clientHeight) / 2);
    });
    await page.waitForTimeout(300);
    const key = await list.evaluate((node) => {
      const middle = node.getBoundingClientRect().top + 120;
      const row = [...node.querySelectorAll('.row')].find((one) => one.getBoundingClientRect().top > middle);
      row?.querySelector('.expand').click();
      return row?.querySelector('.line').textContent;
    });
    if (key === undefined) return;
    await page.waitForTimeout(200);
    const top = () => list.evaluate((node, text) => [...node.querySelectorAll('.row')].find((one) => one.querySelector('.line').textContent === text && one.querySelector('.fields'))?.getBoundingClientRect().top, key);
    const before = await top();
    await page.waitForTimeout(6500);
    const after = await top();
    assert(before !== undefined && after !== undefined && Math.abs(before - after) < 4, `the row moved from ${before} to ${after}`);
  });

  await check('a metric query over logs draws a chart', async () => {
    await open(`/explore/logs?query=${encodeURIComponent('sum by (container) (count_over_time({container=~".+"}[5m]))')}`);
    await eventually('legend', async () => (await page.locator('.legend .entry').count()) > 0);
    await shot('log-metric');
  });

  await check('live tail receives a line, pauses, clears', async () => {
    let frames = 0;
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
      if (String(payload).includes('"streams"')) frames += 1;
    }));
    await open('/explore/logs?live=1&labels=0');
    let pushed = 0;
    await eventually(
      'a frame with lines',
      async () => {
        // Where the server takes pushed lines, the test does not depend on a talkative container.
        if (frames === 0 && pushed < 20) {
          pushed += 1;
          const body = JSON.stringify({ streams: [{ stream: { container: 'taffrail-e2e', stream: 'stdout' }, values: [[`${Date.now()}000000`, `level=info msg="end to end line ${pushed}"`]] }] });
          await fetch(`${base}/loki/api/v1/push`, { method: 'POST', headers: { 'content-type': 'application/json' }, body }).catch(() => undefined);
          await page.waitForTimeout(900);
        }
        return frames > 0;
      },
      TAIL_WAIT_MS,
    );
    await eventually('rows', async () => (await page.locator('.list .row').count()) > 0);
    await shot('tail');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText(/paused/).first().waitFor();
    await page.getByRole('button', { name: 'Clear' }).click();
    await eventually('empty', async () => (await page.locator('.list .row').count()) === 0);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Live' }).click();
    await eventually('live is off', () => search().get('live') === null);
  });
}

await check('the editor completes, Enter runs, the table shows values', async () => {
  await open('/explore/metrics?tab=table');
  const editor = page.locator('.cm-content');
  await editor.click();
  await page.keyboard.type('node_lo');
  await page.locator('.cm-tooltip-autocomplete').waitFor();
  await shot('completion');
  await page.keyboard.press('Escape');
  await page.keyboard.type('ad1');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Enter');
  await eventually('expression in the address', () => search().get('expr') === 'node_load1');
  await page.getByRole('columnheader', { name: 'Value' }).waitFor();
});

await check("Prometheus' own links open here", async () => {
  await open('/graph?g0.expr=node_load1&g0.tab=1&g0.range_input=6h');
  await page.waitForURL(/\/explore\/metrics/);
  await eventually('parameters', () => search().get('expr') === 'node_load1' && search().get('tab') === 'table' && search().get('from') === 'now-6h');
  await eventually('editor text', async () => (await page.locator('.cm-content').innerText()).includes('node_load1'));
});

await check('a wrong expression says where', async () => {
  await open(`/explore/metrics?expr=${encodeURIComponent('sum(rate(node_load1[5m])')}`);
  await page.getByText('The query failed').waitFor();
  await page.locator('.caret').waitFor();
  assert(/parse error/.test(await mainText()), 'no parse error in the text');
  await shot('wrong');
  // The browser itself reports the refused request.
  problems = problems.filter((problem) => !/status of 4\d\d|^400 for .*parse error/.test(problem));
});

await check('a hostile name is text in the page and in the queries', async () => {
  await open(`/containers/${encodeURIComponent('"} or {x=~".*<img src=x onerror=alert(1)>\\')}`);
  await page.getByText('No container is called').waitFor();
  await page.waitForLoadState('networkidle');
  assert((await page.locator('main img').count()) === 0, 'a name became markup');
});

await check('a server that does not answer is named', async () => {
  await page.route(/\/(api|loki)\//, (route) => route.abort());
  await open('/containers');
  await page.getByText('The list of containers is not available').waitFor();
  await page.getByText('The server does not answer').first().waitFor();
  await page.waitForTimeout(300);
  await shot('unreachable');
  await axe();
  for (const path of ['/containers/any', '/explore/logs', '/explore/metrics?expr=up', '/explore/metrics?expr=up&expr=up&tab=table', '/status']) {
    await open(path);
    await page.getByText('The server does not answer').first().waitFor();
  }
  await page.unroute(/\/(api|loki)\//);
  problems = problems.filter((problem) => !/net::ERR_FAILED/.test(problem));
});

await browser.close();
fixtures?.kill();
rmSync(profile, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
