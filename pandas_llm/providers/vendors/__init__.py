"""A module for each vendor's dialect; `registry.presets` finds them by itself."""
