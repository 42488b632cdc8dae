"""Linking the regions of pictures: their features, galleries of entities, and the models over them."""
