"""What is remembered: annotations and events, job states, trained versions."""
