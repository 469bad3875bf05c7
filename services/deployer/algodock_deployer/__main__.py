"""``python -m algodock_deployer`` runs the service."""

import os

from algodock_common.startup import quick_imports

with quick_imports():
    from algodock_common.web import serve
    from algodock_deployer.main import create_app
    from algodock_deployer.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    # Environments and code are read by algorithms of other uids; what is secret says its own mode.
    os.umask(0o022)
    settings = Settings()
    serve(create_app(settings), settings, background=True)


if __name__ == "__main__":
    main()
