"""How each vendor asks and is answered: addresses, fields, errors and headers."""
