"""Real servers and the browser for tests: Kafka, MinIO, PostgreSQL, Redis, Chromium, each from its package manager."""
