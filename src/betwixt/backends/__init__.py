"""Where a network graph runs: devices, OpenVINO, PyTorch, quantization."""
