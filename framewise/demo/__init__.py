"""The demo: Label Studio, clips with a known truth, and the backend put together in one command."""
