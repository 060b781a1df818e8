"""The same conversion spread over many machines by Ray (optional: the extra `cluster`)."""
