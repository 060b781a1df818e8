"""The page `betwixt web`: conversions, previews and a queue in the browser."""
