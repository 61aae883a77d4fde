//! Reads `prometheus.yml` as it is and turns it into typed scrape jobs.
