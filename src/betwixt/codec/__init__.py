"""B-frame compression: half of the frames through a base encoder, the rest synthesized or coded by a network."""
