"""Pass two: training the head, fine-tuning, tuning and calibration."""
