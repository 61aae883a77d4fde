// The level of a log line: from its labels, else from JSON or logfmt keys, else from words at its start. Pure.
import { stripAnsi } from './ansi';

export const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'unknown'] as const;
export type Level = (typeof LEVELS)[number];

const WORDS: Record<string, Level> = {
  fatal: 'fatal', panic: 'fatal', critical: 'fatal', crit: 'fatal', emerg: 'fatal', emergency: 'fatal', alert: 'fatal',
  error: 'error', err: 'error', eror: 'error', severe: 'error', e: 'error',
  warn: 'warn', warning: 'warn', wrn: 'warn', w: 'warn',
  info: 'info', information: 'info', inf: 'info', notice: 'info', log: 'info', i: 'info',
  debug: 'debug', dbg: 'debug', d: 'debug', fine: 'debug', verbose: 'debug',
  trace: 'trace', trc: 'trace', finest: 'trace', t: 'trace',
};

/** Reads a level word or a pino/bunyan/syslog-free number; null when it is neither. */
export function normalizeLevel(value: unknown): Level | null {
  if (typeof value === 'number' || (typeof value === 'string' && /^\d+$/.test(value))) {
    const number = Number(value);
    if (number >= 60) return 'fatal';
    if (number >= 50) return 'error';
    if (number >= 40) return 'warn';
    if (number >= 30) return 'info';
    if (number >= 20) return 'debug';
    return number >= 10 ? 'trace' : null;
  }
  return typeof value === 'string' ? (WORDS[value.trim().toLowerCase()] ?? null) : null;
}

const LOGFMT = /(?:^|\s)(?:level|lvl|severity|loglevel)=("?)([A-Za-z]+)\1(?=\s|$)/i;
const JSON_KEY = /"(?:level|lvl|severity|levelname|loglevel|log\.level)"\s*:\s*(?:"([^"]{1,16})"|(\d{1,3}))/i;
const MARKED = /(?:^|[\s[(<|:])(FATAL|PANIC|CRITICAL|CRIT|EMERG|ALERT|ERROR|ERR|SEVERE|WARNING|WARN|INFO|NOTICE|LOG|DEBUG|TRACE)(?=$|[\s\])>|:,])/;
const LOWER = /(?:^|[\s[(])(fatal|panic|critical|crit|emerg|alert|error|warning|warn|info|notice|debug|trace)(?=[\]:)])/;
const GLOG = /^([EWIF])\d{4} \d{2}:\d{2}:/;

export function detectLevel(line: string, labels: Record<string, string> = {}): Level {
  for (const key of ['level', 'detected_level', 'severity', 'severity_text', 'lvl']) {
    const level = labels[key] === undefined ? null : normalizeLevel(labels[key]);
    if (level) return level;
  }
  const head = stripAnsi(line.slice(0, 600));
  const json = head.trimStart().startsWith('{') ? JSON_KEY.exec(head) : null;
  if (json) {
    const level = normalizeLevel(json[1] ?? json[2]);
    if (level) return level;
  }
  const logfmt = LOGFMT.exec(head);
  if (logfmt) {
    const level = normalizeLevel(logfmt[2]);
    if (level) return level;
  }
  const glog = GLOG.exec(head);
  if (glog) return glog[1] === 'F' ? 'fatal' : normalizeLevel(glog[1])!;
  const start = head.slice(0, 160);
  const word = MARKED.exec(start) ?? LOWER.exec(start);
  return word ? (normalizeLevel(word[1]) ?? 'unknown') : 'unknown';
}
