"""``python -m algodock_cli``."""

from algodock_cli.main import main

main()
