"""Everything that knows a container or a codec: reading, writing, times, colour, scene cuts and duplicates."""
