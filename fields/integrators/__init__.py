"""Time-stepping methods, and what each of them keeps exactly."""
