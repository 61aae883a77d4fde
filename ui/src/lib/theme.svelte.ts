// Dark or light: follows the system until someone chooses.

export type ThemeName = 'dark' | 'light';

const KEY = 'taffrail.theme';
const system = matchMedia('(prefers-color-scheme: light)');

class Theme {
  #system: ThemeName = $state(system.matches ? 'light' : 'dark');
  #chosen: ThemeName | null = $state(stored());
  name: ThemeName = $derived(this.#chosen ?? this.#system);

  constructor() {
    system.addEventListener('change', () => {
      this.#system = system.matches ? 'light' : 'dark';
      this.apply();
    });
    this.apply();
  }

  toggle(): void {
    this.#chosen = this.name === 'dark' ? 'light' : 'dark';
    try {
      localStorage.setItem(KEY, this.#chosen);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
    this.apply();
  }

  private apply(): void {
    document.documentElement.dataset.theme = this.#chosen ?? this.#system;
  }
}

function stored(): ThemeName | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'dark' || value === 'light' ? value : null;
  } catch {
    return null;
  }
}

export const theme = new Theme();
