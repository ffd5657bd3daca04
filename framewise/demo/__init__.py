"""Demo: Label Studio, clips with known truth, and the backend in one command."""
