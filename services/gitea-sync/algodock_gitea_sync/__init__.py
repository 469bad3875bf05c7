"""Step 1, code: from a push, an upload or a webhook to ``code.pushed`` with a source bundle."""
