"""``python -m algodock_gateway`` runs the service."""

from algodock_common.startup import quick_imports

with quick_imports():
    from algodock_common.web import serve
    from algodock_gateway.main import create_app
    from algodock_gateway.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    serve(create_app(settings), settings, proxy_headers=False)


if __name__ == "__main__":
    main()
