"""NCM: neighbor correspondence matching, for interpolation and extrapolation (ACM MM 2022)."""
