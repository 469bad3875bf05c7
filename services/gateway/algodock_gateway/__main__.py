"""``python -m algodock_gateway`` runs the service."""

from algodock_common.startup import quick_imports

with quick_imports():
    from algodock_common.web import serve
    from algodock_gateway.main import create_app
    from algodock_gateway.routes.edge import express_protocol
    from algodock_gateway.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    app = create_app(settings)
    serve(app, settings, proxy_headers=False, http=express_protocol(app.lane))


if __name__ == "__main__":
    main()
