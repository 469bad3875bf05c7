"""What gitea-sync decides, without any I/O: names, trees, signatures, outcomes, errors."""
