// Build: one hashed entry plus one lazy chunk per view; nothing inline, so the strict CSP holds.
// `npm run dev` proxies the APIs to a Taffrail (or fixture server) on TAFFRAIL_URL.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const target = process.env.TAFFRAIL_URL ?? 'http://127.0.0.1:7245';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/api': target, '/loki': { target, ws: true } },
  },
});
