// Colours drawn on canvas, per theme. Series colours keep their distance for colour-blind readers;
// after eight series the dash varies.
import type { Level } from '../lib/level';
import type { ThemeName } from '../lib/theme.svelte';

export interface ChartColours {
  series: string[];
  grid: string;
  axis: string;
  panel: string;
  limit: string;
  marker: Record<MarkerKind, string>;
  level: Record<Level, string>;
}

export type MarkerKind = 'bad' | 'good' | 'neutral';

const DARK: ChartColours = {
  series: ['#188af1', '#a9c719', '#ca5553', '#55e1ee', '#a366a8', '#f0de99', '#cf8daf', '#87adfa'],
  grid: '#232a35',
  axis: '#97a3b4',
  panel: '#161b22',
  limit: '#e5686a',
  marker: { bad: '#f2777a', good: '#4cc38a', neutral: '#97a3b4' },
  level: { fatal: '#a855d8', error: '#e05a5c', warn: '#e0a83a', info: '#3f9d6b', debug: '#4a86d8', trace: '#5fb5c4', unknown: '#66727f' },
};

const LIGHT: ChartColours = {
  series: ['#2e5ccb', '#7e9500', '#b44157', '#588cff', '#6b3e85', '#8d1920', '#c37b83', '#89689e'],
  grid: '#e6ebf1',
  axis: '#55627a',
  panel: '#ffffff',
  limit: '#c02b3a',
  marker: { bad: '#c02b3a', good: '#1b7a48', neutral: '#55627a' },
  level: { fatal: '#8432b0', error: '#cf3a45', warn: '#d08a11', info: '#3c9a68', debug: '#3f78cf', trace: '#3d9bab', unknown: '#98a3b0' },
};

export function colours(theme: ThemeName): ChartColours {
  return theme === 'dark' ? DARK : LIGHT;
}

/** Colour and dash of the n-th series. */
export function seriesStyle(theme: ThemeName, index: number): { color: string; dash: number[] } {
  const list = colours(theme).series;
  const rounds = Math.floor(index / list.length) % 3;
  return { color: list[index % list.length]!, dash: [[], [6, 4], [2, 3]][rounds]! };
}
