"""What every other room may use: samples, components, protocols, processes, and memory."""
