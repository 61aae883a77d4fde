// What a container's state means to a reader: icon, words, tone. Pure; knows unknown words.
import type { Container } from '../api/taffrail';

export type Tone = 'good' | 'warn' | 'bad' | 'quiet';
export type StateIcon = 'running' | 'stopped' | 'paused' | 'warning' | 'error' | 'refresh' | 'dash' | 'good' | 'clock';

export interface StateWords {
  icon: StateIcon;
  text: string;
  tone: Tone;
}

export function stateWords(container: Container): StateWords {
  const { state, exitCode } = container;
  switch (state) {
    case 'running':
      return { icon: 'running', text: 'running', tone: 'good' };
    case 'paused':
      return { icon: 'paused', text: 'paused', tone: 'warn' };
    case 'restarting':
      return { icon: 'refresh', text: `restarting${exitCode ? ` · exit ${exitCode}` : ''}`, tone: 'warn' };
    case 'exited':
    case 'dead': {
      const failed = state === 'dead' || container.oomKilled || (exitCode ?? 0) !== 0;
      return { icon: failed ? 'error' : 'stopped', text: exitCode === null ? state : `${state} ${exitCode}`, tone: failed ? 'bad' : 'quiet' };
    }
    default:
      return { icon: 'dash', text: state, tone: 'quiet' };
  }
}

/** Null when the container has no health check, or does not run and so has no health now. */
export function healthWords(container: Container): StateWords | null {
  if (container.state !== 'running' && container.state !== 'paused') return null;
  switch (container.health) {
    case 'healthy':
      return { icon: 'good', text: 'healthy', tone: 'good' };
    case 'unhealthy':
      return { icon: 'warning', text: 'unhealthy', tone: 'bad' };
    case 'starting':
      return { icon: 'clock', text: 'starting', tone: 'warn' };
    case 'none':
    case '':
      return null;
    default:
      return { icon: 'dash', text: container.health, tone: 'quiet' };
  }
}

/** Signals hide in exit codes above 128. */
export function exitMeaning(code: number): string {
  const signals: Record<number, string> = { 1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE', 9: 'SIGKILL', 11: 'SIGSEGV', 13: 'SIGPIPE', 15: 'SIGTERM' };
  const fixed: Record<number, string> = { 0: 'success', 125: 'docker could not run it', 126: 'command not executable', 127: 'command not found' };
  if (code in fixed) return fixed[code]!;
  if (code > 128 && signals[code - 128]) return signals[code - 128]!;
  return 'error';
}

/** Sort weight: what needs a look comes first. */
export function urgency(container: Container): number {
  if (container.state === 'running' && container.health === 'unhealthy') return 0;
  const { tone } = stateWords(container);
  return { bad: 1, warn: 2, good: 3, quiet: 4 }[tone];
}

/** One entry per name: the living one, else the newest. Older ones of the same name are history. */
export function latestByName(list: Container[]): Container[] {
  const byName = new Map<string, Container>();
  for (const container of list) {
    const other = byName.get(container.name);
    if (!other || rank(container) > rank(other)) byName.set(container.name, container);
  }
  return [...byName.values()];
}

function rank(container: Container): number {
  const alive = container.state === 'removed' ? 0 : container.state === 'running' ? 2 : 1;
  return alive * 1e15 + (container.createdAtMs ?? 0);
}
