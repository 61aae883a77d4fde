// Terminal output made safe to show: SGR colours become segments with classes, every other escape is
// dropped, control and bidirectional characters become visible signs. Pure; no HTML is ever built.

export interface Segment {
  text: string;
  /** Classes `fg-0`…`fg-15`, `bg-0`…`bg-15`, `bold`, `dim`, `italic`, `underline`, `inverse`. */
  className: string;
}

interface Style {
  fg: number | null;
  bg: number | null;
  flags: Set<string>;
}

// CSI, OSC (ended by BEL or ST, or by the end of the text), then any two-byte escape.
const ESCAPE = /\u001b\[([0-?]*)([ -/]*[@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b[ -/]*[0-~]/g;

/** Splits a line into styled segments. Text without escapes gives one segment. */
export function parseAnsi(line: string): Segment[] {
  if (!line.includes('\u001b')) return [{ text: visible(line), className: '' }];
  const segments: Segment[] = [];
  const style: Style = { fg: null, bg: null, flags: new Set() };
  let last = 0;
  const push = (text: string) => {
    if (text !== '') segments.push({ text: visible(text), className: classOf(style) });
  };
  for (const match of line.matchAll(ESCAPE)) {
    push(line.slice(last, match.index));
    last = match.index + match[0].length;
    if (match[2] === 'm' && /^[\d;:]*$/.test(match[1]!)) apply(style, match[1]!);
  }
  push(line.slice(last));
  return segments;
}

/** The text alone, for copying, searching and guessing levels. */
export function stripAnsi(line: string): string {
  return line.includes('\u001b') ? line.replace(ESCAPE, '') : line;
}

function apply(style: Style, parameters: string): void {
  const codes = parameters === '' ? [0] : parameters.split(/[;:]/).map(Number);
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index]!;
    if (code === 0) {
      style.fg = null;
      style.bg = null;
      style.flags.clear();
    } else if (code === 1) style.flags.add('bold');
    else if (code === 2) style.flags.add('dim');
    else if (code === 3) style.flags.add('italic');
    else if (code === 4) style.flags.add('underline');
    else if (code === 7) style.flags.add('inverse');
    else if (code === 22) {
      style.flags.delete('bold');
      style.flags.delete('dim');
    } else if (code === 23) style.flags.delete('italic');
    else if (code === 24) style.flags.delete('underline');
    else if (code === 27) style.flags.delete('inverse');
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code === 39) style.fg = null;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code === 49) style.bg = null;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 38 || code === 48) {
      const indexed = codes[index + 1] === 5;
      const colour = indexed
        ? nearestOfIndexed(codes[index + 2] ?? 0)
        : nearest(codes[index + 2] ?? 0, codes[index + 3] ?? 0, codes[index + 4] ?? 0);
      index += indexed ? 2 : 4;
      if (code === 38) style.fg = colour;
      else style.bg = colour;
    }
  }
}

function classOf(style: Style): string {
  const names = [...style.flags];
  if (style.fg !== null) names.push(`fg-${style.fg}`);
  if (style.bg !== null) names.push(`bg-${style.bg}`);
  return names.join(' ');
}

const SIXTEEN: [number, number, number][] = [
  [0, 0, 0], [170, 0, 0], [0, 170, 0], [170, 85, 0], [0, 0, 170], [170, 0, 170], [0, 170, 170], [170, 170, 170],
  [85, 85, 85], [255, 85, 85], [85, 255, 85], [255, 255, 85], [85, 85, 255], [255, 85, 255], [85, 255, 255], [255, 255, 255],
];

// The theme decides what sixteen colours look like, so that contrast holds in both themes.
function nearest(red: number, green: number, blue: number): number {
  let best = 0;
  let bestDistance = Infinity;
  SIXTEEN.forEach(([r, g, b], index) => {
    const distance = (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;
    if (distance < bestDistance) {
      best = index;
      bestDistance = distance;
    }
  });
  return best;
}

function nearestOfIndexed(index: number): number {
  if (index < 16) return Math.max(0, index);
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return nearest(grey, grey, grey);
  }
  const cube = index - 16;
  const channel = (n: number) => (n === 0 ? 0 : 55 + n * 40);
  return nearest(channel(Math.floor(cube / 36)), channel(Math.floor(cube / 6) % 6), channel(cube % 6));
}

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Replaces characters that hide or reorder text by signs: ^G for C0, ⟨U+202E⟩ for the rest. Keeps tab and newline. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(HIDDEN, (character) => {
    const code = character.codePointAt(0)!;
    if (code < 0x20) return `^${String.fromCharCode(code + 64)}`;
    if (code === 0x7f) return '^?';
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}
