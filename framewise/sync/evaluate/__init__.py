"""Quality of estimated offsets, measured on pairs with known offsets."""
