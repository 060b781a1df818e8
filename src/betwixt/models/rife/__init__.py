"""RIFE: real-time intermediate flow estimation (ECCV 2022), and version 4 of Practical-RIFE."""
