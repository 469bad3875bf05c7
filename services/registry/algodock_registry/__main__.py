"""``python -m algodock_registry`` runs the service."""

from algodock_common.startup import quick_imports

with quick_imports():
    from algodock_common.web import serve
    from algodock_registry.main import create_app
    from algodock_registry.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    serve(create_app(settings), settings, background=True)


if __name__ == "__main__":
    main()
