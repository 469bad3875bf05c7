"""The outside of gitea-sync: git itself, the forges, bundles, the vault for secrets."""
