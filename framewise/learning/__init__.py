"""Learners (the default one in closed form, and the LSTM of Label Studio's guide), their evaluation and their files."""
