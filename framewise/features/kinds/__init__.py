"""Kinds of networks: one module each, listed in ``features.backbone.KINDS``."""
