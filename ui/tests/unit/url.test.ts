// Addresses: round trips and links of other tools.
import { expect, test } from 'vitest';
import { buildUrl, containerPath, fromPrometheusGraph, patchQuery } from '../../src/lib/url';

test('building leaves out what is empty', () => {
  expect(buildUrl('/a', {})).toBe('/a');
  expect(buildUrl('/a', { b: '', c: undefined, d: 'x y' })).toBe('/a?d=x+y');
  expect(buildUrl('/a', { e: ['1', '2'] })).toBe('/a?e=1&e=2');
});

test('patching changes only what it names', () => {
  expect(patchQuery('?from=now-1h&to=now', { to: 'now-5m' })).toBe('from=now-1h&to=now-5m');
  expect(patchQuery('?a=1&b=2', { a: undefined })).toBe('b=2');
  expect(patchQuery('?expr=a&expr=b', { expr: ['c'] })).toBe('expr=c');
});

test('state survives the round trip', () => {
  const hostile = 'rate(x{a="b&c=d#e?"}[1m])\n/ 2 + "ü"';
  expect(new URLSearchParams(patchQuery('', { expr: [hostile] })).getAll('expr')).toEqual([hostile]);
});

test('container names are one path segment', () => {
  expect(containerPath('a/b?c#d')).toBe('/containers/a%2Fb%3Fc%23d');
});

test('links of Prometheus', () => {
  expect(fromPrometheusGraph('?g0.expr=up&g0.tab=0&g0.range_input=6h&g1.expr=node_load1')).toEqual({ expr: ['up', 'node_load1'], tab: 'graph', from: 'now-6h', to: 'now' });
  expect(fromPrometheusGraph('?g0.expr=up&g0.tab=1')).toEqual({ expr: ['up'], tab: 'table' });
  expect(fromPrometheusGraph('?g0.expr=up&g0.tab=table&g0.range_input=1h&g0.end_input=2026-11-22 10:00:00')).toEqual({
    expr: ['up'],
    tab: 'table',
    from: String(Date.UTC(2026, 10, 22, 9)),
    to: String(Date.UTC(2026, 10, 22, 10)),
  });
  expect(fromPrometheusGraph('')).toEqual({ expr: [], tab: 'graph' });
});
