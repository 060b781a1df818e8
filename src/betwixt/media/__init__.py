"""All that knows a container or a codec: reading, writing, time, colour, cuts and duplicates."""
