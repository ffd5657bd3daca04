"""How good estimated offsets are, on pairs whose offsets are known."""
