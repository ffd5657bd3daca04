"""What Label Studio's tooling looks for: the backend class of a label-studio-ml 2.x server (``label-studio-ml start .``)."""

from framewise.host import HostedBackend, host_base_class


class NewModel(HostedBackend, host_base_class()):  # type: ignore[misc]
    """framewise, hosted by label-studio-ml."""
