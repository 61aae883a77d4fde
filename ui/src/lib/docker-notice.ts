// What to say when containers cannot be seen. Pure.
import type { Status } from '../api/taffrail';

export function dockerNotice(status: Status | undefined): { title: string; text: string } | null {
  const docker = status?.docker;
  if (!docker?.state) return null;
  const at = docker.endpoint ? ` at ${docker.endpoint}` : '';
  switch (docker.state) {
    case 'connected':
      return null;
    case 'denied':
      return {
        title: `Docker${at} refuses access: watching the host only`,
        text: docker.message || 'Run Taffrail as a user of the docker group, or as root.',
      };
    case 'off':
      return { title: 'Watching containers is switched off: host only', text: docker.message || '' };
    default:
      return {
        title: `Docker${at} cannot be reached: watching the host only`,
        text: docker.message || 'Containers appear here as soon as the Docker or Podman socket answers.',
      };
  }
}
