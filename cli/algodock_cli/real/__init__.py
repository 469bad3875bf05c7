"""Real servers for tests: Apache Kafka, MinIO, PostgreSQL and Redis, installed by their own package managers."""
