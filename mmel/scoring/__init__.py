"""Raw texts and pictures in, linked documents out: what `python -m mmel.score` is made of."""
