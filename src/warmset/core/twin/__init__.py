"""A host in a virtual clock: Ollama's scheduler, GPUs, loads, clients."""
