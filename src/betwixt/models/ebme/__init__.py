"""EBME: bi-directional motion estimation and forward splatting (WACV 2023)."""
