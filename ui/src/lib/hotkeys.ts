// Keyboard sequences such as `g c`: a table of chords and a matcher that waits one second for the second key.

export interface Hotkey {
  keys: string;
  label: string;
  group: 'Go to' | 'Time' | 'Page' | 'Everywhere';
  run: () => void;
}

const SEQUENCE_MS = 1000;

export function keyName(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey'>): string {
  const key = event.key.length === 1 ? event.key : event.key.toLowerCase();
  return event.ctrlKey || event.metaKey ? `ctrl+${key.toLowerCase()}` : key;
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.closest('input, textarea, select') !== null);
}

/** Returns a function that feeds key names and runs what matches. It tells whether the key was used. */
export function createMatcher(hotkeys: Hotkey[], now: () => number): (key: string) => boolean {
  let prefix = '';
  let prefixAt = 0;
  return (key) => {
    const pending = now() - prefixAt < SEQUENCE_MS ? prefix : '';
    prefix = '';
    for (const candidate of pending === '' ? [key] : [`${pending} ${key}`, key]) {
      const hit = hotkeys.find((hotkey) => hotkey.keys === candidate);
      if (hit) {
        hit.run();
        return true;
      }
      if (hotkeys.some((hotkey) => hotkey.keys.startsWith(`${candidate} `))) {
        prefix = candidate;
        prefixAt = now();
        return true;
      }
    }
    return false;
  };
}
