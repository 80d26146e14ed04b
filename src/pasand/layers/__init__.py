"""Neural networks and layers: torch modules that know neither data sets nor ids."""
