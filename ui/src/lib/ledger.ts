// The loss ledger as people read it: one row for the logs of all containers that lost nothing, and one for
// each that did, under its name. Pure.
import type { LedgerRow } from '../api/taffrail';

const CONTAINER_SOURCE = /^docker\/([0-9a-f]{64})$/;

export function foldLedger(rows: LedgerRow[], names: ReadonlyMap<string, string>): LedgerRow[] {
  const out: LedgerRow[] = [];
  const whole: LedgerRow = { source: '', signal: 'logs', received: 0, stored: 0 };
  let count = 0;
  for (const row of rows) {
    const id = CONTAINER_SOURCE.exec(row.source)?.[1];
    if (id === undefined || row.signal !== 'logs') out.push(row);
    else if (lost(row)) out.push({ ...row, source: `docker/${names.get(id) ?? id.slice(0, 12)}` });
    else {
      count += 1;
      whole.received += row.received;
      whole.stored += row.stored;
    }
  }
  if (count > 0) out.push({ ...whole, source: `docker, ${count} ${count === 1 ? 'container' : 'containers'} without loss` });
  return out;
}

function lost(row: LedgerRow): boolean {
  return [row.rejected, row.dropped].some((counts) => Object.values(counts ?? {}).some((n) => n > 0));
}
