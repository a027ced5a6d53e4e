"""The laboratory for the training dynamics of language models."""

from typing import TYPE_CHECKING, Any

from ontogeny.core.version import __version__

if TYPE_CHECKING:
    from ontogeny.integrations.audit.session import Audit
    from ontogeny.integrations.diagnosing import diagnose
    from ontogeny.report.figure import figures
    from ontogeny.store.run import open_run as open

    audit = Audit

__all__ = ["__version__", "audit", "diagnose", "figures", "open"]


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that importing the package stays cheap."""
    if name == "open":
        from ontogeny.store.run import open_run

        return open_run
    if name == "audit":
        from ontogeny.integrations.audit.session import Audit

        return Audit
    if name == "diagnose":
        from ontogeny.integrations.diagnosing import diagnose

        return diagnose
    if name == "figures":
        from ontogeny.report.figure import figures

        return figures
    raise AttributeError(f"module 'ontogeny' has no attribute {name!r}")
