// Terminal escapes and hidden characters.
import { expect, test } from 'vitest';
import { parseAnsi, stripAnsi, visible } from '../../src/lib/ansi';

const ESC = '\u001b';

test('plain text is one segment', () => {
  expect(parseAnsi('hello')).toEqual([{ text: 'hello', className: '' }]);
  expect(parseAnsi('')).toEqual([{ text: '', className: '' }]);
});

test('colours and flags', () => {
  expect(parseAnsi(`${ESC}[1;31mred${ESC}[0m plain`)).toEqual([
    { text: 'red', className: 'bold fg-1' },
    { text: ' plain', className: '' },
  ]);
  expect(parseAnsi(`${ESC}[92;40mx${ESC}[39my`)).toEqual([
    { text: 'x', className: 'fg-10 bg-0' },
    { text: 'y', className: 'bg-0' },
  ]);
  expect(parseAnsi(`${ESC}[mx`)).toEqual([{ text: 'x', className: '' }]);
});

test('256 and true colours go to the nearest of sixteen', () => {
  expect(parseAnsi(`${ESC}[38;5;196mx`)[0]!.className).toMatch(/^fg-(1|9)$/);
  expect(parseAnsi(`${ESC}[38;2;0;170;0mx`)[0]!.className).toBe('fg-2');
  expect(parseAnsi(`${ESC}[48;5;232;1mx`)[0]!.className).toBe('bold bg-0');
});

test('other escapes vanish', () => {
  expect(stripAnsi(`${ESC}[2K${ESC}[1Gdone`)).toBe('done');
  expect(stripAnsi(`${ESC}]8;;http://evil.example\u0007link${ESC}]8;;\u0007`)).toBe('link');
  expect(stripAnsi(`${ESC}]0;title${ESC}\\x`)).toBe('x');
  expect(parseAnsi(`${ESC}[?25lx`).map((segment) => segment.text).join('')).toBe('x');
});

test('a cut escape does not swallow the line', () => {
  expect(parseAnsi(`before ${ESC}[`).map((segment) => segment.text).join('')).toContain('before ');
});

test('control and bidirectional characters are made visible', () => {
  expect(visible('a\u0000b\u0007')).toBe('a^@b^G');
  expect(visible('a\u202eb\u2066')).toBe('a⟨U+202E⟩b⟨U+2066⟩');
  expect(visible('zero\u200bwidth')).toBe('zero⟨U+200B⟩width');
  expect(visible('tab\tline\nnext\r\nend')).toBe('tab\tline\nnext\nend');
  expect(visible('x\u007fy\u009b')).toBe('x^?y⟨U+009B⟩');
});

test('markup stays text', () => {
  expect(parseAnsi('<script>alert(1)</script>')).toEqual([{ text: '<script>alert(1)</script>', className: '' }]);
});
