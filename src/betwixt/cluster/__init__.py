"""Conversions whose new frames are made on many machines, with Ray (optional: the extra `cluster`)."""
