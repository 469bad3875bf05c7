"""Real servers for tests: Apache Kafka, MinIO, PostgreSQL and Redis, each brought by its own package manager."""
