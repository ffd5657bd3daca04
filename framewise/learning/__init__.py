"""Learners, the default one in closed form and the LSTM of Label Studio's guide; how they are measured, and their files."""
