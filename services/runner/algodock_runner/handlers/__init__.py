"""Use cases: each takes what it needs as arguments and knows nothing of HTTP or Kafka."""
