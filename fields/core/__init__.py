"""What every other room may use: samples and schemas, configurable components, processes, memory."""
