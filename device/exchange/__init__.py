"""The exchange: labels go up to the trainer, models come down, through one shared place."""
