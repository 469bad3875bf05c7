"""What the deployer decides without touching anything: detection, plans, configuration files, states."""
