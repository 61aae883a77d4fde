//! The loss ledger: for every source, `received = stored + Σ rejected + Σ dropped`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Receipt;
use parking_lot::Mutex;
use serde::Serialize;

/// Sources kept apart; later ones share one line, so that churn cannot grow the ledger without end.
const SOURCES_MAX: usize = 2_000;
const OTHERS: &str = "(others)";

/// Kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Samples.
    Metrics,
    /// Log lines and events.
    Logs,
    /// Spans.
    Traces,
}

/// What became of one source's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Rows handed over.
    pub received: u64,
    /// Rows that are durable.
    pub stored: u64,
    /// Rows refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Rows that could not be stored and cannot be read again, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Mutex<BTreeMap<(Signal, Arc<str>), Account>>,
}

impl Ledger {
    /// Books a batch of which the store gave `receipt`.
    pub fn stored(&self, signal: Signal, source: &Arc<str>, receipt: &Receipt) {
        self.with(signal, source, |account| {
            account.stored += receipt.stored;
            account.received += receipt.stored;
            for (reason, count) in &receipt.rejected {
                account.received += count;
                *account.rejected.entry(reason.as_str()).or_default() += count;
            }
        });
    }

    /// Books `rows` that failed as a whole and will not come again.
    pub fn dropped(&self, signal: Signal, source: &Arc<str>, reason: &'static str, rows: u64) {
        if rows == 0 {
            return;
        }
        self.with(signal, source, |account| {
            account.received += rows;
            *account.dropped.entry(reason).or_default() += rows;
        });
    }

    /// All accounts, by signal and source.
    pub fn accounts(&self) -> Vec<(Signal, Arc<str>, Account)> {
        self.accounts
            .lock()
            .iter()
            .map(|((signal, source), account)| (*signal, source.clone(), account.clone()))
            .collect()
    }

    fn with(&self, signal: Signal, source: &Arc<str>, book: impl FnOnce(&mut Account)) {
        let mut accounts = self.accounts.lock();
        let key = (signal, source.clone());
        let key = if accounts.len() < SOURCES_MAX || accounts.contains_key(&key) {
            key
        } else {
            (signal, Arc::from(OTHERS))
        };
        book(accounts.entry(key).or_default());
    }
}

#[cfg(test)]
mod tests {
    use model::RejectReason;

    use super::*;

    #[test]
    fn accounts_balance_and_are_bounded() {
        let ledger = Ledger::default();
        for i in 0..SOURCES_MAX + 10 {
            let source = Arc::from(format!("docker/{i}"));
            ledger.stored(
                Signal::Logs,
                &source,
                &Receipt { stored: 3, rejected: vec![(RejectReason::TooOld, 2)] },
            );
            ledger.dropped(Signal::Logs, &source, "busy", 1);
        }
        let accounts = ledger.accounts();
        assert_eq!(accounts.len(), SOURCES_MAX + 1);
        for (_, _, a) in &accounts {
            assert_eq!(
                a.received,
                a.stored + a.rejected.values().sum::<u64>() + a.dropped.values().sum::<u64>()
            );
        }
        assert_eq!(
            accounts.iter().map(|(_, _, a)| a.received).sum::<u64>(),
            6 * (SOURCES_MAX as u64 + 10)
        );
    }
}
