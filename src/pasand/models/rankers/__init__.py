"""Deep ranking models: a network reads query and item together."""
