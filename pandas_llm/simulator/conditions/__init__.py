"""How the server behaves: its knobs, limits, delays and what goes wrong on purpose."""
