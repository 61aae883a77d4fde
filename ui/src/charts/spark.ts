// Sparklines as SVG path data. Pure; gaps stay gaps.

export interface Spark {
  line: string;
  area: string;
}

/** Maps values onto a box of `width`×`height`; `max` fixes the top, else the largest value does. */
export function sparkPaths(values: (number | null)[], width: number, height: number, max?: number): Spark {
  const top = max ?? Math.max(0, ...values.map((value) => value ?? 0));
  const dx = width / Math.max(1, values.length - 1);
  const y = (value: number) => (height - 1 - (top > 0 ? Math.min(1, value / top) : 0) * (height - 2)).toFixed(1);
  let line = '';
  let area = '';
  let start = -1;
  for (let index = 0; index <= values.length; index += 1) {
    const value = values[index];
    if (value === null || value === undefined) {
      if (start >= 0) area += `L${((index - 1) * dx).toFixed(1)},${height}Z`;
      start = -1;
      continue;
    }
    const x = (index * dx).toFixed(1);
    line += `${start < 0 ? 'M' : 'L'}${x},${y(value)}`;
    area += start < 0 ? `M${x},${height}L${x},${y(value)}` : `L${x},${y(value)}`;
    if (start < 0) start = index;
  }
  return { line, area };
}
