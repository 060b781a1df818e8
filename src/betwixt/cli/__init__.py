"""The command line: one file a verb; it parses, calls one function of the library, and prints."""
