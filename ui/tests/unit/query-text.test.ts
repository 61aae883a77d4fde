// LogQL and PromQL text: quoting, selectors, errors.
import { expect, test } from 'vitest';
import { errorPosition, isLogQuery, quote, selector, seriesName, splitSelector, toggleFilter } from '../../src/lib/query-text';

test('quoting holds hostile names', () => {
  expect(quote('a"b\\c\nd')).toBe('"a\\"b\\\\c\\nd"');
  expect(selector([{ label: 'container', op: '=', value: 'x"} or {' }])).toBe('{container="x\\"} or {"}');
});

test('selectors are read and written', () => {
  expect(splitSelector('{a="b", c=~"d|e"} |= "}" | json')).toEqual({
    matchers: [
      { label: 'a', op: '=', value: 'b' },
      { label: 'c', op: '=~', value: 'd|e' },
    ],
    rest: '|= "}" | json',
  });
  expect(splitSelector('{a="x\\"}"}')).toEqual({ matchers: [{ label: 'a', op: '=', value: 'x"}' }], rest: '' });
  expect(splitSelector('{a=`b`}')!.matchers[0]!.value).toBe('b');
  expect(splitSelector('rate({a="b"}[1m])')).toBeNull();
  expect(splitSelector('{a=}')).toBeNull();
});

test('filters come and go', () => {
  const query = '{container="api"} |= "x"';
  const added = toggleFilter(query, 'stream', '=', 'stderr', 'stream');
  expect(added).toBe('{container="api", stream="stderr"} |= "x"');
  expect(toggleFilter(added, 'stream', '=', 'stderr', 'stream')).toBe(query);
  expect(toggleFilter(added, 'stream', '!=', 'stderr', 'stream')).toBe('{container="api", stream!="stderr"} |= "x"');
  expect(toggleFilter('{a="b"}', 'level', '=', 'error', 'metadata')).toBe('{a="b"} | level = "error"');
  expect(toggleFilter('{a="b"} | level = "error"', 'level', '=', 'error', 'metadata')).toBe('{a="b"}');
  expect(toggleFilter('{a="b"}', 'user.id', '!=', 'u1', 'json')).toBe('{a="b"} | json | user_id != "u1"');
  expect(toggleFilter('{a="b"} | json', 'code', '=', '7', 'json')).toBe('{a="b"} | json | code = "7"');
  expect(toggleFilter('rate({a="b"}[1m])', 'x', '=', 'y', 'stream')).toBe('rate({a="b"}[1m])');
});

test('log queries start with a selector', () => {
  expect(isLogQuery(' {a="b"}')).toBe(true);
  expect(isLogQuery('count_over_time({a="b"}[1m])')).toBe(false);
});

test('positions in errors', () => {
  expect(errorPosition('invalid parameter "query": 1:5: parse error: unexpected end')).toEqual({ line: 1, column: 5 });
  expect(errorPosition('2:13: parse error: x')).toEqual({ line: 2, column: 13 });
  expect(errorPosition('parse error at line 1, col 9: syntax error')).toEqual({ line: 1, column: 9 });
  expect(errorPosition('the query is too expensive')).toBeNull();
});

test('series names', () => {
  expect(seriesName({ __name__: 'up', job: 'a' })).toBe('up{job="a"}');
  expect(seriesName({ __name__: 'up' })).toBe('up');
  expect(seriesName({ job: 'a' })).toBe('{job="a"}');
  expect(seriesName({})).toBe('{}');
});
